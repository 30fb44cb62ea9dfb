"""Processes of a script of the tests, connected as under torchrun, but forked: in no time."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def run(script, size, folder):
    """Run a script of the tests, which is given how many processes it forks, and a folder."""
    places = [str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    subprocess.run([sys.executable, script, str(size), folder], env=here, check=True, timeout=120)


def connected(size):
    """Return its rank in each of so many children, told where they meet; in the parent, leave.

    The parent waits for all of them first, and fails where one did.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    children = []
    for rank in range(size):
        child = os.fork()
        if not child:
            told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
            told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in told.items()}
            return rank
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(max(map(abs, statuses)))
