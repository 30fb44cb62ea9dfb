"""A run that begins with trained weights: what they ask of its recipe, and its first network."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from resnets.core import artifacts, progress
from resnets.core.errors import DataError, ModelError, RecipeError
from resnets.core.processes import Team
from resnets.data import images, preprocess
from resnets.data.annotated import AnnotatedFiles
from resnets.data.file_batches import processors
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.data.scenes import Scaling
from resnets.data.sets import ImageSet
from resnets.data.setting_aside import SettingAside
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.localizer import Localizer
from resnets.evaluation.central_view import CentralView
from resnets.experiment import probing
from resnets.experiment.build import Parts
from resnets.inference import channels, opening, origins, published
from resnets.inference.checkpoints import BEGINNING, STATES, Checkpoint
from resnets.models import zoo
from resnets.models.making import Network
from resnets.models.spec import ModelSpec
from resnets.recipes.schema import Recipe, TestView

_SHOWN: Final = 3  # files in a message


@dataclass(frozen=True, slots=True)
class Weights:
    """Trained weights that somebody named.

    Args:
        where: A run, a file or a published name; None of a network that was given as a module.
        checkpoint: What lies there.
        new: Whether nothing was trained yet.
    """

    where: str | Path | None
    checkpoint: Checkpoint
    new: bool = False

    @staticmethod
    def of(where: str | Path | Network) -> "Weights":
        """Open them; of a network, take a copy.

        Raises:
            CheckpointError: There are none, or they are damaged.
            FetchError: They are published and cannot be fetched.
        """
        if isinstance(where, str | Path):
            return Weights(where, opening.checkpoint(where))
        return Weights(None, origins.checkpoint(where), origins.is_new(where))

    def describe(self) -> dict[str, str | None]:
        """Return what a run's manifest says of them: enough to open them again (`place`)."""
        sha256 = self.checkpoint.weights_sha256
        if self.where is None:
            return {"name": "a network from Python", "where": None, "sha256": sha256}
        path = Path(self.where).expanduser().resolve()
        return {
            "name": str(self.where),
            "where": str(self.where) if _is_published(self.where) else str(path),
            "sha256": sha256,
        }

    def keep(self, folder: Path) -> None:
        """Write a network that lies nowhere into a run's folder, until that has ended.

        Raises:
            StorageError: It could not be written.
        """
        if self.where is None:
            found = self.checkpoint
            artifacts.save_tensors(folder / STATES / BEGINNING, found.tensors, found.about)


def place(folder: Path, manifest: Mapping[str, Any]) -> str | Path:
    """Return where the weights lie that a run began with."""
    where: str | None = manifest["weights"]["where"]
    return folder / STATES / BEGINNING if where is None else where


def name_of(where: str | Path | None, found: Checkpoint) -> str:
    """Return what a recipe calls weights: their published name, or the digest of their tensors."""
    return str(where) if _is_published(where) else f"sha256:{found.weights_sha256}"


