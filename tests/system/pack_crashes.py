"""Die before each thing that packing does to its folder, and continue: a line of JSON for each.

    python pack_crashes.py DATA FOLDER FIRST STEP WORD...     words that follow `data pack DATA OUT`

Only every STEP-th, so that two of these share the work. Every crash is SIGKILL in a fork of this
process, which has imported everything.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

from resnets.cli import listing  # noqa: F401 - imported once for all forks
from resnets.cli.main import main
from resnets.core import artifacts
from resnets.data import packing

packing._SHARD_BYTES = 5_000
packing._JOURNAL_BYTES = 3_000


def die_before(number):
    """Kill this process when it is about to write, sync, rename or remove for that time."""
    left = number

    def dying(does):
        def counted(*given, **named):
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return does(*given, **named)

        return counted

    packing._Writer.add = dying(packing._Writer.add)
    os.fsync = dying(os.fsync)
    Path.replace = dying(Path.replace)
    Path.unlink = dying(Path.unlink)


def fork(words, prepare):
    """Run the command in a fork and return its status."""
    child = os.fork()
    if not child:
        prepare()
        sys.argv = ["resnets", "data", "pack", *words]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        try:
            main()
        except SystemExit as left:
            os._exit(left.code)  # at once: tidying up after torch takes a second
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digests(folder):
    """Return the SHA-256 of every file by name, but of the lock."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != artifacts.LOCK
    }


def tell(data, folder, first, step, words):
    """Print what becomes of a pack for each death, until one ends alive."""
    number, status = first, None
    while status != 0:
        at = folder / f"{number:03d}"
        given = [data, str(at), *words]
        status = fork(given, lambda number=number: die_before(number))
        again = fork(given, lambda: None)
        story = {"number": number, "status": status, "again": again, "files": digests(at)}
        sys.stdout.write(json.dumps(story) + "\n")
        number += step


if __name__ == "__main__":
    tell(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
