"""The least time that training a residual network can take on a GPU, from bytes and operations.

An update must move its activations through the GPU's memory: BN wants the statistics of a whole
batch before it can go on, and the backward pass wants what the forward pass made. How often they
must be moved depends on what runs together. Counted here, for activations of bfloat16, with `i` for
a convolution's input, `o` for its output and `z` for the output of a block:

    everything fused                            forward          backward
    convolution, with the BN and ReLU           read i, write o  read the gradient of o, o and i,
    before and after it                                          write the gradient of i
    sum at the end of a block                   read the         read the shortcut's gradient, and
                                                shortcut,        what the last BN normalises (with
                                                write z          a projection: what both do)
    max pooling, mean over space                read i, write o  as a convolution, without o

    only BN, ReLU and sum fused                 forward          backward
    convolution: a library's, by itself         read i, write o  twice the gradient of o, i, and
                                                                 write the gradient of i
    BN and ReLU after it                        twice o, write   twice o and the gradient,
                                                what it makes    write the gradient
    sum at the end of a block                   the shortcut     the shortcut's gradient and z,
                                                                 write the gradients' sum

"everything fused" means kernels that compute the two gradients of a convolution together, apply BN
while they read and sum up its statistics while they write. Nobody has written these for training;
it is what the network itself needs. What a compiler can reach around a library's convolutions is
the second. In both the first convolution reads float32 and has no gradient of its input, and a
parameter is moved as float32 eight times: read forward and backward, its gradient written and read,
itself and its momentum read and written.

An operation is a multiplication or an addition; the backward pass does twice those of the forward.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from resnets.models import making, zoo
from resnets.models.blocks import Residual

_ACTIVATION: Final = 2  # bytes, bfloat16
_IMAGE: Final = 4  # bytes, float32
_PARAMETER: Final = 8 * 4  # bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of an update costs at least.

    Args:
        name: The part.
        fused_bytes: Moved where everything is fused.
        library_bytes: Moved where convolutions are a library's.
        operations: Multiplications and additions.
    """

    name: str
    fused_bytes: int
    library_bytes: int
    operations: int


def costs(model: str, images: int, side_px: int) -> list[Cost]:
    """Return what each part of an update of the zoo's network of that name costs.

    Nothing is computed: the network runs on the meta device, which knows shapes alone.
    """
    found: list[Cost] = []
    with torch.device("meta"):
        network = making.make(zoo.named(model))
        batch = torch.empty(images, 3, side_px, side_px)
    last_map = 0

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor], Tensor], None]:
        def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            nonlocal last_map
            i, o = inputs[0].numel(), output.numel()
            if isinstance(module, nn.Conv2d):
                found.append(_convolution(name, module, i, o, first=inputs[0] is batch))
            elif isinstance(module, nn.MaxPool2d):
                found.append(_pooling(name, i, o))
            elif isinstance(module, Residual):
                last_map = o
                found.append(_sum(f"{name}, sum", module, o))
            else:
                found.append(_pooling(f"{name}, mean", last_map, i))
                bytes_moved = 3 * _ACTIVATION * (i + o)
                operations = 3 * 2 * i * output.shape[1]
                found.append(Cost(name, bytes_moved, bytes_moved, operations))

        return count

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.Linear | Residual):
            module.register_forward_hook(hook(name))
    network.train()(batch)
    moved = _PARAMETER * sum(parameter.numel() for parameter in network.parameters())
    return [*found, Cost("parameters", moved, moved, 0)]


def _convolution(name: str, module: nn.Conv2d, i: int, o: int, *, first: bool) -> Cost:
    read = (_IMAGE if first else _ACTIVATION) * i
    gradient = 0 if first else _ACTIVATION * i
    a = _ACTIVATION * o
    fused = (read + a) + (a + a + read + gradient)
    library = (read + a) + (2 * a + a) + (2 * a + 3 * a) + (0 if first else a) + (a + read)
    per_output = module.weight[0].numel()
    operations = 2 * per_output * o * (2 if first else 3)
    return Cost(name, fused, library + gradient, operations)


def _pooling(name: str, i: int, o: int) -> Cost:
    forward = _ACTIVATION * (i + o)
    return Cost(name, forward + _ACTIVATION * (o + 2 * i), forward + _ACTIVATION * (o + i), 0)


def _sum(name: str, block: Residual, z: int) -> Cost:
    projected = isinstance(block.shortcut, nn.Sequential)
    fused = 2 + 2 + (1 if projected else 0)
    return Cost(name, _ACTIVATION * fused * z, _ACTIVATION * (1 + 3) * z, 0)


def rates(
    parts: list[Cost], images: int, bytes_per_s: float, operations_per_s: float
) -> dict[str, float]:
    """Return the images per second that no program can exceed, by what bounds it."""

    def of(seconds: float) -> float:
        return round(images / seconds, 1)

    fused = [part.fused_bytes / bytes_per_s for part in parts]
    library = [part.library_bytes / bytes_per_s for part in parts]
    computing = [part.operations / operations_per_s for part in parts]
    each = [max(pair) for pair in zip(fused, computing, strict=True)]
    return {
        "memory, everything fused": of(sum(fused)),
        "memory, only BN, ReLU and sum fused": of(sum(library)),
        "arithmetic": of(sum(computing)),
        "memory or arithmetic, layer by layer, everything fused": of(sum(each)),
    }


def finish(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def copied_bytes_per_s(device: torch.device, values: int = 2**30) -> float:
    """Return how fast a large float32 tensor is copied, bytes read and bytes written counted."""
    source = torch.randn(values, device=device)
    target = torch.empty_like(source)
    return 2 * 4 * values / _seconds(lambda: target.copy_(source), device)


def matrix_operations_per_s(device: torch.device, side: int = 8192) -> float:
    """Return how fast two large bfloat16 matrices of random numbers are multiplied."""
    one, other = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    return 2 * side**3 / _seconds(lambda: one @ other, device)


def _seconds(run: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    """Return the median over several rows of repeats, after one that warms up."""
    took = []
    for _ in range(6):
        finish(device)
        begun = time.perf_counter()
        for _ in range(repeats):
            run()
        finish(device)
        took.append((time.perf_counter() - begun) / repeats)
    return statistics.median(took[1:])
