"""How long a recipe for one's own data trains: small sets are passed over more often."""

import math
from dataclasses import replace
from typing import TypeVar

from resnets.recipes.detector import DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe

R = TypeVar("R", Recipe, DetectorRecipe, LocalizerRecipe)


def fitted(
    recipe: R, images: int, *, epochs: tuple[int, int], root: float, most_warmup_steps: int
) -> R:
    """Return a recipe with `root` / sqrt(images) passes over so many images, within bounds.

    A set of fewer images than a batch is one batch. A tenth of the updates, at most, warm up.

    Args:
        recipe: As it stands in the catalogue.
        images: To train on; positive.
        epochs: The least and the most passes.
        root: Passes times the root of the number of images.
        most_warmup_steps: Updates that warm up, where there are enough.
    """
    batch, (least, most) = min(recipe.batch_images, images), epochs
    passes = min(most, max(least, root / math.sqrt(images)))
    steps = math.ceil(passes * images / batch)
    warmup_steps = min(most_warmup_steps, steps // 10)
    return replace(
        recipe,
        batch_images=batch,
        total_steps=steps,
        schedule=replace(recipe.schedule, warmup_steps=warmup_steps),
    )
