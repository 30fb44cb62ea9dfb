"""Updates replayed from a CUDA graph: for networks so small that a GPU waits for Python."""

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any, Final

import torch
from torch import Tensor

# One update of the parts of a batch, and what it measured.
PartsUpdate = Callable[[Iterable[Any]], dict[str, Tensor]]
_AS_THEY_ARE: Final = 3  # updates before recording: buffers are allocated, kernels are chosen


class Replayed:
    """Does the updates of a run, after some of them by replaying what one launched.

    An update of a CIFAR network is hundreds of kernels of a few microseconds each, and Python takes
    longer to launch one than a GPU to run it. Replayed, they follow each other without it. The
    kernels are the same, and so are the numbers, to the bit: a run may be resumed in between.

    Batches are dataclasses of tensors whose shapes never change, whole ones in one process. Nothing
    that is replayed may depend on what Python decides anew: no random layers, no float16, whose
    updates may be skipped.

    Args:
        update: Does one update of the parts of a batch, as `train_step` with all else given.
        optimizer: Whose rates that update reads.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
    """

    def __init__(self, update: PartsUpdate, optimizer: torch.optim.Optimizer) -> None:
        self._update = update
        self._optimizer = optimizer
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._done = 0
        self._batch: Any = None
        self._rates: list[Tensor] = []
        self._measured: dict[str, Tensor] = {}

    def __call__(self, parts: Iterable[Any]) -> dict[str, Tensor]:
        """Do one update of a batch that is one part; return what `train_step` does."""
        (batch,) = parts
        self._take(batch)
        if self._done < _AS_THEY_ARE:
            self._done += 1
            measured = self._beside()
        else:
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                # Backward passes want the stream that the parameters were first used on.
                with torch.cuda.graph(self._graph, stream=self._stream):
                    self._measured = self._update([self._batch])
            self._graph.replay()
            measured = self._measured
        return {name: value.clone() for name, value in measured.items()}

    def _take(self, batch: Any) -> None:
        """Put a batch and the rates where the recorded kernels read them."""
        if self._batch is None:
            own = {name: tensor.clone() for name, tensor in _tensors(batch).items()}
            self._batch = replace(batch, **own)
            device = next(iter(own.values())).device
            self._rates = [torch.zeros((), device=device) for _ in self._optimizer.param_groups]
        else:
            for name, place in _tensors(self._batch).items():
                place.copy_(getattr(batch, name))
        for rate, group in zip(self._rates, self._optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])
            group["lr"] = rate

    def _beside(self) -> dict[str, Tensor]:
        """Do an update on the stream that will be recorded."""
        now = torch.cuda.current_stream()
        self._stream.wait_stream(now)
        with torch.cuda.stream(self._stream):
            measured = self._update([self._batch])
        now.wait_stream(self._stream)
        return measured


def _tensors(batch: Any) -> dict[str, Tensor]:
    """Return a batch's tensors by the names of their fields; no other field says anything."""
    values = {each.name: getattr(batch, each.name) for each in fields(batch)}
    found = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    assert all(value is None for name, value in values.items() if name not in found)
    return found
