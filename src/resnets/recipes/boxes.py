"""What the recipes of a detector and of a localizer have in common."""

import math
from typing import Protocol

from resnets.core.errors import RecipeError
from resnets.core.spec import spec
from resnets.recipes.schedule import Plateau, Schedule


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


def check_splits(train: tuple[str, ...], test: str, held_out_share: float) -> None:
    """Refuse splits that cannot be trained and evaluated on.

    Raises:
        RecipeError: They cannot.
    """
    if not train or len(set(train)) < len(train):
        raise RecipeError(f"data.train: needs names of splits, each once, got {train}")
    if not 0 <= held_out_share < 1:
        raise RecipeError(f"data.held_out_share: must be in [0, 1), got {held_out_share}")
    if test in train and not held_out_share:
        raise RecipeError(f"data.test: {test} is trained on; name another split")


class Batched(Protocol):
    """The fields of a recipe that `check_batches` looks at."""

    @property
    def batch_images(self) -> int:
        """Images in a batch."""

    @property
    def part_images(self) -> int | None:
        """Images in a part of it."""

    @property
    def schedule(self) -> Schedule:
        """How its rate falls."""


def check_batches(recipe: Batched) -> None:
    """Refuse numbers that cannot be trained with.

    Raises:
        RecipeError: They cannot.
    """
    for name in ("batch_images", "total_steps", "part_images", "clip_norm", "patience"):
        value = getattr(recipe, name)
        if value is not None and not 0 < value < math.inf:
            raise RecipeError(f"{name}: must be positive, got {value}")
    batch = recipe.batch_images
    if batch % min(recipe.part_images or batch, batch):
        raise RecipeError(
            f"part_images: must divide batch_images, {batch}, got {recipe.part_images}"
        )
    if isinstance(recipe.schedule, Plateau):
        raise RecipeError("schedule: a plateau is of the top-1 error; a detector has none")
