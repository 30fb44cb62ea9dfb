"""From what was asked for (a recipe's name, data, changes) to a run; the command and the facade."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from resnets.core import launcher
from resnets.core.errors import DataError, RecipeError
from resnets.data import imagenet, opening
from resnets.data.files import FileData
from resnets.data.opening import Data
from resnets.data.sets import DataSet
from resnets.experiment import build, manifests, run
from resnets.experiment.run import Compile, Run
from resnets.models import zoo
from resnets.models.spec import ModelSpec, ResNetSpec
from resnets.recipes import catalogue, codec, rates
from resnets.recipes.schema import Recipe

_RATE: Final = ("optim.learning_rate=", "optim=")  # settings that name it


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from a recipe; None where nothing does.

    Args:
        model: A network's name; its classes are fitted to the data.
        epochs: Passes over the training images; the schedule is stretched in proportion.
        batch_images: Images in a batch. The number of updates stays; the rate follows by the
            recipe's `rate_rule`, where it is not set too.
        rate: Base learning rate.
        settings: `a.b=value`, applied last. What is changed has no `expected` result any more.
    """

    model: str | None = None
    epochs: int | None = None
    batch_images: int | None = None
    rate: float | None = None
    settings: Sequence[str] = ()

    def apply(self, recipe: Recipe, data: Data) -> Recipe:
        """Return the recipe with these changes, fitted to the data.

        Raises:
            RecipeError: A change is not valid.
            ModelError: No network has that name.
        """
        original = recipe
        if self.model is not None:
            recipe = replace(recipe, model=_dropping_as(recipe.model, zoo.named(self.model)))
            recipe = replace(
                recipe, model=replace(recipe.model, classes=len(build.class_names(data)))
            )
        if self.rate is not None:
            recipe = replace(recipe, optim=replace(recipe.optim, learning_rate=self.rate))
        # What is stretched has its own settings afterwards, and they are taken as written.
        last = [s for s in self.settings if s.startswith(("schedule.", "ema."))]
        first = [s for s in self.settings if s not in last]
        if self.batch_images is not None:
            first.insert(0, f"batch_images={self.batch_images}")
        recipe = codec.override(build.fitted(recipe, data), first)
        if self.rate is None and not any(s.startswith(_RATE) for s in self.settings):
            recipe = rates.following(recipe, original.batch_images)
        if recipe.data.name != data.name:
            raise RecipeError(f"data.name: name the data with --data {recipe.data.name}")
        if self.epochs is not None:
            recipe = self._lengthen(recipe, data)
        recipe = codec.override(recipe, last)
        images = build.training_images(recipe, data)
        if recipe.batch_images > images:
            raise RecipeError(
                f"batch_images: at most the {images:,} training images, got {recipe.batch_images:,}"
            )
        changed = codec.digest(recipe) != codec.digest(original)
        return replace(recipe, expected=None) if changed else recipe

    def _lengthen(self, recipe: Recipe, data: Data) -> Recipe:
        assert self.epochs is not None
        if self.epochs < 1:
            raise RecipeError(f"--epochs: must be positive, got {self.epochs}")
        if any(setting.startswith("total_steps") for setting in self.settings):
            raise RecipeError("--epochs: sets the length, and so does total_steps; name one")
        images = build.training_images(recipe, data)
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
        tensorboard: Whether to write its events.

    Raises:
        ResNetsError: Anything in the request is wrong; nothing was written.
    """
    recipe = None if name is None else catalogue.named(name)
    if changes.model is not None:
        zoo.named(changes.model)  # a wrong name is said before any data is fetched
    opened = _open(data, recipe)
    if recipe is None:
        name = _fitting(opened)
        recipe = catalogue.named(name)
    assert name is not None
    changed = changes.apply(recipe, opened)
    if (told := rates.note(recipe, changed)) and launcher.leads():
        sys.stderr.write(f"note         {told}\n")
    recipe = changed
    return run.start(
        recipe,
        opened,
        name=name,
        out=out,
        seed=seed,
        device=device,
        compiling=compiling,
        tensorboard=tensorboard,
    )


def resume(
    folder: Path,
    name: str | None,
    data: Data | str | Path | None,
    changes: Changes,
    *,
    device: str | None = None,
) -> Run:
    """Continue a run. The recipe and data named beside it must be what the run began with.

    Raises:
        RunError: Another recipe or other data was named.
    """
    folder = folder.expanduser()
    named = None
    opened = None if data is None else _open(data, None)
    if name is not None or not changes.none:
        manifest = manifests.read(folder)
        own = codec.from_tree(manifest["recipe"])
        base = own if name is None else catalogue.named(name)
        opened = opened or _open(manifest["data"]["where"], None)
        named = changes.apply(base, opened)
        if named.precision == "auto":  # decided when the run began
            named = replace(named, precision=own.precision)
    return run.resume(folder, opened, named, device)


def _dropping_as(old: ModelSpec, new: ModelSpec) -> ModelSpec:
    """Return another network that drops as much while training, where there is what to drop."""
    if not isinstance(old, ResNetSpec) or not isinstance(new, ResNetSpec):
        return new
    return new if new.shortcut == "none" else replace(new, drop_path=old.drop_path)


def _open(data: Data | str | Path | None, recipe: Recipe | None) -> Data:
    if isinstance(data, DataSet | FileData):
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
    if isinstance(data, FileData):
        raise DataError(
            f"{data.name}: image files, for which a recipe must be named: "
            f"resnets train imagenet.resnet18 --data {shlex.quote(data.where)}"
        )
    if data.name not in catalogue.FOR_DATA:
        raise DataError(f"{data.name}: no recipe is made for it; name one: resnets list recipes")
    return catalogue.FOR_DATA[data.name]
