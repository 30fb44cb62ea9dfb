"""A detector's recipe: everything that changes its numbers, and nothing else."""

from resnets.core.spec import spec
from resnets.data.scenes import Scaling
from resnets.detection.detecting import Testing
from resnets.detection.learning import Learning
from resnets.detection.scoring import Protocol
from resnets.detection.spec import FasterRCNNSpec
from resnets.recipes.boxes import BoxRecipe, Pretrained, SplitsSpec
from resnets.recipes.localizer import LocalizerRecipe
from resnets.recipes.schema import Recipe

__all__ = [
    "AnyRecipe",
    "BoxRecipe",
    "DetectorRecipe",
    "ExpectedAP",
    "LocalizerRecipe",
    "Pretrained",
    "ScenesSpec",
]


@spec
class ScenesSpec(SplitsSpec):
    """Which data, and how its images are scaled and changed.

    Args:
        scaling: How the detector wants images.
        flip: Whether half of the images are flipped.
        protocol: By which the average precision is measured.
    """

    scaling: Scaling = Scaling()
    flip: bool = True
    protocol: Protocol = "voc2010"


@spec
class ExpectedAP:
    """What a detector should reach, who says so, and what it cost them.

    `ap50_percent` is the mean over classes of the average precision at an overlap of 0.5.
    """

    ap50_percent: float
    source: str
    cost: str | None = None
    measured: bool = False


@spec
class DetectorRecipe(BoxRecipe):
    """One experiment with a detector; the best measure is the highest average precision.

    `part_images` is 1: images have their own sizes and are computed one at a time.
    """

    expected: ExpectedAP | None = None
    model: FasterRCNNSpec
    data: ScenesSpec
    learning: Learning = Learning()
    testing: Testing = Testing()
    part_images: int = 1


AnyRecipe = Recipe | DetectorRecipe | LocalizerRecipe
