"""A run that begins with trained weights: what they ask of its recipe, and its first network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from resnets.core.errors import ModelError, RecipeError
from resnets.core.processes import Team
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.experiment import probing
from resnets.experiment.build import Parts
from resnets.inference import opening, published
from resnets.inference.checkpoints import Checkpoint
from resnets.models import zoo
from resnets.models.making import Network
from resnets.recipes.schema import Recipe, TestView, Transfer


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights that somebody named.

    Args:
        where: A run, a file or a published name.
        checkpoint: What lies there.
    """

    where: str | Path
    checkpoint: Checkpoint

    @staticmethod
    def of(where: str | Path) -> "Weights":
        """Open them.

        Raises:
            CheckpointError: There are none, or they are damaged.
            FetchError: They are published and cannot be fetched.
        """
        return Weights(where, opening.checkpoint(where))

    def describe(self, recipe: Recipe) -> dict[str, str]:
        """Return what a run's manifest says of them: enough to open them again."""
        assert recipe.transfer is not None
        published_name = str(self.where) in published.NAMES
        return {
            "name": str(self.where),
            "where": str(self.where) if published_name else str(Path(self.where).resolve()),
            "sha256": self.checkpoint.weights_sha256,
        }


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


def fitted(recipe: Recipe, weights: Weights, *, network: bool) -> Recipe:
    """Return the recipe for weights: their network, and images as it was trained to see them.

    Args:
        recipe: It has the classes of the data.
        weights: To begin with.
        network: Whether the recipe's network was asked for and has to be that of the weights; else
            it becomes theirs.

    Raises:
        ModelError: The weights are of another network than was asked for.
    """
    where, found = weights.where, weights.checkpoint
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


def start(
    parts: Parts, recipe: Recipe, found: Checkpoint, classes: Sequence[str], team: Team
) -> None:
    """Put trained weights into the parts of a run that has not begun, in every process of a team.

    Raises:
        ModelError: The weights are not of this network.
        DataError: An image cannot be read or decoded.
    """
    team.led(lambda: begin(parts.model, recipe, found, classes, parts.train, parts.preprocess))
    parts.model.load_state_dict(team.share_tensors(parts.model.state_dict()))
    if parts.ema is not None:
        parts.ema.restore(parts.model.state_dict())


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
