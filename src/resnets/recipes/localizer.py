"""A localizer's recipe: everything that changes its numbers, and nothing else."""

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.data.crops import ScaleCrop
from resnets.data.preprocess import Preprocess
from resnets.detection.localizing import PerClassLearning
from resnets.detection.spec import LocalizerSpec
from resnets.recipes.boxes import BoxRecipe, SplitsSpec


@spec
class BoxCropsSpec(SplitsSpec):
    """Which data, and how its images are cut and looked at.

    Args:
        augment: How images to train on are cut.
        view: The one view in which it is tested, and what is subtracted and divided by in all:
            numbers, no mean of every pixel.
    """

    augment: ScaleCrop = ScaleCrop()
    view: Preprocess = Preprocess(resize_px=256, crop_px=224)

    def __post_init__(self) -> None:
        SplitsSpec.__post_init__(self)  # a class with slots is made anew: super() has the old one
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
class LocalizerRecipe(BoxRecipe):
    """One experiment with a localizer; the best measure is the lowest error of its boxes."""

    expected: ExpectedLocalization | None = None
    model: LocalizerSpec
    data: BoxCropsSpec
    learning: PerClassLearning = PerClassLearning()
