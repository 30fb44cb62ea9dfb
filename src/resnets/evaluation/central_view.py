"""Evaluate a network that is being trained on the central square of each image of a split."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnets.core import progress
from resnets.core.processes import ALONE, Team
from resnets.data import batches, images
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.evaluation import metrics, over_files, views
from resnets.evaluation.metrics import TopK
from resnets.evaluation.over_files import Member


@dataclass(frozen=True, slots=True)
class CentralView:
    """The error over a whole split of image files, one view an image, in float32.

    What `resnets evaluate` measures in a single crop.

    Args:
        split: Its name: "validation".
        files: The split.
        classes: How many the network has.
        preprocess: The square that the network wants.
        mean_hwc: What to subtract from RGB in [0, 1].
        device: Where the network is.
        channels: Of an image, as the network takes it.
        team: Who evaluates.
    """

    split: str
    files: ImageFiles
    classes: int
    preprocess: Preprocess
    mean_hwc: Tensor
    device: torch.device
    channels: int = 3
    team: Team = ALONE

    def count(self, model: nn.Module) -> TopK:
        """Return exact counts; the model is left in evaluation mode.

        Raises:
            DataError: An image cannot be read or decoded.
        """
        model.eval()
        mean_hwc = self.mean_hwc.to(self.device)
        std_hwc = torch.tensor(self.preprocess.std, device=self.device).view(1, 1, 3)

        def log_scores(images_nhwc: Tensor) -> Tensor:
            ready = batches.prepare(images_nhwc.to(self.device), mean_hwc, std_hwc, self.channels)
            logits: Tensor = model(ready)
            return logits.log_softmax(dim=1)

        with torch.inference_mode():
            counted = over_files.count(
                self.files,
                [Member(log_scores, self.preprocess)],
                "single-crop",
                classes=self.classes,
                decode=images.decode,
                at_once=views.TOGETHER[self.device.type],
                bar=progress.Silent(),  # the run has a bar
                team=self.team,
            )
        return counted.by_class.total

    def run(self, model: nn.Module) -> Iterator[tuple[str, float]]:
        """Yield the names and values of what was measured."""
        yield from metrics.named(self.split, self.count(model))
