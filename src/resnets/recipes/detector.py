"""A detector's recipe: everything that changes its numbers, and nothing else."""

from typing import Literal

from resnets.core.spec import spec
from resnets.data.scenes import Scaling
from resnets.detection.detecting import Testing
from resnets.detection.learning import Learning
from resnets.detection.scoring import Protocol
from resnets.detection.spec import FasterRCNNSpec
from resnets.recipes import boxes
from resnets.recipes.boxes import Pretrained
from resnets.recipes.localizer import LocalizerRecipe
from resnets.recipes.optimizers import OptimSpec
from resnets.recipes.schedule import Schedule
from resnets.recipes.schema import EmaSpec, Recipe

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
class ScenesSpec:
    """Which data set, which of its splits, and how its images are scaled and changed.

    Args:
        name: The data set.
        train: The splits that are trained on, together.
        test: What the detector is evaluated on while it trains.
        held_out_share: Hold out that share of the images to train on and evaluate on them instead
            of on `test`.
        scaling: How it wants images.
        flip: Whether half of the images are flipped.
        protocol: By which the average precision is measured.
    """

    name: str
    train: tuple[str, ...] = ("train",)
    test: str = "validation"
    held_out_share: float = 0.0
    scaling: Scaling = Scaling()
    flip: bool = True
    protocol: Protocol = "voc2010"

    def __post_init__(self) -> None:
        boxes.check_splits(self.train, self.test, self.held_out_share)


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
class DetectorRecipe:
    """One experiment with a detector; see `Recipe` for what both have.

    `part_images` is 1: images have their own sizes and are computed one at a time. `keep` says
    which detector a run ends with: the last one, or that of all evaluations with the highest AP.
    """

    source: str
    expected: ExpectedAP | None = None
    differs: tuple[str, ...] = ()
    model: FasterRCNNSpec
    data: ScenesSpec
    learning: Learning = Learning()
    testing: Testing = Testing()
    optim: OptimSpec
    schedule: Schedule
    batch_images: int
    part_images: int = 1
    rate_rule: Literal["none", "linear", "square-root"] = "none"
    total_steps: int
    clip_norm: float | None = None
    ema: EmaSpec | None = None
    transfer: Pretrained
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def __post_init__(self) -> None:
        boxes.check_batches(self)

    @property
    def true_averages(self) -> bool:
        """Never: BN keeps those of its weights."""
        return False


BoxRecipe = DetectorRecipe | LocalizerRecipe
AnyRecipe = Recipe | BoxRecipe
