"""How a recipe's rate follows its batch, where the batch is changed and the rate is not."""

import math
from dataclasses import replace

from resnets.recipes.detector import AnyRecipe


def following(recipe: AnyRecipe, made_for_images: int) -> AnyRecipe:
    """Return the recipe with its rate as its rule wants it for its batch.

    "linear" keeps the rate in proportion to the batch, for SGD; "square-root" in proportion to the
    batch's root, for LAMB and AdamW; "none" keeps the rate.

    Args:
        recipe: With the batch that was asked for.
        made_for_images: The batch that its rate was made for.

    Source: Goyal et al. 2017, sec. 2.1; You et al. 2019, for the square root.
    """
    ratio = recipe.batch_images / made_for_images
    factor = {"none": 1.0, "linear": ratio, "square-root": math.sqrt(ratio)}[recipe.rate_rule]
    if factor == 1:
        return recipe
    rate = recipe.optim.learning_rate * factor
    return replace(recipe, optim=replace(recipe.optim, learning_rate=rate))


def note(before: AnyRecipe, after: AnyRecipe) -> str | None:
    """Return one line about a rate that followed the batch, or None where it did not."""
    old, new = before.optim.learning_rate, after.optim.learning_rate
    if before.batch_images == after.batch_images or old == new or after.rate_rule == "none":
        return None
    return (
        f"rate {old:g} -> {new:g}, by the {after.rate_rule} rule, for batches of "
        f"{after.batch_images:,} instead of {before.batch_images:,} images; "
        "--lr sets it, --set rate_rule=none keeps it"
    )
