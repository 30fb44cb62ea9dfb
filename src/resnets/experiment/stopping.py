"""Ctrl-C and SIGTERM: a run is saved and left after the update that it is at."""

import contextlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from resnets.core.errors import InterruptedRunError
from resnets.core.processes import Team


@contextlib.contextmanager
def listening(team: Team) -> Iterator[list[int]]:
    """Yield a list that Ctrl-C or SIGTERM appends its number to; a second one acts at once.

    Of several processes none acts at once: torchrun passes on to each a signal that the terminal
    has sent to it already, and itself kills those that do not end in half a minute.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread can catch signals
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            return
        asked.append(number)
        if team.size == 1:
            restore()
            # Not through sys.stderr, which may be in the middle of writing when a signal comes.
            os.write(2, b"\nstopping after this update; once more to stop at once, unsaved\n")
        elif team.leads:
            os.write(2, b"\nstopping after the next update\n")

    for each in before:
        signal.signal(each, ask)
    try:
        yield asked
    finally:
        restore()


def interrupted(folder: Path, number: int, total: int, signal_number: int) -> InterruptedRunError:
    """Return what to raise once a run is saved: how far it came and how to go on."""
    at = shlex.quote(str(folder))
    return InterruptedRunError(
        f"stopped after update {number:,} of {total:,} and saved; `resnets train --resume {at}` "
        "continues it",
        signal_number,
    )
