"""What torchrun tells the processes that it starts; nothing where one was started by itself.

Read from the environment alone, so that the command can ask before it imports torch.
"""

import functools
import hashlib
import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

_RANK: Final = "RANK"
_SIZE: Final = "WORLD_SIZE"
_LOCAL_RANK: Final = "LOCAL_RANK"
_LOCAL_SIZE: Final = "LOCAL_WORLD_SIZE"
_ADDRESS: Final = "MASTER_ADDR"
_PORT: Final = "MASTER_PORT"
_RESTARTS: Final = "TORCHELASTIC_RESTART_COUNT"
_PATIENCE: Final = timedelta(seconds=3)
_MEETING: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process stands among those that were started together.

    Args:
        rank: Its number, from 0, on all machines together.
        size: How many processes there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
        restarts: How often torchrun has started all of them again.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    restarts: int


def place() -> Place | None:
    """Return this process's place, or None where torchrun did not start it."""
    told = os.environ
    if any(n not in told for n in (_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE, _ADDRESS, _PORT)):
        return None
    return Place(
        rank=int(told[_RANK]),
        size=int(told[_SIZE]),
        local_rank=int(told[_LOCAL_RANK]),
        local_size=int(told[_LOCAL_SIZE]),
        restarts=int(told.get(_RESTARTS, "0")),
    )


def leads() -> bool:
    """Return whether this is the process that writes and prints: of one process, that one."""
    here = place()
    return here is None or here.rank == 0


def restarted() -> bool:
    """Return whether torchrun started this process because an earlier one was lost."""
    here = place()
    return here is not None and here.restarts > 0


def first_to_say(message: str) -> bool:
    """Return whether no other process has said this already, so that an error is one line.

    What is wrong with a request all processes find out at once; what is wrong on one machine, only
    those of it.
    """
    here = place()
    if here is None or here.size == 1:
        return True
    said = hashlib.sha256(message.encode()).hexdigest()
    address = (os.environ[_ADDRESS], int(os.environ[_PORT]))
    try:
        # torch's store would try for seconds, and complain, where nobody keeps one any more.
        socket.create_connection(address, timeout=_PATIENCE.total_seconds()).close()
        return int(_notes(here).add(f"said/{said}", 1)) == 1
    except (OSError, RuntimeError):
        return True  # better twice than never


def store() -> Any:
    """Return torch's store, where processes that torchrun started leave notes to meet by.

    torchrun keeps one store however often it starts them again, so notes of those that are gone
    are still in it; in this one they are not seen. Nor are those of an earlier meeting.

    Raises:
        RuntimeError: It cannot be reached.
    """
    here = place()
    assert here is not None
    notes = _notes(here, keep=here.rank == 0 and not _kept_by_torchrun(), timeout=_MEETING)
    meeting = int(notes.add(f"meetings/{here.rank}", 1))
    return _within(notes, f"meeting/{meeting}")


@functools.cache
def _notes(here: Place, *, keep: bool = False, timeout: timedelta = _PATIENCE) -> Any:
    """Return the store of these processes since they were last started; perhaps kept by this.

    Once for a process: where this one keeps the store, the others may still be reading it.
    """
    # Imported here: only several processes need it.
    from torch import distributed

    connected = distributed.TCPStore(  # type: ignore[attr-defined]
        os.environ[_ADDRESS],
        int(os.environ[_PORT]),
        is_master=keep,
        timeout=timeout,
        wait_for_workers=False,
        multi_tenant=True,
    )
    return _within(connected, f"resnets/{here.restarts}")


def _within(notes: Any, prefix: str) -> Any:
    from torch import distributed

    return distributed.PrefixStore(prefix, notes)  # type: ignore[attr-defined]


def _kept_by_torchrun() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
