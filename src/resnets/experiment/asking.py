"""From what was asked for (a recipe's name, data, changes) to a run; the command and the facade."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from resnets.core import launcher
from resnets.core.errors import DataError, RecipeError, ResNetsError, RunError
from resnets.data import imagenet, opening
from resnets.data.annotated import DetectionData
from resnets.data.files import FileData
from resnets.data.opening import Data
from resnets.data.sets import DataSet
from resnets.experiment import manifests, report_page, run, tasks, transfer
from resnets.experiment.machine import Compile
from resnets.experiment.outcome import Run
from resnets.inference import origins
from resnets.models import zoo
from resnets.models.making import Network
from resnets.recipes import catalogue, codec, rates
from resnets.recipes import detect as detect_recipes
from resnets.recipes import folder as folder_recipes
from resnets.recipes import localize as localize_recipes
from resnets.recipes.detector import AnyRecipe, DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe

_CHECKED_IMAGES: Final = 50_000  # of a data set that is checked for the report; more take long
_BEFORE: Final = (
    "transfer=",
    "transfer.",
    "data.held_out_",
    "data.train=",
    "data.test=",
    "data.augment.area=",
)  # settings that a recipe is fitted to
_BALANCED: Final = "class_weights=balanced"
# Recipes whose network is that of the weights.
_OF_WEIGHTS: Final = (
    folder_recipes.FINETUNE,
    detect_recipes.FINETUNE,
    localize_recipes.FINETUNE,
)
_RATE: Final = ("optim.learning_rate=", "optim=")  # settings that name it


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from a recipe; None where nothing does.

    Args:
        model: A network's name; its classes are fitted to the data.
        network: A network that `resnets.model` made, instead of a name: it is trained, as it is,
            and a copy of it, so that it stays as it was.
        epochs: Passes over the training images; the schedule is stretched in proportion.
        batch_images: Images in a batch. The number of updates stays; the rate follows by the
            recipe's `rate_rule`, where it is not set too.
        rate: Base learning rate.
        settings: `a.b=value`, applied last. What is changed has no `expected` result any more.
            `class_weights=balanced` gives every class an equal part of the loss.
        weights: What to begin from: a run, a file, or a name of `resnets weights list`. By default
            what the recipe names.
    """

    model: str | None = None
    epochs: int | None = None
    batch_images: int | None = None
    rate: float | None = None
    settings: Sequence[str] = ()
    weights: str | Path | None = None
    network: Network | None = None

    @property
    def beginning(self) -> str | Path | Network | None:
        """What to begin from, if anything was named."""
        return self.weights if self.network is None else self.network

    def apply(self, recipe: AnyRecipe, data: Data) -> AnyRecipe:
        """Return the recipe with these changes, fitted to the data.

        Raises:
            RecipeError: A change is not valid.
            ModelError: No network has that name.
        """
        original = recipe
        if self.model is not None:
            recipe = tasks.with_network(recipe, self.model, len(tasks.class_names(data)))
        if self.rate is not None:
            recipe = replace(recipe, optim=replace(recipe.optim, learning_rate=self.rate))
        # What is stretched has its own settings afterwards, and they are taken as written.
        last = [s for s in self.settings if s.startswith(("schedule.", "ema."))]
        first = [s for s in self.settings if s not in (*last, _BALANCED)]
        if self.batch_images is not None:
            first.insert(0, f"batch_images={self.batch_images}")
        recipe = codec.override(tasks.fitted(recipe, data), first)
        if self.rate is None and not any(s.startswith(_RATE) for s in self.settings):
            recipe = rates.following(recipe, original.batch_images)
        if recipe.data.name != data.name:
            raise RecipeError(f"data.name: name the data with --data {recipe.data.name}")
        if _weights_of(recipe) != _weights_of(original):
            raise RecipeError(f"transfer: name the weights with --weights {_weights_of(recipe)}")
        if self.epochs is not None:
            recipe = self._lengthen(recipe, data)
        recipe = codec.override(recipe, last)
        if _BALANCED in self.settings:
            recipe = tasks.balanced(recipe, data)
        images = tasks.training_images(recipe, data)
        if recipe.batch_images > images:
            raise RecipeError(
                f"batch_images: at most the {images:,} training images, got {recipe.batch_images:,}"
            )
        changed = codec.digest(recipe) != codec.digest(original)
        return replace(recipe, expected=None) if changed else recipe

    def _lengthen(self, recipe: AnyRecipe, data: Data) -> AnyRecipe:
        assert self.epochs is not None
        if self.epochs < 1:
            raise RecipeError(f"--epochs: must be positive, got {self.epochs}")
        if any(setting.startswith("total_steps") for setting in self.settings):
            raise RecipeError("--epochs: sets the length, and so does total_steps; name one")
        images = tasks.training_images(recipe, data)
        steps = math.ceil(self.epochs * images / recipe.batch_images)
        factor = steps / recipe.total_steps
        return replace(
            recipe,
            total_steps=steps,
            schedule=recipe.schedule.stretched(factor),
            ema=recipe.ema and recipe.ema.stretched(factor),
        )

    @property
    def none(self) -> bool:
        """Whether nothing was asked to differ."""
        return self == Changes()


