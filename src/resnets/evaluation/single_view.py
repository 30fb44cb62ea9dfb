"""Evaluate a classifier on one view of each image."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from resnets.core.processes import ALONE, Team
from resnets.data.batches import Batch
from resnets.evaluation import metrics
from resnets.evaluation.metrics import TopK, count_topk


@dataclass(frozen=True, slots=True)
class SingleView:
    """The error over a whole split, one view an image, in float32.

    Args:
        split: Its name: "test" or "validation".
        batches: Gives the split once, in order, on the model's device; of a team, every process's
            gives its own share.
        team: Who evaluates.

    Source: He et al. 2015, sec. 4.2: the single view of the original 32x32 image.
    """

    split: str
    batches: Callable[[], Iterable[Batch]]
    team: Team = ALONE

    def count(self, model: nn.Module) -> TopK:
        """Return exact counts; the model is left in evaluation mode."""
        model.eval()
        counted = TopK()
        with torch.inference_mode():
            for batch in self.batches():
                counted += count_topk(model(batch.images_nchw), batch.labels_n)
        return metrics.total(counted, self.team)

    def run(self, model: nn.Module) -> Iterator[tuple[str, float]]:
        """Yield the names and values of what was measured."""
        yield from metrics.named(self.split, self.count(model))
