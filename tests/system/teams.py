"""Run the command in several processes at once, as torchrun does, but forked: in no time.

Reads a line of JSON for each job from standard input and answers with one:

    {"words": [...], "processes": 2, "out": FILE, "save_after_s": 0.05,
     "signal": [RANK, NUMBER, S, SAID], "once_saved_in": FOLDER,
     "terminate_after": [RANK, UPDATE],
     "apart": FOLDER, "restarts": [0, 1], "plain": true}
    {"statuses": [0, 0]}

What all processes print goes to FILE. The signal is sent to that process S seconds after they have
said SAID, which is nothing or where training begins, and, where a folder is named, a state was
saved in that run which was not there before: how fast the machine is does not matter. Or a process
sends itself SIGTERM once it has done that update. Where a process is killed, the others are too
after some seconds, and all that have not ended after a minute and a half.

Apart, each process works in a folder of its own, FOLDER/RANK, as on a machine of its own.
`restarts` is how often each one's torchrun has started its processes again: every machine's counts
for itself. A plain process is as one that no torchrun started.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from resnets.cli.main import main
from resnets.experiment import asking, run  # noqa: F401 - imported once for all forks

LONGEST_S = 90


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fork(job, rank, port):
    """Run the command in a fork, as one of the job's processes; return its id."""
    child = os.fork()
    if child:
        return child
    if not job.get("plain"):
        count = str(job["processes"])
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": count}
        os.environ |= {"LOCAL_WORLD_SIZE": count}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= job.get("environment", {})
    if "apart" in job:
        os.chdir(Path(job["apart"]) / str(rank))
    if "restarts" in job:
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(job["restarts"][rank])
    said = os.open(job["out"], os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if "save_after_s" in job:
        run._SAVE_AFTER_S, run._SAVE_SHARE = job["save_after_s"], 1e9
    if job.get("terminate_after", [None])[0] == rank:
        terminate_after(job["terminate_after"][1])
    sys.argv = ["resnets", *job["words"]]
    try:
        main()
    except SystemExit as left:
        sys.stdout.flush()
        os._exit(left.code)  # taking a process down that has imported everything takes a second


def terminate_after(number):
    """Send this process SIGTERM once it has done that update, before the others hear of it."""
    updates = run.updates

    def watched(*given, **named):
        for update in updates(*given, **named):
            if update.number == number:
                os.kill(os.getpid(), signal.SIGTERM)
            yield update

    run.updates = watched


def states(job):
    """Return the names of the states in the run that is waited for."""
    folder = job.get("once_saved_in")
    return {path.name for path in Path(folder).glob("checkpoints/update-*")} if folder else set()


def disturb(job, children, before):
    """Send the job's signal in its time, unless the process ends before."""
    rank, number, after_s, said = job["signal"]
    begun = time.monotonic()
    while said not in Path(job["out"]).read_text() or (
        "once_saved_in" in job and not states(job) - before
    ):
        if time.monotonic() - begun > LONGEST_S:
            return
        time.sleep(0.01)
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.kill(children[rank], number)


def do(job):
    """Run a job to its end; return the processes' statuses."""
    Path(job["out"]).write_text("")
    before = states(job)
    port = free_port()
    children = [fork(job, rank, port) for rank in range(job["processes"])]
    if "signal" in job:
        threading.Thread(target=disturb, args=(job, children, before), daemon=True).start()
    statuses, ends = {}, time.monotonic() + LONGEST_S
    while len(statuses) < len(children):
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            statuses[child] = os.waitstatus_to_exitcode(status)
            if statuses[child] < 0:  # as torchrun does, which knows no patience
                ends = min(ends, time.monotonic() + 3)
        elif time.monotonic() > ends:
            kill(set(children) - set(statuses))
        else:
            time.sleep(0.01)
    return [statuses[child] for child in children]


def kill(children):
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    import torch._dynamo  # optimizers do, late
    import torch.distributed  # noqa: F401

    gc.freeze()  # so that forks don't copy it all
    for line in sys.stdin:
        sys.stdout.write(json.dumps({"statuses": do(json.loads(line))}) + "\n")
        sys.stdout.flush()
