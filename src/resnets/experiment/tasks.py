"""What a run asks of its task: the one place where those of classifiers and others part ways."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from resnets.core.errors import ModelError, RecipeError
from resnets.core.processes import ALONE, Team
from resnets.data import opening
from resnets.data.annotated import DetectionData
from resnets.data.opening import Data
from resnets.experiment import build, detectors, localizers, transfer
from resnets.experiment.build import Parts
from resnets.experiment.transfer import Weights
from resnets.inference import origins
from resnets.inference.checkpoints import Checkpoint
from resnets.models import zoo
from resnets.models.making import Network
from resnets.models.spec import ResNetSpec, VggSpec
from resnets.recipes.detector import AnyRecipe, BoxRecipe, DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe, Transfer


def evaluations(recipe: AnyRecipe) -> int:
    """Return how often a whole run is evaluated, the last time included.

    Looking for objects in an image takes about as long as learning from one.
    """
    return 4 if isinstance(recipe, DetectorRecipe) else 12


def fitted(recipe: AnyRecipe, data: Data) -> AnyRecipe:
    """Return the recipe for a data set; see `build.fitted` and `detectors.fitted`.

    Raises:
        DataError: The data is for another task.
    """
    if isinstance(recipe, BoxRecipe):
        return detectors.fitted(recipe, opening.with_boxes(data))
    return build.fitted(recipe, data)


def suited(recipe: AnyRecipe, data: Data) -> Data:
    """Return a data set as the task sees it: a classifier one class an image, where it is both."""
    both = isinstance(data, DetectionData) and data.labelled is not None
    return opening.labelled(data) if both and isinstance(recipe, Recipe) else data


def class_names(data: Data) -> tuple[str, ...]:
    """Return what the classes are called, in the order of the labels."""
    return data.classes if isinstance(data, DetectionData) else build.class_names(data)


def training_images(recipe: AnyRecipe, data: Data) -> int:
    """Return how many images the recipe trains on.

    Raises:
        DataError: There is nothing to train or to evaluate on, or the data is for another task.
    """
    if isinstance(recipe, LocalizerRecipe):
        return len(localizers.split(recipe, opening.with_boxes(data)).train)
    if isinstance(recipe, DetectorRecipe):
        return len(detectors.split(recipe, opening.with_boxes(data))[0])
    return build.training_images(recipe, data)


def multiply_adds(recipe: AnyRecipe, data: Data) -> float:
    """Return what a whole run computes: forward and backward passes of all its images."""
    if isinstance(recipe, LocalizerRecipe):
        return localizers.multiply_adds(recipe)
    if isinstance(recipe, DetectorRecipe):
        return detectors.multiply_adds(recipe)
    return build.multiply_adds(recipe, data)


def built(
    recipe: AnyRecipe,
    data: Data,
    *,
    seed: int,
    device: torch.device,
    mean_hwc: Tensor | None = None,
    team: Team = ALONE,
    workers: int | None = None,
) -> Parts:
    """Return the parts of a run; see `build.build`."""
    if isinstance(recipe, LocalizerRecipe):
        return localizers.built(
            recipe, opening.with_boxes(data), seed=seed, device=device, team=team, workers=workers
        )
    if isinstance(recipe, DetectorRecipe):
        return detectors.built(
            recipe, opening.with_boxes(data), seed=seed, device=device, team=team, workers=workers
        )
    return build.build(
        recipe,
        data,
        seed=seed,
        device=device,
        mean_hwc=mean_hwc,
        team=team,
        workers=workers,
    )


def start(
    parts: Parts, recipe: AnyRecipe, found: Callable[[], Checkpoint], data: Data, team: Team
) -> None:
    """Put trained weights, opened by the first process alone, into a run that has not begun.

    Raises:
        ModelError: The weights are not of this network.
    """
    if isinstance(recipe, BoxRecipe):
        detectors.start(parts, found, team)
    else:
        transfer.start(parts, recipe, found, class_names(data), team)


def for_weights(recipe: AnyRecipe, weights: Weights, *, network: bool) -> AnyRecipe:
    """Return the recipe for weights; see `transfer.fitted` and `detectors.for_weights`."""
    if isinstance(recipe, LocalizerRecipe):
        return localizers.for_weights(recipe, weights, network=network)
    if isinstance(recipe, DetectorRecipe):
        return detectors.for_weights(recipe, weights, network=network)
    return transfer.fitted(recipe, weights, network=network)


def with_network(recipe: AnyRecipe, name: str, classes: int) -> AnyRecipe:
    """Return the recipe with another network of the zoo, for so many classes.

    Raises:
        ModelError: No network has that name, or no detector can be made of it.
    """
    network = zoo.named(name)
    if isinstance(recipe, BoxRecipe):
        if not isinstance(network, ResNetSpec | VggSpec):
            raise ModelError(f"--model {name}: a detector is made of a ResNet or a VGG")
        model: Any = replace(recipe.model, backbone=network, classes=classes)
        return replace(recipe, model=model)
    dropping = zoo.dropping_as(recipe.model, network)
    return replace(recipe, model=replace(dropping, classes=classes))


def for_classes(recipe: AnyRecipe, classes: int, data_name: str | None = None) -> AnyRecipe:
    """Return the recipe with so many classes, and perhaps another name of its data."""
    name = recipe.data.name if data_name is None else data_name
    model: Any = replace(recipe.model, classes=classes)
    data: Any = replace(recipe.data, name=name)
    return replace(recipe, model=model, data=data)


def balanced(recipe: AnyRecipe, data: Data) -> AnyRecipe:
    """Return the recipe with every class an equal part of the loss; see `build.balanced_weights`.

    Raises:
        RecipeError: It is no classifier's.
    """
    if isinstance(recipe, BoxRecipe):
        raise RecipeError("--set class_weights=balanced: is for classifiers; leave it out")
    return replace(recipe, class_weights=build.balanced_weights(recipe, data))


def beginning_from(recipe: AnyRecipe, network: Network | None) -> AnyRecipe:
    """Return the recipe beginning with weights; a new network begins as it is, from scratch.

    Args:
        recipe: Of any task.
        network: Which was given, if it was no file or name.
    """
    if isinstance(recipe, BoxRecipe):
        return recipe
    began = recipe.transfer or Transfer(weights="", fixed_bn=not recipe.true_averages)
    if network is not None and origins.is_new(network):
        began = replace(began, head="kept", fixed_bn=False)
    return replace(recipe, transfer=began)


def beginning_with(recipe: AnyRecipe, weights: str) -> AnyRecipe:
    """Return the recipe beginning with weights, by what it calls them."""
    if isinstance(recipe, BoxRecipe):
        return replace(recipe, transfer=replace(recipe.transfer, weights=weights))
    began = recipe.transfer or Transfer(weights="", fixed_bn=not recipe.true_averages)
    return replace(recipe, transfer=replace(began, weights=weights))
