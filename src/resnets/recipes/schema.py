"""A recipe: everything that changes the numbers, and nothing else."""

import math
from typing import Literal

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.data.batches import CropFlip
from resnets.data.crops import ResizedCrop, ScaleCrop
from resnets.data.erasing import RandomErasing
from resnets.data.mixing import Mixing
from resnets.data.policies import RandAugment, TrivialAugment
from resnets.data.preprocess import Interpolation
from resnets.models.freezing import Frozen
from resnets.models.spec import ModelSpec
from resnets.recipes.optimizers import AdamWSpec, LambSpec, OptimSpec, SgdSpec
from resnets.recipes.schedule import Schedule

__all__ = [
    "AdamWSpec",
    "DataSpec",
    "EmaSpec",
    "Expected",
    "Experiment",
    "LambSpec",
    "OptimSpec",
    "Recipe",
    "SgdSpec",
    "TestView",
    "Transfer",
]


@spec
class TestView:
    """The one view on which a network is tested: the shorter side resized, the central square."""

    resize_px: int
    crop_px: int
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= self.resize_px <= 4096:
            raise RecipeError(
                f"data.test: a crop of {self.crop_px} px from a shorter side of {self.resize_px} "
                "px; needs 1 <= crop <= resize <= 4096"
            )


@spec
class DataSpec:
    """Which data set, how many training images to hold out and validate on, and how to augment.

    With images held out the run never looks at the test split. Every image is cut as `augment`
    says, then changed by `policy` and in part erased; with `repeats`, an epoch holds so many views
    of a part of the images. `test` None is the view that belongs to `augment`.

    `held_out_share` holds out that share of every class instead of so many images of all
    (`resnets.data.files.split`), of data with one split. `mean` and `std` are of RGB in [0, 1];
    None is what belongs to `augment`.
    """

    name: str
    held_out_images: int = 0
    held_out_share: float = 0.0
    augment: CropFlip | ScaleCrop | ResizedCrop = CropFlip()
    policy: TrivialAugment | RandAugment | None = None
    erasing: RandomErasing | None = None
    repeats: int = 1
    test: TestView | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.held_out_images < 0:
            raise RecipeError(
                f"data.held_out_images: must not be negative, got {self.held_out_images}"
            )
        if not 0 <= self.held_out_share < 1:
            raise RecipeError(f"data.held_out_share: must be in [0, 1), got {self.held_out_share}")
        if self.held_out_images and self.held_out_share:
            raise RecipeError("data.held_out_share: held_out_images says it too; set one to 0")
        if (self.mean is None) != (self.std is None):
            raise RecipeError("data.mean: goes with data.std; set both or neither")
        if self.std is not None and not all(0 < std < math.inf for std in self.std):
            raise RecipeError(f"data.std: must be positive, got {self.std}")
        if self.repeats < 1:
            raise RecipeError(f"data.repeats: must be positive, got {self.repeats}")


@spec
class EmaSpec:
    """The network's moving average is what is evaluated and kept.

    Every `every_steps` updates the average keeps `decay` of itself and takes the rest from the
    network; until update `copied_steps` it takes all of it.
    """

    decay: float
    every_steps: int = 1
    copied_steps: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise RecipeError(f"ema.decay: must be in [0, 1), got {self.decay}")
        if self.every_steps < 1:
            raise RecipeError(f"ema.every_steps: must be positive, got {self.every_steps}")
        if self.copied_steps < 0:
            raise RecipeError(f"ema.copied_steps: must not be negative, got {self.copied_steps}")

    def stretched(self, factor: float) -> "EmaSpec":
        """Return one that remembers the same part of a run `factor` times as long.

        In a shorter run the average changes more often, so that it does at all.

        Source: Radosavovic et al. 2020, in whose code, pycls, torchvision found the rule.
        """
        every_steps = max(1, round(self.every_steps * min(1.0, factor)))
        share = (1 - self.decay) * every_steps / self.every_steps / factor
        return EmaSpec(
            decay=1 - min(1.0, share),
            every_steps=every_steps,
            copied_steps=round(self.copied_steps * factor),
        )


