"""A recipe: everything that changes the numbers, and nothing else."""

import math
from typing import Literal

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.data.batches import CropFlip
from resnets.data.crops import ScaleCrop
from resnets.models.spec import ModelSpec
from resnets.recipes.schedule import Schedule


@spec
class DataSpec:
    """Which data set, how many training images to hold out and validate on, and how to augment.

    With images held out the run never looks at the test split.
    """

    name: str
    held_out_images: int = 0
    augment: CropFlip | ScaleCrop = CropFlip()

    def __post_init__(self) -> None:
        if self.held_out_images < 0:
            raise RecipeError(
                f"data.held_out_images: must not be negative, got {self.held_out_images}"
            )


@spec
class SgdSpec:
    """SGD with momentum. `learning_rate` is for the recipe's whole batch.

    Source: He et al. 2015, sec. 3.4; it names no exception from weight decay, so "all".
    """

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_on: Literal["all", "weights"] = "all"

    def __post_init__(self) -> None:
        if not (0 < self.learning_rate < math.inf):
            raise RecipeError(f"optim.learning_rate: must be positive, got {self.learning_rate}")
        if not 0 <= self.momentum < 1:
            raise RecipeError(f"optim.momentum: must be in [0, 1), got {self.momentum}")
        if not (0 <= self.weight_decay < math.inf):
            raise RecipeError(f"optim.weight_decay: must not be negative, got {self.weight_decay}")
        if self.nesterov and self.momentum == 0:
            raise RecipeError("optim.nesterov: needs a momentum above 0")


@spec
class Expected:
    """What a recipe should reach, and who says so."""

    top1_error_percent: float
    source: str


@spec
class Recipe:
    """One experiment. Equal recipes and equal seeds mean the same experiment.

    `source` and `expected` say where the numbers come from and lead to; the digest leaves them
    out. `precision` "auto" is replaced by what the machine computes in when a run begins.
    `true_averages` ends a run by replacing BN's moving averages by true ones over an epoch of the
    training batches, as the paper's authors did with their released models. `part_images` is how
    many images BN's statistics are taken over; None is the whole batch. `clip_norm` is the greatest
    norm of the gradient; None is any.
    """

    source: str
    expected: Expected | None = None
    model: ModelSpec
    data: DataSpec
    optim: SgdSpec
    schedule: Schedule
    batch_images: int
    part_images: int | None = None
    total_steps: int
    clip_norm: float | None = None
    label_smoothing: float = 0.0
    true_averages: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def __post_init__(self) -> None:
        if self.batch_images < 1:
            raise RecipeError(f"batch_images: must be positive, got {self.batch_images}")
        if self.part_images is not None and self.part_images < 1:
            raise RecipeError(f"part_images: must be positive, got {self.part_images}")
        if self.clip_norm is not None and not (0 < self.clip_norm < math.inf):
            raise RecipeError(f"clip_norm: must be positive, got {self.clip_norm}")
        if self.total_steps < 1:
            raise RecipeError(f"total_steps: must be positive, got {self.total_steps}")
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(f"label_smoothing: must be in [0, 1), got {self.label_smoothing}")
