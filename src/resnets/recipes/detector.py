"""A detector's recipe: everything that changes its numbers, and nothing else."""

import math
from typing import Literal

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.data.scenes import Scaling
from resnets.detection.detecting import Testing
from resnets.detection.learning import Learning
from resnets.detection.scoring import Protocol
from resnets.detection.spec import FasterRCNNSpec
from resnets.recipes.optimizers import OptimSpec
from resnets.recipes.schedule import Plateau, Schedule
from resnets.recipes.schema import EmaSpec, Recipe


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
        if not self.train or len(set(self.train)) < len(self.train):
            raise RecipeError(f"data.train: needs names of splits, each once, got {self.train}")
        if not 0 <= self.held_out_share < 1:
            raise RecipeError(f"data.held_out_share: must be in [0, 1), got {self.held_out_share}")
        if self.test in self.train and not self.held_out_share:
            raise RecipeError(f"data.test: {self.test} is trained on; name another split")


@spec
class Pretrained:
    """The classification network that a detector begins with.

    BN keeps its averages, its scales and its shifts.

    Args:
        weights: A name of `resnets weights list`; of weights that have none, "sha256:" and the
            digest of their tensors, which `--weights` fills in.
        frozen_stages: The stem and so many stages keep their weights.

    Source: He et al. 2015, appendix A.
    """

    weights: str
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        if self.frozen_stages < 0:
            raise RecipeError(
                f"transfer.frozen_stages: must not be negative, got {self.frozen_stages}"
            )


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
        for name in ("batch_images", "total_steps", "part_images", "clip_norm", "patience"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"{name}: must be positive, got {value}")
        if self.batch_images % self.part_images:
            raise RecipeError(
                f"part_images: must divide batch_images, {self.batch_images}, got "
                f"{self.part_images}"
            )
        if isinstance(self.schedule, Plateau):
            raise RecipeError("schedule: a plateau is of the top-1 error; a detector has none")

    @property
    def true_averages(self) -> bool:
        """Never: BN keeps those of its weights."""
        return False


AnyRecipe = Recipe | DetectorRecipe
