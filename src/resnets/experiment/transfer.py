"""A run that begins with trained weights: what they ask of its recipe, and its first network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from resnets.core.errors import ModelError, RecipeError
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.experiment import probing
from resnets.inference import opening, published
from resnets.inference.checkpoints import Checkpoint
from resnets.models import freezing, zoo
from resnets.models.making import Network
from resnets.recipes.schema import Recipe, TestView, Transfer


def name_of(where: str | Path, found: Checkpoint) -> str:
    """Return what a recipe calls weights: their published name, or the digest of their tensors."""
    return str(where) if str(where) in published.NAMES else f"sha256:{found.weights_sha256}"


def opened(where: str | Path, named: str) -> Checkpoint:
    """Open the weights that a run began with.

    Args:
        where: A run, a file or a published name.
        named: What its recipe calls them.

    Raises:
        RecipeError: Other weights are there now.
        CheckpointError: There are none, or they are damaged.
        FetchError: They are published and cannot be fetched.
    """
    found = opening.checkpoint(where)
    if name_of(where, found) != named:
        raise RecipeError(
            f"{where}: holds other weights than the run began with ({named[:23]}); put those back"
        )
    return found


def fitted(recipe: Recipe, where: str | Path, found: Checkpoint, network: bool) -> Recipe:
    """Return the recipe for weights: their network, and images as it was trained to see them.

    Args:
        recipe: It has the classes of the data.
        where: What was asked for: a run, a file or a published name.
        found: What lies there.
        network: Whether the recipe's network was asked for and has to be that of the weights; else
            it becomes theirs.

    Raises:
        ModelError: The weights are of another network than was asked for.
    """
    theirs = replace(found.spec, classes=recipe.model.classes)
    if not network:
        recipe = replace(recipe, model=theirs)
    elif zoo.comparable(theirs) != zoo.comparable(recipe.model):
        raise ModelError(
            f"{where}: weights of {zoo.name_of(found.spec)}, not of {zoo.name_of(recipe.model)}; "
            "leave --model out, or name other weights"
        )
    view, augment = found.preprocess, recipe.data.augment
    if augment.kind == "crop-flip":  # small images are taken as they are
        data = recipe.data
    else:
        mean = tuple(found.mean_hwc.mean((0, 1)).tolist())
        data = replace(
            recipe.data,
            augment=replace(augment, crop_px=view.crop_px),
            test=TestView(
                resize_px=view.resize_px,
                crop_px=view.crop_px,
                interpolation=view.interpolation,
            ),
            mean=mean,
            std=view.std,
        )
    began = recipe.transfer or Transfer(weights="")
    return replace(
        recipe, data=data, transfer=replace(began, weights=name_of(where, found)), expected=None
    )


def prepare(model: Network, recipe: Recipe) -> None:
    """Freeze what the recipe says, in place. The tensors keep their names and values.

    Raises:
        ModelError: The network has fewer stages than are to be frozen.
    """
    if recipe.transfer is None:
        return
    freezing.freeze(model, recipe.transfer.frozen_stages)
    if recipe.transfer.fixed_bn:
        freezing.fix_bn(model)


def begin(
    model: Network,
    recipe: Recipe,
    found: Checkpoint,
    classes: Sequence[str],
    files: ImageFiles | None,
    wanted: Preprocess,
) -> None:
    """Put trained weights into a run's network, with a new last layer where classes are others.

    Args:
        model: Drawn at random, on the device; changed in place.
        recipe: With a `transfer`.
        found: The weights.
        classes: What the classes of the data are called.
        files: The training images, for the linear problem; without them a new layer stays random.
        wanted: The view in which the network is tested.

    Raises:
        ModelError: The weights are not of this network.
        DataError: An image cannot be read or decoded.
    """
    assert recipe.transfer is not None
    new = set() if tuple(classes) == found.classes else _heads(model)
    tensors = {n: t for n, t in found.model.items() if n.rpartition(".")[0] not in new}
    own = {n: t for n, t in model.state_dict().items() if n.rpartition(".")[0] not in new}
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in own.items()}:
        raise ModelError(
            f"{found.path}: weights of {zoo.name_of(found.spec)}, not of "
            f"{zoo.name_of(recipe.model)}"
        )
    model.load_state_dict(tensors, strict=False)
    if not new or files is None or recipe.transfer.head == "random":
        return
    features_nc = probing.features(model.eval(), files, wanted, model.head.weight.device)
    weight_kc, bias_k = probing.solve(
        features_nc, files.labels_n, recipe.model.classes, recipe.class_weights
    )
    with torch.no_grad():
        model.head.weight.copy_(weight_kc)
        model.head.bias.copy_(bias_k)


def _heads(model: Network) -> set[str]:
    """Return the names of the layers that give a score to each class; GoogLeNet has three."""
    return {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == model.spec.classes
    }