@spec
class Transfer:
    """Begin with trained weights. Where the classes are other ones, the last layer is new.

    Args:
        weights: A name of `resnets weights list`; of weights that have none, "sha256:" and the
            digest of their tensors, which `--weights` fills in.
        head: How a new last layer begins: as the solution of the linear problem on the features of
            the network as it is (Kumar et al. 2022), or drawn at random as in training from
            scratch (He et al. 2015, sec. 3.4). "kept" is that of the weights, whatever their
            classes are called.
        head_rate_factor: The last layer's rate, in units of the others'.
        frozen_stages: The stem and so many stages keep their weights; "all-but-last" is as many as
            the network has but one.
        fixed_bn: Whether BN keeps its averages.
    """

    weights: str
    head: Literal["linear-probe", "random", "kept"] = "linear-probe"
    head_rate_factor: float = 1.0
    frozen_stages: Frozen = 0
    fixed_bn: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.head_rate_factor < math.inf:
            raise RecipeError(
                f"transfer.head_rate_factor: must not be negative, got {self.head_rate_factor}"
            )
        if isinstance(self.frozen_stages, int) and self.frozen_stages < 0:
            raise RecipeError(
                f"transfer.frozen_stages: must not be negative, got {self.frozen_stages}"
            )

    @property
    def keeps_averages(self) -> bool:
        """Whether some BN goes on with the averages of the weights."""
        return self.fixed_bn or self.frozen_stages != 0


@spec
class Expected:
    """What a recipe should reach, who says so, and what it cost them.

    `measured` says that this project ran the recipe as it stands and found that; without it the
    recipe is unverified.
    """

    top1_error_percent: float
    source: str
    cost: str | None = None
    measured: bool = False


@spec
class Experiment:
    """What the recipe of every task has.

    `source`, the `expected` result and `differs` say where the numbers come from, what they lead
    to, and what is not as in the source, a sentence each, told when a run begins; the digest leaves
    them out. `precision` "auto" is replaced by what the machine computes in when a run begins.

    `clip_norm` is the greatest norm of all gradients together. `part_images` is how many images
    BN's statistics are taken over: the batch is done in parts of that many, on one device one after
    the other, so the numbers do not depend on how many devices there are; None, or more than a
    batch has, is the whole batch. `rate_rule` says how the rate follows when another batch is asked
    for (`resnets.recipes.rates`). `keep` says which network a run ends with: the last one, or the
    best of all evaluations, the latest of equals; `patience` ends it after so many evaluations in
    a row that were no better.
    """

    source: str
    differs: tuple[str, ...] = ()
    optim: OptimSpec
    schedule: Schedule
    batch_images: int
    part_images: int | None = None
    rate_rule: Literal["none", "linear", "square-root"] = "none"
    total_steps: int
    clip_norm: float | None = None
    ema: EmaSpec | None = None
    keep: Literal["last", "best"] = "last"
    patience: int | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def __post_init__(self) -> None:
        for name in ("batch_images", "total_steps", "part_images", "clip_norm", "patience"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise RecipeError(f"{name}: must be positive, got {value}")
        if self.batch_images % min(self.part_images or 1, self.batch_images):
            raise RecipeError(
                f"part_images: must divide batch_images, {self.batch_images}, got "
                f"{self.part_images}; name another with --set part_images=N, or null for the batch"
            )
        if self.ema is not None and self.ema.every_steps > self.total_steps:
            raise RecipeError(
                f"ema.every_steps: at most total_steps, {self.total_steps}, got "
                f"{self.ema.every_steps}"
            )


@spec
class Recipe(Experiment):
    """One experiment with a classifier. Equal recipes and equal seeds mean the same experiment.

    `loss` and `class_weights` (one for each class, or none) are those of
    `resnets.training.losses`. `transfer` says what a run begins from; None is from scratch.
    `true_averages` ends a run by replacing BN's moving averages by true ones over an epoch of the
    training batches, as the paper's authors did with their released models.
    """

    expected: Expected | None = None
    model: ModelSpec
    data: DataSpec
    mixing: Mixing | None = None
    loss: Literal["cross-entropy", "bce"] = "cross-entropy"
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    transfer: Transfer | None = None
    true_averages: bool = False

    def __post_init__(self) -> None:
        Experiment.__post_init__(self)  # a class with slots is made anew: super() has the old one
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"label_smoothing: must be in [0, 1), got {self.label_smoothing}")
        if self.class_weights and len(self.class_weights) != self.model.classes:
            raise RecipeError(
                f"class_weights: needs one for each of {self.model.classes} classes, or none, got "
                f"{len(self.class_weights)}"
            )
        if not all(0 < weight < math.inf for weight in self.class_weights):
            raise RecipeError(f"class_weights: must be positive, got {self.class_weights}")
        if self.keep == "best" and self.true_averages:
            raise RecipeError("keep: true_averages are those of the last network; keep that")
        if self.true_averages and self.transfer is not None and self.transfer.keeps_averages:
            raise RecipeError(
                "true_averages: BN keeps those of the weights; set it to false, or "
                "transfer.fixed_bn to false and transfer.frozen_stages to 0"
            )
