"""BN's moving averages where a batch is computed in parts, here or in several processes."""

import torch
from torch import Tensor, nn

from resnets.core.division import Division


class PartStatistics:
    """Makes an update's parts one step of BN's moving averages, by the mean of their statistics.

    Each part is normalised by its own statistics. Were each also one step of the moving averages,
    these would depend on how many parts one process computes. So they are put back after every
    part, and moved once at the end of the update. The step is linear in the statistics: its mean
    over the parts is the step by their mean.

    Of a batch that is one part in one process this does nothing: BN's own step stands.

    Args:
        model: What is trained. BN that is frozen stays as it is.
        division: How the batch is divided.
    """

    def __init__(self, model: nn.Module, division: Division) -> None:
        self._slices = division.slices
        modules = model.modules() if self._slices > 1 else ()
        layers = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
        buffers = [dict(layer.named_buffers()) for layer in layers]
        self._averages = [t for each in buffers for t in each.values() if t.is_floating_point()]
        self._counters = [t for each in buffers for t in each.values() if not t.is_floating_point()]
        self._averages_before = [average.clone() for average in self._averages]
        self._counters_before = [counter.clone() for counter in self._counters]
        self._counters_after = self._counters_before
        self.steps = [torch.zeros_like(average) for average in self._averages]

    def take(self) -> None:
        """Note by how much a part's forward pass moved the averages, and put them back."""
        for average, before, step in zip(
            self._averages, self._averages_before, self.steps, strict=True
        ):
            step += average - before
            average.copy_(before)
        self._counters_after = [counter.clone() for counter in self._counters]
        _copy(self._counters_before, self._counters)

    def finish(self) -> None:
        """Move the averages once; `steps` are by now the sums over all processes."""
        for average, step in zip(self._averages, self.steps, strict=True):
            average += step / self._slices
        _copy(self._counters_after, self._counters)


def _copy(values: list[Tensor], to: list[Tensor]) -> None:
    for value, place in zip(values, to, strict=True):
        place.copy_(value)