def _is_published(where: str | Path | None) -> bool:
    """Tell whether `opening.checkpoint` takes this for a published name: no file is called so."""
    return where is not None and str(where) in published.NAMES and not Path(where).exists()


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
        recipe: With a `transfer`, and the classes of the data.
        weights: To begin with.
        network: Whether the recipe's network has to be that of the weights; else it becomes theirs.

    Raises:
        ModelError: The weights are of another network.
        RecipeError: The last layer is to be kept, and is one of another number of classes.
    """
    began = recipe.transfer
    assert began is not None
    where, found = weights.where, weights.checkpoint
    if began.head == "kept" and found.spec.classes != recipe.model.classes:
        raise RecipeError(
            f"transfer.head: kept is of {found.spec.classes} classes, and the data has "
            f"{recipe.model.classes}; make a network for so many, or set it to random or "
            "linear-probe"
        )
    theirs = replace(zoo.dropping_as(recipe.model, found.spec), classes=recipe.model.classes)
    if not network:
        recipe = replace(recipe, model=theirs)
    elif zoo.comparable(theirs) != zoo.comparable(recipe.model):
        raise of_another(where, found.spec, recipe.model)
    view, augment = found.preprocess, recipe.data.augment
    if augment.kind == "crop-flip" or weights.new:  # small images are taken as they are
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
    began = replace(began, weights=name_of(where, found))
    return replace(recipe, data=data, transfer=began, expected=None)


def of_another(where: str | Path | None, theirs: ModelSpec, wanted: ModelSpec) -> ModelError:
    """Return what to raise where weights are of another network than the wanted one."""
    name, other = zoo.name_of(theirs), zoo.name_of(wanted)
    return ModelError(
        f"{where}: weights of {name}, not of {other}; train --model {name} of them, or name others "
        f"with --weights, a run or a file; {published.some_for(other)}"
    )


def start(
    parts: Parts,
    recipe: Recipe,
    find: Callable[[], Checkpoint],
    classes: Sequence[str],
    team: Team,
) -> None:
    """Put trained weights into the parts of a run that has not begun, in every process of a team.

    Args:
        parts: Of the run.
        recipe: With a `transfer`.
        find: Opens the weights, which are perhaps on the leader's machine alone.
        classes: What the classes of the data are called.
        team: Who trains.

    Raises:
        ResNetsError: `find` does.
        ModelError: The weights are not of this network.
        DataError: More images cannot be read than training puts up with.
    """
    team.led(lambda: begin(parts, recipe, find(), classes))
    parts.model.load_state_dict(team.share_tensors(parts.model.state_dict()))
    if parts.ema is not None:
        parts.ema.restore(parts.model.state_dict())


def begin(parts: Parts, recipe: Recipe, found: Checkpoint, classes: Sequence[str]) -> None:
    """Put trained weights into a run's network, with a new last layer where classes are others.

    Args:
        parts: Of the run; its network was drawn at random, and is changed in place.
        recipe: With a `transfer`.
        found: The weights.
        classes: What the classes of the data are called.

    Raises:
        ModelError: The weights are not of this network.
        DataError: An image to validate on cannot be read, or more to train on than training puts
            up with.
    """
    assert recipe.transfer is not None
    if isinstance(parts.evaluator, CentralView):
        _check_readable(parts.evaluator.files)
    model, train, view = parts.model, parts.train, parts.preprocess
    assert not isinstance(model, FasterRCNN | Localizer)
    assert not isinstance(train, AnnotatedFiles)
    assert not isinstance(view, Scaling)
    kept = recipe.transfer.head == "kept" or _same(classes, found.classes)
    new = set() if kept else _heads(model)
    theirs = channels.tensors(found, recipe.model.in_channels)
    tensors = {n: t for n, t in theirs.items() if n.rpartition(".")[0] not in new}
    own = {n: t for n, t in model.state_dict().items() if n.rpartition(".")[0] not in new}
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in own.items()}:
        raise of_another(found.path, found.spec, recipe.model)
    model.load_state_dict(tensors, strict=False)
    if not new or recipe.transfer.head == "random":
        return
    features_nc, index_n = probing.features(
        model.eval(),
        _view_of(train, parts.aside, view),
        len(train),
        mean_hwc=parts.mean_hwc,
        std=view.std,
    )
    weight_kc, bias_k = probing.solve(
        features_nc, train.labels_n[index_n], recipe.model.classes, recipe.class_weights
    )
    with torch.no_grad():
        model.head.weight.copy_(weight_kc)
        model.head.bias.copy_(bias_k)


def _check_readable(files: ImageFiles) -> None:
    """Say now which images cannot be validated on, and not after the first part of the training."""

    def trouble(index: int) -> str | None:
        try:
            files.image(index)
        except DataError as err:
            return str(err)
        return None

    with (
        ThreadPoolExecutor(processors()) as pool,
        progress.reporting("reading what validates", total=len(files), unit="images") as bar,
    ):
        told = []
        for why in pool.map(trouble, range(len(files))):
            told += [] if why is None else [why]
            bar.advance(1)
    if told:
        raise DataError(
            f"{len(told):,} of {len(files):,} images to validate on cannot be read "
            f"({'; '.join(told[:_SHOWN])}{'; ...' if len(told) > _SHOWN else ''}); remove them or "
            "put good ones in their place (`resnets data check` names all)"
        )


def _view_of(
    train: ImageFiles | ImageSet, aside: SettingAside | None, wanted: Preprocess
) -> Callable[[int], np.ndarray | None]:
    """Return what gives the view in which a training image would be tested; None of a bad one."""
    if isinstance(train, ImageSet):
        return lambda index: train.images_nhwc[index].numpy()
    assert aside is not None

    def view(content: bytes, name: str) -> np.ndarray:
        return preprocess.central(images.decode(content, name), wanted)

    return partial(aside.attempt, decode=view)


def _same(classes: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether classes are the same ones; mere numbers, of data without names, may not be."""
    numbers = [str(label) for label in range(len(classes))]
    return list(classes) == list(others) != numbers


def _heads(model: Network) -> set[str]:
    """Return the names of the layers that give a score to each class; GoogLeNet has three."""
    return {
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == model.spec.classes
    }
