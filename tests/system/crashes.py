"""Die before each change that a run makes to its folder, and continue: a line of JSON for each.

    python crashes.py FOLDER FIRST STEP WORD...     the words of `resnets train`, without --out

Only every STEP-th change, so that two of these share the work. Every crash happens in a fork of
this process, which has imported everything and computed nothing.
"""

import gc
import json
import os
import signal
import sys
from pathlib import Path

import torch._dynamo  # noqa: F401 - optimizers do, late

from resnets.cli.main import main
from resnets.core import artifacts
from resnets.experiment import asking, run  # noqa: F401 - imported once for all forks
from resnets.inference.checkpoints import FINISHED, MANIFEST

run._SAVE_AFTER_S = 0.0  # after every update
run._SAVE_SHARE = 1e9
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def path_of(given):
    """Return the path in an audit event's arguments; removing a whole folder gives handles."""
    path = Path(os.fsdecode(given[0])) if isinstance(given[0], str | bytes | Path) else Path()
    within = Path(f"/proc/self/fd/{given[1]}")  # of os.remove and os.rmdir; -1 where there is none
    return within.readlink() / path if not path.is_absolute() and within.is_symlink() else path


def die_before(folder, number, told):
    """Kill this process when it is about to change something in `folder` for that time."""
    left = number

    def hook(event, given):
        nonlocal left
        writes = event == "open" and isinstance(given[2], int) and given[2] & WRITES
        if not writes and event not in CHANGES:
            return
        at = path_of(given)
        if not at.is_relative_to(folder):
            return
        if event != "open" and at.exists() is (event == "os.mkdir"):
            return  # it changes nothing
        if left == 0:
            os.write(told, f"{event} {at.relative_to(folder)}".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(hook)


def fork(words, prepare):
    """Run the command in a fork; return its status and what it told before it died."""
    listen, told = os.pipe()
    child = os.fork()
    if not child:
        os.close(listen)
        prepare(told)
        sys.argv = ["resnets", *words]
        os.dup2(2, 1)
        try:
            main()
        except SystemExit as left:
            sys.stdout.flush()
            os._exit(left.code)  # taking a process down that has imported everything takes a second
    os.close(told)
    with os.fdopen(listen, "rb") as pipe:
        heard = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), heard


def crash(folder, words, number):
    """Return the story of a run that dies before its change of that number."""
    begin = [*words, "--out", str(folder)]
    status, event = fork(begin, lambda told: die_before(folder, number, told))
    story = {"number": number, "before": event, "status": status}
    if status == -signal.SIGKILL and not (folder / FINISHED).exists():
        began = (folder / MANIFEST).exists()
        again = ["train", "--resume", str(folder)] if began else begin
        story["status_again"], _ = fork(again, lambda told: None)
    return story


def weights(folder):
    tensors, _ = artifacts.load_tensors(folder / FINISHED)
    return artifacts.sha256_of({k: v for k, v in tensors.items() if k.startswith("model.")})


def tell(folder, first, step, words):
    """Print the story of each change until a run ends alive."""
    gc.freeze()  # so that forks don't copy it all
    number, alive = first, False
    while not alive:
        at = folder / f"{number:03d}"
        story = crash(at, words, number)
        alive = story["status"] == 0
        if (at / FINISHED).exists():
            story["weights_sha256"] = weights(at)
            story["left"] = sorted(
                str(path.relative_to(at)) for path in at.rglob("*") if path.name != ".lock"
            )
        sys.stdout.write(json.dumps(story) + "\n")
        number += step


if __name__ == "__main__":
    tell(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