def start(
    name: str | None,
    data: Data | str | Path | None,
    changes: Changes,
    *,
    out: Path | None = None,
    seed: int = 0,
    device: str | None = None,
    compiling: Compile = "auto",
    workers: int | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train a recipe by its name; without one, the recipe that fits the data.

    Args:
        name: A recipe's name, or None.
        data: An open data set, a name or a folder; by default what the recipe names.
        changes: What differs from the recipe.
        out: See `run.start`, like all that follow.
        seed: Of everything random.
        device: Where to compute.
        compiling: Whether to compile.
        workers: How many threads read image files.
        tensorboard: Whether to write its events.

    Raises:
        ResNetsError: Anything in the request is wrong; nothing was written.
    """
    recipe = None if name is None else catalogue.named(name)
    if changes.model is not None:
        zoo.named(changes.model)  # a wrong name is said before any data is fetched
    if changes.network is not None:
        origins.check(changes.network)
        if changes.weights is not None:
            raise RecipeError("weights: the network that was given has its own; name one of both")
    opened = _open(data, recipe)
    if recipe is None:
        name = _fitting(opened)
        recipe = catalogue.named(name)
    assert name is not None
    opened = tasks.suited(recipe, opened)
    recipe, weights = _fitted(recipe, name, changes, opened)
    changed = changes.apply(recipe, opened)
    if (told := rates.note(recipe, changed)) and launcher.leads():
        sys.stderr.write(f"note         {told}\n")
    finished = run.start(
        changed,
        opened,
        name=name,
        out=out,
        seed=seed,
        device=device,
        compiling=compiling,
        weights=weights,
        workers=workers,
        tensorboard=tensorboard,
    )
    _write_page(finished, opened, device)
    return finished


def resume(
    folder: Path,
    name: str | None,
    data: Data | str | Path | None,
    changes: Changes,
    *,
    device: str | None = None,
    workers: int | None = None,
) -> Run:
    """Continue a run. The recipe and data named beside it must be what the run began with.

    Raises:
        RunError: Another recipe or other data was named.
    """
    folder = folder.expanduser()
    named = None
    opened = None if data is None else _open(data, None)
    # The folder is the first process's: it compares for all.
    if launcher.leads() and (name is not None or not changes.none):
        manifest = manifests.read(folder)
        own = codec.from_tree(manifest["recipe"])
        opened = tasks.suited(own, opened or _open(manifest["data"]["where"], None))
        base = own
        began = manifest.get("weights", {}).get("where")
        given = "weights" in manifest and began is None  # as a module, which no name brings back
        if given and name not in (None, manifest["name"]):
            raise RunError(f"{folder}: began with {manifest['name']}, not {name}")
        if name is not None and not given:
            weighed = replace(changes, weights=changes.weights or began)
            base, _ = _fitted(catalogue.named(name), name, weighed, opened)
        elif changes.weights is not None:
            found = transfer.name_of(
                changes.weights, transfer.Weights.of(changes.weights).checkpoint
            )
            base = tasks.beginning_with(own, found)
        named = changes.apply(base, opened)
        if named.precision == "auto":  # decided when the run began
            named = replace(named, precision=own.precision)
    finished = run.resume(folder, opened, named, device, workers)
    _write_page(finished, opened, device)
    return finished


def _fitted(
    recipe: AnyRecipe, name: str, changes: Changes, data: Data
) -> tuple[AnyRecipe, transfer.Weights | None]:
    """Return a recipe of the catalogue for its data and the weights that it begins with, and these.

    Settings that decide on either come first. From scratch there are no weights.
    """
    # Else it is the recipe's, or one that was named.
    theirs = changes.network is not None or (recipe.transfer is not None and name in _OF_WEIGHTS)
    of_weights = changes.model is None and theirs
    if changes.beginning is not None:
        recipe = tasks.beginning_from(recipe, changes.network)
    recipe = codec.override(recipe, [s for s in changes.settings if s.startswith(_BEFORE)])
    recipe, weights = _for_weights(
        _for_own(recipe, name, data), changes, data, network=not of_weights
    )
    if name == folder_recipes.FINETUNE and isinstance(recipe, Recipe) and weights is not None:
        recipe = folder_recipes.of_resnet(recipe, tasks.training_images(recipe, data))
    return recipe, weights


def _for_own(recipe: AnyRecipe, name: str, data: Data) -> AnyRecipe:
    """Return a recipe for one's own images with their splits and the length for them."""
    if name == folder_recipes.FINETUNE and isinstance(data, FileData):
        assert isinstance(recipe, Recipe)
        recipe = folder_recipes.holding_out(recipe, splits=len(data.splits))
        return folder_recipes.fitted(recipe, tasks.training_images(recipe, data))
    if name == detect_recipes.FINETUNE and isinstance(data, DetectionData):
        assert isinstance(recipe, DetectorRecipe)
        recipe = detect_recipes.on_splits(recipe, tuple(data.splits))
        return detect_recipes.fitted(recipe, tasks.training_images(recipe, data))
    if name == localize_recipes.FINETUNE and isinstance(data, DetectionData):
        assert isinstance(recipe, LocalizerRecipe)
        recipe = detect_recipes.on_splits(recipe, tuple(data.splits))
        return localize_recipes.fitted(recipe, tasks.training_images(recipe, data))
    return recipe


def _for_weights(
    recipe: AnyRecipe, changes: Changes, data: Data, *, network: bool
) -> tuple[AnyRecipe, transfer.Weights | None]:
    """Return the recipe for the weights that it begins with, and these; None from scratch."""
    if recipe.transfer is None:
        if changes.beginning is not None:
            raise RecipeError("transfer: null is from scratch; leave that or the weights out")
        return recipe, None
    where = recipe.transfer.weights if changes.beginning is None else changes.beginning
    classes = len(tasks.class_names(data))
    tasks.fitted(tasks.for_classes(recipe, classes, ""), data)  # before any fetching
    weights = transfer.Weights.of(where)
    recipe = tasks.for_classes(recipe, classes)
    if changes.model is not None:
        recipe = tasks.with_network(recipe, changes.model, classes)
    return tasks.for_weights(recipe, weights, network=network), weights


def _weights_of(recipe: AnyRecipe) -> str | None:
    return None if recipe.transfer is None else recipe.transfer.weights


def _write_page(finished: Run, data: Data | None, device: str | None) -> None:
    """Write the report of a run that learnt somebody's own images; the run stands without it."""
    if not launcher.leads():
        return
    path = finished.folder / report_page.PAGE
    manifest = manifests.read(finished.folder)
    if manifest["recipe"].get("transfer") is None or path.exists():
        return
    recipe = codec.from_tree(manifest["recipe"])
    if isinstance(recipe, LocalizerRecipe):
        return
    try:
        opened = _open(manifest["data"]["where"], None) if data is None else data
        opened = tasks.suited(recipe, opened)
        if opened.digest != manifest["data"]["digest"]:
            raise DataError(f"{opened.name}: is not the data that the network was trained on")
        findings: dict[str, Any] | None = None if _images(opened) <= _CHECKED_IMAGES else {}
        report_page.write(finished.folder, opened, findings, device)
    except ResNetsError as err:
        sys.stderr.write(f"note         no {report_page.PAGE}: {err}\n")


def _images(data: Data) -> int:
    if not isinstance(data, DataSet):
        return sum(map(len, data.splits.values()))
    return len(data.train) + len(data.test)


def _open(data: Data | str | Path | None, recipe: AnyRecipe | None) -> Data:
    if isinstance(data, Data):
        return data
    if data is None:
        data = "cifar10-sample" if recipe is None else recipe.data.name
        if data not in opening.NAMES:
            raise DataError(
                f"{data}: is not fetched; name the folder where it lies: --data D, with "
                f"{imagenet.TRAIN_TAR}, {imagenet.VALIDATION_TAR} and {imagenet.DEVKIT}.tar.gz, or "
                "train/ and val/ with one folder of images a class"
            )
    return opening.open_data(data)


def _fitting(data: Data) -> str:
    if isinstance(data, DetectionData):
        if data.name == "imagenet":
            raise DataError(
                f"{data.name}: a recipe must be named: "
                f"resnets train imagenet.localization-resnet101 --data {shlex.quote(data.where)}"
            )
        return detect_recipes.FINETUNE
    if isinstance(data, FileData):
        if data.name == "imagenet":
            raise DataError(
                f"{data.name}: a recipe must be named: "
                f"resnets train imagenet.resnet50 --data {shlex.quote(data.where)}"
            )
        return folder_recipes.FINETUNE
    if data.name not in catalogue.FOR_DATA:
        raise DataError(f"{data.name}: no recipe is made for it; name one: resnets list recipes")
    return catalogue.FOR_DATA[data.name]
