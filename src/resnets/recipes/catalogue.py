"""Every recipe by its name."""

from typing import Final

from resnets.core import errors
from resnets.core.errors import RecipeError
from resnets.recipes import (
    cifar10,
    detect,
    folder,
    imagenet,
    imagenet_facts,
    imagenet_timm,
    imagenet_torchvision,
    localize,
    sample,
    voc,
)
from resnets.recipes.detector import AnyRecipe, DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe

CLASSIFIERS: Final[dict[str, Recipe]] = {
    **sample.RECIPES,
    **cifar10.RECIPES,
    **imagenet.RECIPES,
    **imagenet_torchvision.RECIPES,
    **imagenet_timm.RECIPES,
    **folder.RECIPES,
}

DETECTORS: Final[dict[str, DetectorRecipe]] = {**detect.RECIPES, **voc.RECIPES}
LOCALIZERS: Final[dict[str, LocalizerRecipe]] = {**localize.RECIPES}
RECIPES: Final[dict[str, AnyRecipe]] = {**CLASSIFIERS, **DETECTORS, **LOCALIZERS}

# Data set -> how many images the recipes made for it train on.
TRAINING_IMAGES: Final = {
    "cifar10": 50_000,
    "cifar10-sample": 5_000,
    "imagenet": imagenet_facts.IMAGES,
}

# Data set -> the recipe that `resnets train --data D` alone means.
FOR_DATA: Final = {"cifar10": "cifar10.resnet20-short", "cifar10-sample": "sample.resnet20"}


def named(name: str) -> AnyRecipe:
    """Return the recipe of that name.

    Raises:
        RecipeError: There is none; the message names the nearest.
    """
    if name not in RECIPES:
        raise RecipeError(errors.unknown("recipe", name, RECIPES, "resnets list recipes"))
    return RECIPES[name]
