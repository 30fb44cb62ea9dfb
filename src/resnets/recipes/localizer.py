"""A localizer's recipe: everything that changes its numbers, and nothing else."""

from typing import Literal

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.data.crops import ScaleCrop
from resnets.data.preprocess import Preprocess
from resnets.detection.localizing import PerClassLearning
from resnets.detection.spec import LocalizerSpec
from resnets.recipes import boxes
from resnets.recipes.boxes import Pretrained
from resnets.recipes.optimizers import OptimSpec
from resnets.recipes.schedule import Schedule
from resnets.recipes.schema import EmaSpec


@spec
class BoxCropsSpec:
    """Which data set, which of its splits, and how its images are cut and looked at.

    Args:
        name: The data set.
        train: The splits that are trained on, together.
        test: What the localizer is evaluated on while it trains.
        held_out_share: Hold out that share of the images to train on and evaluate on them instead
            of on `test`.
        augment: How images to train on are cut.
        view: The one view in which it is tested, and what is subtracted and divided by in all:
            numbers, no mean of every pixel.
    """

    name: str
    train: tuple[str, ...] = ("train",)
    test: str = "validation"
    held_out_share: float = 0.0
    augment: ScaleCrop = ScaleCrop()
    view: Preprocess = Preprocess(resize_px=256, crop_px=224)

    def __post_init__(self) -> None:
        boxes.check_splits(self.train, self.test, self.held_out_share)
        if self.view.mean is None:
            raise RecipeError("data.view.mean: must be of red, green and blue, got null")


@spec
class ExpectedLocalization:
    """What a localizer should reach, who says so, and what it cost them.

    `localization_error_percent` is the error of its boxes where the class is given.
    """

    localization_error_percent: float
    source: str
    cost: str | None = None
    measured: bool = False


@spec
class LocalizerRecipe:
    """One experiment with a localizer; see `Recipe` for what all have.

    `keep` says which network a run ends with: the last one, or that of all evaluations with the
    lowest error of its boxes.
    """

    source: str
    expected: ExpectedLocalization | None = None
    differs: tuple[str, ...] = ()
    model: LocalizerSpec
    data: BoxCropsSpec
    learning: PerClassLearning = PerClassLearning()
    optim: OptimSpec
    schedule: Schedule
    batch_images: int
    part_images: int | None = None
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
