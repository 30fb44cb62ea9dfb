"""A detector's recipe unpacked into the parts of a run, as `build.py` does it for a classifier."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from PIL import Image
from torch import nn

from resnets.core import division, hardware
from resnets.core.division import Division
from resnets.core.errors import DataError, ModelError, RecipeError
from resnets.core.processes import ALONE, Team
from resnets.core.progress import Bar, Silent
from resnets.core.random import generator
from resnets.data import sets
from resnets.data.annotated import AnnotatedFiles, DetectionData
from resnets.data.box_crops import BoxCropBatches
from resnets.data.preprocess import Preprocess
from resnets.data.scenes import Scaling, SceneBatches
from resnets.detection import detecting, learning
from resnets.detection.detecting import Testing
from resnets.detection.detections import Detections
from resnets.detection.faster_rcnn import FasterRCNN, new_layers_init
from resnets.detection.localizer import Localizer
from resnets.detection.scoring import Protocol, Scoring
from resnets.experiment import optimizing, transfer
from resnets.experiment.build import Evaluator, Parts
from resnets.experiment.transfer import Weights
from resnets.inference import fused
from resnets.inference.checkpoints import Checkpoint
from resnets.models import cost, freezing, zoo
from resnets.models.network import he_init
from resnets.models.spec import ResNetSpec, VggSpec
from resnets.recipes.boxes import BoxRecipe
from resnets.recipes.detector import DetectorRecipe
from resnets.training.step import LossOf, Precision

R = TypeVar("R", bound=BoxRecipe)
M = TypeVar("M", FasterRCNN, Localizer)


@dataclass(frozen=True, slots=True)
class ObjectsFound:
    """The average precision over a whole split, in the precision that the detector trains in.

    Args:
        split: Its name.
        files: The split.
        classes: How many there are.
        scaling: How the detector wants images.
        testing: How it is tested.
        protocol: By which its precision is measured.
        precision: Of the network's layers.
        team: Who evaluates; every process is dealt its own images.
    """

    split: str
    files: AnnotatedFiles
    classes: int
    scaling: Scaling
    testing: Testing
    protocol: Protocol
    precision: Precision
    team: Team = ALONE

    def run(self, model: nn.Module) -> Iterator[tuple[str, float]]:
        """Yield the names and values of what was measured.

        Raises:
            DataError: An image cannot be read.
        """
        assert isinstance(model, FasterRCNN)
        ready = fused.fuse_detector(model.eval(), self.precision.dtype)

        def find(image: Image.Image) -> Detections:
            with self.precision.autocast():
                return detecting.detect([ready], image, self.scaling, self.testing)

        found = scored(self.files, self.classes, find, bar=Silent(), team=self.team)
        yield from found.scores(self.protocol).named(self.split)


def scored(
    files: AnnotatedFiles,
    classes: int,
    find: Callable[[Image.Image], Detections],
    *,
    bar: Bar,
    team: Team = ALONE,
) -> Scoring:
    """Return what is found in the images of a split, each process looking at its own.

    Args:
        files: The split.
        classes: How many there are.
        find: Returns what is in an image, in pixels of it.
        bar: Moves along with the images.
        team: Who looks.

    Raises:
        DataError: An image cannot be read.
    """
    found = Scoring(files.objects, classes)
    for index in range(team.rank, len(files), team.size):
        found.add(index, find(files.image(index)))
        bar.advance(1)
    return found.together(team)


def fitted(recipe: R, data: DetectionData) -> R:
    """Return the recipe for a data set with boxes: its name, and as many classes as it has.

    Raises:
        RecipeError: The recipe's network has another number of classes and was not made for
            another data set.
        DataError: The data has not the splits that the recipe names.
    """
    classes = len(data.classes)
    if recipe.data.name == data.name and recipe.model.classes != classes:
        raise RecipeError(
            f"model.classes: {data.name} has {classes} classes, got {recipe.model.classes}"
        )
    for files in split(recipe, data)[:2]:
        if not files.annotated:
            raise DataError(f"{data.name}: a split to train or to test on has no annotations")
    return replace(
        recipe,
        data=replace(recipe.data, name=data.name),
        model=replace(recipe.model, classes=classes),
    )


def split(recipe: BoxRecipe, data: DetectionData) -> tuple[AnnotatedFiles, AnnotatedFiles, str]:
    """Return what the recipe trains on, what it is evaluated on while it does, and that one's name.

    Raises:
        DataError: There is no split of such a name, or one of them has no image.
    """
    train = data.select(recipe.data.train)
    if recipe.data.held_out_share:
        held_out = round(recipe.data.held_out_share * len(train))
        return *sets.hold_out(train, held_out), "validation"
    test = data.select([recipe.data.test])
    if not len(train) or not len(test):
        raise DataError(f"{data.name}: has no images to train or to evaluate on")
    return train, test, recipe.data.test


def multiply_adds(recipe: DetectorRecipe) -> float:
    """Return about what a whole run computes: of images of the shorter side squared."""
    images = recipe.total_steps * recipe.batch_images
    px = recipe.data.scaling.shorter_px
    return 3.0 * cost.measure(recipe.model.backbone, px).multiply_adds * images


def built(
    recipe: DetectorRecipe,
    data: DetectionData,
    *,
    seed: int,
    device: torch.device,
    team: Team = ALONE,
    workers: int | None = None,
) -> Parts:
    """Return the parts of a run of `recipe` on `data`, all on `device`; see `build.build`.

    Raises:
        RecipeError: The parts of a batch would not be equal.
        RunError: The processes cannot share a batch evenly.
        DataError: There are no images to train on.
    """
    divided = division.divide(recipe.batch_images, recipe.part_images, team)
    train, test, test_name = split(recipe, data)
    model = network(recipe, FasterRCNN(recipe.model), new_layers_init, seed=seed, device=device)
    scaling, precision = recipe.data.scaling, computed_in(recipe, device)
    return assembled(
        recipe,
        model,
        lambda: FasterRCNN(recipe.model),
        loss_of=learning.joint(recipe.learning),
        batch_of=SceneBatches(
            train,
            scaling,
            seed=seed,
            batch_images=recipe.batch_images,
            device=device,
            flip=recipe.data.flip,
            shares=divided.shares,
            workers=workers,
        ),
        divided=divided,
        evaluator=ObjectsFound(
            test_name,
            test,
            len(data.classes),
            scaling,
            recipe.testing,
            recipe.data.protocol,
            precision,
            team,
        ),
        preprocess=scaling,
    )


def network(
    recipe: BoxRecipe,
    made: M,
    draw_new_layers: Callable[[M, torch.Generator], None],
    *,
    seed: int,
    device: torch.device,
) -> M:
    """Return a detector or a localizer with the first weights of a run from scratch, on a device.

    Args:
        recipe: What is frozen of it; all of its BN stays as it is, with its scales and shifts.
        made: It, just made.
        draw_new_layers: Draws what a classification network does not have.
        seed: The run's.
        device: Where it is wanted.
    """
    he_init(made, generator(seed, "init"))
    draw_new_layers(made, generator(seed, "init", "detector"))
    freezing.freeze(made.backbone, recipe.transfer.frozen_stages)
    freezing.fix_bn(made)
    for module in made.modules():  # the paper fixes all of BN
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    return made.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def computed_in(recipe: BoxRecipe, device: torch.device) -> Precision:
    """Return the precision that a recipe, which names one by now, computes in on a device."""
    assert recipe.precision != "auto"
    return Precision.of(device.type, hardware.DTYPES[recipe.precision])


def assembled(
    recipe: BoxRecipe,
    model: FasterRCNN | Localizer,
    make: Callable[[], nn.Module],
    *,
    loss_of: LossOf,
    batch_of: SceneBatches | BoxCropBatches,
    divided: Division,
    evaluator: Evaluator,
    preprocess: Scaling | Preprocess,
) -> Parts:
    """Return the parts of a run on data with boxes, of which the task makes its own.

    Args:
        recipe: What is run.
        model: From `network`.
        make: Makes another, for the moving average.
        loss_of: What is minimised.
        batch_of: Gives the batches.
        divided: Who computes what of each.
        evaluator: What is measured.
        preprocess: How the network wants its images; with a mean of red, green and blue.
    """
    device = batch_of.device
    assert preprocess.mean is not None
    return Parts(
        model=model,
        ema=optimizing.moving_average(recipe.ema, model, make, device, divided.sharing),
        loss_of=loss_of,
        batch_of=batch_of,
        division=divided,
        optimizer=optimizing.optimizer(recipe, model),
        rate_of=partial(optimizing.rate, recipe),
        precision=computed_in(recipe, device),
        evaluator=evaluator,
        preprocess=preprocess,
        mean_hwc=torch.tensor(preprocess.mean).view(1, 1, 3),
        train=batch_of.files,
        aside=batch_of.aside,
    )


def for_weights(recipe: DetectorRecipe, weights: Weights, *, network: bool) -> DetectorRecipe:
    """Return the recipe for the classification network that it begins with.

    Args:
        recipe: With the classes of the data.
        weights: To begin with.
        network: Whether the recipe's network has to be that of the weights; else it becomes theirs.

    Raises:
        ModelError: No detector can be made of them, or they are of another network.
    """
    made, mean = beginning(recipe, weights, network=network)
    std = weights.checkpoint.preprocess.std
    scaling = replace(recipe.data.scaling, mean=mean, std=std)
    return replace(made, data=replace(recipe.data, scaling=scaling))


def beginning(
    recipe: R, weights: Weights, *, network: bool
) -> tuple[R, tuple[float, float, float]]:
    """Return a recipe with the network of its weights and what it calls them, and their mean.

    Args:
        recipe: With the classes of the data.
        weights: To begin with.
        network: Whether the recipe's network has to be that of the weights; else it becomes theirs.

    Raises:
        ModelError: It cannot be made of them, or they are of another network.
    """
    where, found = weights.where, weights.checkpoint
    spec = found.spec
    if not isinstance(spec, ResNetSpec | VggSpec):
        raise ModelError(
            f"{where}: weights of {zoo.name_of(spec)}; a detector is made of a ResNet or a VGG"
        )
    if network and zoo.comparable(spec) != zoo.comparable(recipe.model.backbone):
        raise transfer.of_another(where, spec, recipe.model.backbone)
    red, green, blue = found.mean_hwc.mean((0, 1)).tolist()
    made = replace(
        recipe,
        model=replace(recipe.model, backbone=spec),
        transfer=replace(recipe.transfer, weights=transfer.name_of(where, found)),
    )
    return made, (red, green, blue)


def start(parts: Parts, found: Callable[[], Checkpoint], team: Team) -> None:
    """Put a classification network's weights into what was not trained yet.

    Raises:
        ModelError: The weights are not of this network.
    """
    team.led(lambda: _begin(parts, found()))
    parts.model.load_state_dict(team.share_tensors(parts.model.state_dict()))
    if parts.ema is not None:
        parts.ema.restore(parts.model.state_dict())


def _begin(parts: Parts, found: Checkpoint) -> None:
    assert isinstance(parts.model, FasterRCNN | Localizer)
    backbone = parts.model.backbone
    own = backbone.state_dict()
    tensors = {n: t for n, t in found.model.items() if n in own}
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in own.items()}:
        raise ModelError(f"{found.path}: its weights do not fit {zoo.name_of(found.spec)}")
    backbone.load_state_dict(tensors)
