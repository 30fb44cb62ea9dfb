"""The processes that train one network together: what they tell each other, and how.

One process is the ordinary case: then nothing here does anything, and nothing is connected. Under
torchrun there are several, all doing the same thing at the same time; the first of them, which
leads, alone touches the run's folder and prints. Numbers in a processor's memory travel by gloo,
those on NVIDIA's GPUs by NCCL. What travels is numbers and JSON: nothing received can run code.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from safetensors.torch import load as decode_safetensors
from safetensors.torch import save as encode_safetensors
from torch import Tensor

from resnets.core import hardware, launcher
from resnets.core.errors import LostProcessError, ResNetsError, RunError

T = TypeVar("T")

_BUCKET_NUMBERS: Final = 2**23  # 32 MB of float32 travel at once


@dataclass(frozen=True, slots=True)
class Team:
    """Processes that work together, as one of them sees it. Every method is called by all.

    Args:
        rank: This process's number in the team, from 0.
        size: How many there are.
        group: torch's name for them; None for all that torchrun started.
        patient: torch's name for them where they wait for the leader; by default `group`.
    """

    rank: int = 0
    size: int = 1
    group: Any = None
    patient: Any = None

    @property
    def leads(self) -> bool:
        """Whether this process is the team's first."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace every tensor by the sum of it over all processes: the same bits in each.

        Args:
            tensors: On one device; the same shapes in every process.
        """
        if self.size == 1:
            return
        from torch import distributed

        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _connected():
                distributed.all_reduce(flat, group=self.group)
            each = flat.split([tensor.numel() for tensor in bucket])
            for tensor, summed in zip(bucket, each, strict=True):
                tensor.copy_(summed.view(tensor.shape))

    def sum_integers(self, values: Sequence[int]) -> list[int]:
        """Return the exact sums of whole numbers below 2**63 over all processes."""
        summed = torch.tensor(list(values), dtype=torch.int64)
        self.sum_([summed])
        return [int(value) for value in summed.tolist()]

    def gather(self, tensor: Tensor) -> Tensor:
        """Return every process's tensor in the order of ranks, along a new first dimension."""
        if self.size == 1:
            return tensor[None]
        from torch import distributed

        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with _connected():
            distributed.all_gather(parts, tensor, group=self.group)
        return torch.stack(parts)

    def gather_values(self, value: T) -> list[T]:
        """Return every process's JSON value in the order of ranks, all as JSON gives them back."""
        content = json.dumps(value).encode()
        sizes = self.gather(torch.tensor([len(content)])).flatten().tolist()
        padded = torch.zeros(max(sizes), dtype=torch.uint8)
        padded[: len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        rows = zip(self.gather(padded), sizes, strict=True)
        return [json.loads(row[:size].numpy().tobytes()) for row, size in rows]

    def led(self, work: Callable[[], T]) -> T:
        """Let the leader alone do something, and return in every process what came of it.

        The others wait for it, however long it takes.

        Args:
            work: Returns JSON values; the others get them as JSON gives them back.

        Raises:
            ResNetsError: The work failed; every process raises the same message.
        """
        if self.size == 1:
            return work()
        if not self.leads:
            outcome = json.loads(self._share_bytes(b""))
            if "error" in outcome:
                raised = ResNetsError(outcome["error"])
                raised.exit_status, raised.everywhere = outcome["status"], True
                raise raised
            value: T = outcome["value"]
            return value
        try:
            value = work()
        except ResNetsError as err:
            err.everywhere = True
            self._share_bytes(json.dumps({"error": str(err), "status": err.exit_status}).encode())
            raise
        self._share_bytes(json.dumps({"value": value}).encode())
        return value

    def share_tensors(self, tensors: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Return the leader's tensors by name in every process, in its processor's memory.

        Args:
            tensors: What the leader has; of the others nothing is looked at.
        """
        if self.size == 1:
            return dict(tensors or {})
        plain = {n: t.detach().cpu().contiguous().clone() for n, t in (tensors or {}).items()}
        content = self._share_bytes(encode_safetensors(plain) if self.leads else b"")
        return plain if self.leads else decode_safetensors(content)

    def divided(self, size: int) -> "Team":
        """Return this process's own team of `size` neighbours, which divides the team's size."""
        if size == 1:
            return ALONE
        if size == self.size:
            return self
        from torch import distributed

        groups = [
            distributed.new_group(list(range(first, first + size)))
            for first in range(0, self.size, size)
        ]
        return Team(self.rank % size, size, groups[self.rank // size])

    def _share_bytes(self, content: bytes) -> bytes:
        """Return the leader's bytes."""
        from torch import distributed

        group = self.group if self.patient is None else self.patient
        with _connected():
            length = torch.tensor([len(content)])
            distributed.broadcast(length, group=group, group_src=0)
            data = torch.zeros(int(length), dtype=torch.uint8)
            if self.leads and content:
                data.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            distributed.broadcast(data, group=group, group_src=0)
        return data.numpy().tobytes()


ALONE: Final = Team()


class Poll:
    """What any process asks for, heard by all of them at the same point, without waiting.

    The answer comes one call late: while it travels, the work goes on. Of one process it comes at
    once.

    Args:
        team: Who is asked.
    """

    def __init__(self, team: Team) -> None:
        self.team = team
        self._asked: Tensor | None = None
        self._travelling: Any = None

    def __call__(self, *wishes: int) -> tuple[int, ...]:
        """Say what this process wishes; return the largest of all wishes of the call before.

        Args:
            wishes: Not negative, as many at every call.
        """
        if self.team.size == 1:
            return wishes
        from torch import distributed

        heard = (0,) * len(wishes)
        with _connected():
            if self._asked is not None:
                self._travelling.wait()
                heard = tuple(int(wish) for wish in self._asked.tolist())
            self._asked = torch.tensor(wishes)
            self._travelling = distributed.all_reduce(
                self._asked,
                op=distributed.ReduceOp.MAX,
                group=self.team.group,
                async_op=True,
            )
        return heard


@contextlib.contextmanager
def joined() -> Iterator[Team]:
    """Yield the team of all that torchrun started with this process: it alone, if none.

    Raises:
        LostProcessError: Another process ended.
    """
    here = launcher.place()
    if here is None or here.size == 1:
        yield ALONE
        return
    from torch import distributed

    with _connected():
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if hardware.gpu_count() else "gloo",
            store=launcher.store(),
            rank=here.rank,
            world_size=here.size,
        )
        patient = distributed.new_group(timeout=launcher.LONGEST_WORK, backend="gloo")
    try:
        yield Team(here.rank, here.size, patient=patient)
    except ResNetsError as err:
        # After another error the others may be gone, and taking leave of them would wait for them.
        if err.everywhere:
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def device(name: str | None = None) -> torch.device:
    """Return the device of this process; of several on a machine with GPUs, each has its own.

    Raises:
        ResNetsError: The named device does not exist here.
        RunError: There are more processes here than GPUs, or one was named for all of them.
    """
    here, gpus = launcher.place(), hardware.gpu_count()
    if here is None or here.size == 1 or name == "cpu" or not gpus:
        return hardware.device(name)
    if name not in (None, "cuda"):
        raise RunError(f"--device {name}: of several processes each has its own; say cuda, or cpu")
    if here.local_size > gpus:
        raise RunError(
            f"{here.local_size} processes on a machine with {gpus} GPUs: start at most one for "
            f"each (--nproc-per-node {gpus}), or train on --device cpu"
        )
    where = hardware.device(f"cuda:{here.local_rank}")
    torch.cuda.set_device(where)
    return where


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in their order, as many together as may travel at once."""
    bucket: list[Tensor] = []
    numbers = 0
    for tensor in tensors:
        if bucket and (numbers >= _BUCKET_NUMBERS or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, numbers = [], 0
        bucket.append(tensor)
        numbers += tensor.numel()
    if bucket:
        yield bucket


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    """Turn a broken connection into one clear line."""
    try:
        yield
    except RuntimeError as err:
        raise LostProcessError(
            "another process of this run has ended, and so must this; `torchrun --max-restarts N` "
            "starts them again, and `resnets train --resume RUN` continues"
        ) from err
