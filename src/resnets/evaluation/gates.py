"""What the gates of a highway network have learnt to let through."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from resnets.core.errors import DataError, ModelError
from resnets.data.batches import Batch
from resnets.evaluation.moments import Moments
from resnets.models import blocks, zoo
from resnets.models.network import ResNet

CLOSED_BELOW: Final = 0.1
OPEN_ABOVE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Gate:
    """The values of T(x) of one block, over all images, places and channels.

    Args:
        block: Its name.
        mean: In (0, 1); at 0 the block only carries its input.
        std: Standard deviation.
        closed_share: Share of values below 0.1.
        open_share: Share of values above 0.9, where the block is hardly residual any more.
    """

    block: str
    mean: float
    std: float
    closed_share: float
    open_share: float


def gates(network: ResNet, batches: Iterable[Batch]) -> list[Gate]:
    """Return the gate of every block, in order of depth, the network in evaluation mode.

    Args:
        network: A highway network on the batches' device; its mode stays as it is.
        batches: The images, gone through once.

    Returns:
        Values exact over the whole set, whatever the size of the batches: counts, and float64 sums.

    Raises:
        ModelError: The network has no gates.
        DataError: There was no batch.

    Source: Srivastava et al. 2015, eq. (3); He et al. 2015, sec. 2, on shortcuts that their gate
        closes: those are our open gates, as they carry 1 - T(x).
    """
    network = copy.deepcopy(network).eval()  # the hooks and the mode are gone with the copy
    found: dict[str, _Seen] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(gate: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = found.get(name, _Seen()) + _seen(output)

        return add

    here = {name: m for name, m in network.named_modules() if isinstance(m, blocks.Gate)}
    if not here:
        raise ModelError(
            f"gates: {zoo.name_of(network.spec)} has none; highway networks have, such as "
            "cifar-highway20"
        )
    for name, gate in here.items():
        gate.register_forward_hook(watch(name.removesuffix(".gate")))
    with torch.inference_mode():
        for batch in batches:
            network(batch.images_nchw)
    if not found:
        raise DataError("gates: need at least one batch of images, got none")
    return [seen.gate(name) for name, seen in found.items()]


@dataclass(frozen=True, slots=True)
class _Seen:
    moments: Moments = field(default_factory=Moments)
    closed: int = 0
    open: int = 0

    def __add__(self, other: "_Seen") -> "_Seen":
        return _Seen(
            self.moments + other.moments, self.closed + other.closed, self.open + other.open
        )

    def gate(self, name: str) -> Gate:
        values = self.moments.values
        return Gate(
            block=name,
            mean=self.moments.mean,
            std=self.moments.std,
            closed_share=self.closed / values,
            open_share=self.open / values,
        )


def _seen(t: Tensor) -> _Seen:
    closed, opened = (t < CLOSED_BELOW).sum(), (t > OPEN_ABOVE).sum()
    return _Seen(Moments.of(t), int(closed), int(opened))
