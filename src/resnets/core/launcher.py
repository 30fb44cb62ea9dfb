"""What torchrun tells the processes that it starts; nothing where one was started by itself.

Read from the environment alone, so that the command can ask before it imports torch.
"""

import functools
import hashlib
import os
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

# Of what a process may do while others wait for it: fetch weights over a slow line, look at a
# million images for a first last layer. torch would wait for minutes. Who ends is noticed at once
# all the same, by torchrun and by a connection that breaks.
LONGEST_WORK: Final = timedelta(days=1)

_RANK: Final = "RANK"
_SIZE: Final = "WORLD_SIZE"
_LOCAL_RANK: Final = "LOCAL_RANK"
_LOCAL_SIZE: Final = "LOCAL_WORLD_SIZE"
_ADDRESS: Final = "MASTER_ADDR"
_PORT: Final = "MASTER_PORT"
_RESTARTS: Final = "TORCHELASTIC_RESTART_COUNT"
_PATIENCE: Final = timedelta(seconds=3)
_CONNECTING: Final = timedelta(minutes=10)
_PAUSE_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Place:
    """Where this process stands among those that were started together.

    Args:
        rank: Its number, from 0, on all machines together.
        size: How many processes there are.
        local_rank: Its number on this machine.
        local_size: How many there are on this machine.
        restarts: How often torchrun has started those of this machine again because one of them
            was lost. Other machines may count otherwise.
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
        return int(_notes(here).add(f"said/{here.restarts}/{said}", 1)) == 1
    except (OSError, RuntimeError):
        return True  # better twice than never


def store() -> Any:
    """Return torch's store, where processes that torchrun started leave notes to meet by.

    torchrun keeps one store however often it starts them again, so notes of those that are gone
    are still in it; in this one they are not seen. Nor are those of an earlier meeting.

    Raises:
        RuntimeError: It cannot be reached, or the others do not come.
    """
    here = place()
    assert here is not None
    notes = _notes(here, keep=here.rank == 0 and not _kept_by_torchrun(), timeout=_CONNECTING)
    notes.set_timeout(LONGEST_WORK)
    return _within(notes, meet(notes, here.rank, here.size))


def meet(notes: Any, rank: int, size: int) -> str:
    """Return a name for this meeting on which all processes that are alive agree, and no other.

    Nothing that they are told is the same in all and new at every start: each machine's torchrun
    counts its own restarts. So the first process makes a name up; every other one answers to the
    newest name with a sign of its own, and knows it to be no dead one's when its sign comes back.

    Args:
        notes: A store that all reach, in which those of earlier meetings may have left anything.
        rank: Of this process.
        size: How many there are.

    Raises:
        RuntimeError: The others do not come.
    """
    own = uuid.uuid4().hex
    if rank == 0:
        notes.set("meeting", own)
        for other in range(1, size):
            sign = notes.get(f"{own}/{other}").decode()  # waits for it
            notes.set(f"{own}/{other}/{sign}", "")
        return own
    answered, ends = "", time.monotonic() + LONGEST_WORK.total_seconds()
    while time.monotonic() < ends:
        name: str = notes.get("meeting").decode()
        if name != answered:
            notes.set(f"{name}/{rank}", own)
            answered = name
        if notes.check([f"{name}/{rank}/{own}"]):
            return name
        time.sleep(_PAUSE_S)
    raise RuntimeError("the first process did not come")


@functools.cache
def _notes(here: Place, *, keep: bool = False, timeout: timedelta = _PATIENCE) -> Any:
    """Return the store of these processes, perhaps kept by this one.

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
    return _within(connected, "resnets")


def _within(notes: Any, prefix: str) -> Any:
    from torch import distributed

    return distributed.PrefixStore(prefix, notes)  # type: ignore[attr-defined]


def _kept_by_torchrun() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
