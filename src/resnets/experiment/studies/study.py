"""What a reproduction is, as a value: the networks it trains, and what it finds in them."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import torch

from resnets.data.batches import CropFlip
from resnets.data.opening import Data
from resnets.data.sets import DataSet
from resnets.experiment import tasks
from resnets.experiment.trainings import Trained, Training
from resnets.models import zoo
from resnets.models.spec import ModelSpec
from resnets.recipes import catalogue, codec
from resnets.recipes.detector import AnyRecipe, DetectorRecipe
from resnets.recipes.schedule import Linear
from resnets.recipes.schema import DataSpec, Recipe, SgdSpec

Needs = Literal["nothing", "cifar10", "imagenet", "voc or coco"]

# Found by trying (docs/lab-log.md): small batches, since what 56 layers need is updates; as the
# images are, since without augmentation ten epochs take training error to zero where it can go.
_QUICK: Final = Recipe(
    source="this project, docs/lab-log.md",
    model=zoo.cifar(20),
    data=DataSpec(name="cifar10-sample", augment=CropFlip(pad_px=0, flip=False)),
    optim=SgdSpec(learning_rate=0.02),
    schedule=Linear(warmup_steps=160),
    batch_images=32,
    total_steps=1_600,
)


@dataclass(frozen=True, slots=True)
class QuickDetector:
    """A small detector that stands for a large one, and what it begins with.

    Args:
        name: Of its network, in the names of recipes: "plain20".
        before: Trains that network as a classifier, on the built-in sample.
        recipe: Trains the detector, with the weights of that.
    """

    name: str
    before: Recipe
    recipe: DetectorRecipe


@dataclass(frozen=True, slots=True)
class Network:
    """A network to train, in full and quickly.

    Args:
        label: What tables and figures call it: "plain-20".
        recipe_name: The full recipe, in the catalogue.
        quick: What `--quick` trains; by default `quick_recipe` of the full recipe's network.
    """

    label: str
    recipe_name: str
    quick: Recipe | QuickDetector | None = None

    def recipe(self, *, quick: bool) -> tuple[str, AnyRecipe]:
        """Return the recipe to train and its name."""
        if not quick:
            return self.recipe_name, catalogue.RECIPES[self.recipe_name]
        if isinstance(self.quick, QuickDetector):
            return f"quick.{self.quick.name}-detector", self.quick.recipe
        made = self.quick or quick_recipe(catalogue.CLASSIFIERS[self.recipe_name].model)
        return f"quick.{zoo.name_of(made.model)}", made

    def training(self, *, quick: bool, settings: Sequence[str], seed: int) -> Training:
        """Return what trains it.

        Args:
            quick: Whether for minutes.
            settings: `a.b=value` for its recipe; what is trained before it stays as it is.
            seed: Of everything random.

        Raises:
            RecipeError: A setting is malformed, names no field, or gives a bad value.
        """
        name, recipe = self.recipe(quick=quick)
        before = None
        if quick and isinstance(self.quick, QuickDetector):
            before = Training(
                f"{self.label} as a classifier",
                f"quick.{self.quick.name}-classifier",
                self.quick.before,
                seed,
            )
        return Training(self.label, name, codec.override(recipe, settings), seed, before)


def quick_recipe(model: ModelSpec) -> Recipe:
    """Return minutes of training on the built-in sample: a calm beginning, then a rate to zero."""
    return replace(_QUICK, model=model)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel. `low` and `high` bound a band around it, over seeds."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    color: int = 0  # lines of one network share it
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes of a figure."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log: bool = False
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a study found.

    Args:
        columns: Key of a row's cell -> heading.
        rows: Cells are texts, numbers, None, or a spread from `spread`.
        panels: Its figure; none where the paper has none.
        says: What the numbers say, in sentences made from them.
    """

    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    says: str
    panels: Sequence[Panel] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a study has to look at.

    Args:
        quick: Whether its runs were short.
        trained: Its finished runs: of each network in order, of each seed.
        data: What they were trained on; None for a study that trains nothing.
        device: Where to compute.
    """

    quick: bool
    trained: Sequence[Trained]
    data: Data | None
    device: torch.device

    @property
    def small(self) -> DataSet:
        """The small images in memory, for a study of CIFAR networks."""
        assert isinstance(self.data, DataSet)
        return self.data

    @property
    def training_images(self) -> int:
        """How many images an epoch has."""
        assert self.data is not None
        return tasks.training_images(self.trained[0].training.recipe, self.data)

    def networks(self) -> Iterator[tuple[str, list[Trained]]]:
        """Yield each label with its runs, a seed each."""
        labels = dict.fromkeys(each.training.label for each in self.trained)
        for label in labels:
            yield label, [each for each in self.trained if each.training.label == label]

    def of(self, label: str) -> list[Trained]:
        """Return the runs of one network."""
        return dict(self.networks())[label]


@dataclass(frozen=True, slots=True)
class Study:
    """A table, a figure or an argument of the paper.

    Args:
        title: One line.
        source: Where in the paper.
        find: Reads the finished runs.
        networks: What to train in full.
        quick_networks: What `--quick` trains; None where there is no quick form.
        needs: The data of the full form.
        ready: Chooses from the trainings those that data is for, and readies them to be trained on
            it, which may mean to train others first; takes them, the data and the device. None
            where every training is for any data as it is.
    """

    title: str
    source: str
    find: Callable[[Setting], Found]
    networks: tuple[Network, ...] = ()
    quick_networks: tuple[Network, ...] | None = None
    needs: Needs = "cifar10"
    ready: Callable[[Sequence[Training], Data, str | None], list[Training]] | None = None


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return what a table says of one number over seeds; the deviation is the sample's."""
    known = len(values) > 1 and all(map(math.isfinite, values))
    return {
        "mean": sum(values) / len(values),
        "deviation": statistics.stdev(values) if known else None,
        "values": list(values),
    }
