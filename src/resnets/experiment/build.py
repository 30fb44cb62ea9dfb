"""A recipe unpacked into the parts of a run. Nothing below this file has seen a recipe."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from resnets.core import division, hardware
from resnets.core.division import Division
from resnets.core.errors import DataError, RecipeError
from resnets.core.processes import ALONE, Team
from resnets.core.random import generator
from resnets.data import batches, means, opening, sets, stratified
from resnets.data.annotated import AnnotatedFiles
from resnets.data.batches import Batch, Batches, CropFlip, TrainBatches
from resnets.data.box_crops import BoxCropBatches
from resnets.data.crops import ResizedCrop, ScaleCrop
from resnets.data.file_batches import Augmentation, FileBatches
from resnets.data.files import SPLITS, FileData, ImageFiles
from resnets.data.opening import Data, Labelled
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from resnets.data.scenes import Scaling, SceneBatches
from resnets.data.sets import DataSet, ImageSet
from resnets.data.setting_aside import SettingAside
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.localizer import Localizer
from resnets.evaluation.central_view import CentralView
from resnets.evaluation.single_view import SingleView
from resnets.experiment import optimizing
from resnets.models import cost, freezing, making
from resnets.models.making import Network
from resnets.models.network import he_init
from resnets.models.spec import check_image_px, check_takes_images
from resnets.recipes.detector import AnyRecipe, DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe
from resnets.training import losses, synchronised
from resnets.training.ema import MovingAverage
from resnets.training.step import LossOf, Precision

EVALUATION_BATCH_IMAGES = 500  # here and in `evaluate`, which so gives a run's own number
_ONES = (1.0, 1.0, 1.0)
R = TypeVar("R", Recipe, DetectorRecipe, LocalizerRecipe, AnyRecipe)


class Evaluator(Protocol):
    """Measures the network that is being trained on one split."""

    @property
    def split(self) -> str:
        """Its name: "test" or "validation"."""

    def run(self, model: nn.Module) -> Iterator[tuple[str, float]]:
        """Yield the names and values of what was measured."""


class RateOf(Protocol):
    """The rate for an update number, given the top-1 errors in percent measured before it."""

    def __call__(self, number: int, errors_percent: Sequence[float] = ()) -> float: ...


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the loop needs, on the device. `ema` is the model's average where one is kept.

    `train` is what is trained on; of image files, `aside` keeps count of those that cannot be read.
    """

    model: Network | FasterRCNN | Localizer
    ema: MovingAverage | None
    loss_of: LossOf
    batch_of: Batches | SceneBatches | BoxCropBatches
    division: Division
    optimizer: torch.optim.Optimizer
    rate_of: RateOf
    precision: Precision
    evaluator: Evaluator
    preprocess: Preprocess | Scaling
    mean_hwc: Tensor
    train: ImageFiles | ImageSet | AnnotatedFiles
    aside: SettingAside | None

    @property
    def kept(self) -> nn.Module:
        """The network that is evaluated and kept: the average, where there is one."""
        return self.model if self.ema is None else self.ema.network


def resolved(recipe: R, device: torch.device) -> tuple[R, str]:
    """Return the recipe with its precision decided for a device, and the reason."""
    if recipe.precision != "auto":
        return recipe, "set by hand"
    choice = hardware.precision(device)
    return replace(recipe, precision=choice.value), choice.reason  # type: ignore[arg-type]


def fitted(recipe: Recipe, data: Data) -> Recipe:
    """Return the recipe for a data set: its name, and as many classes as it has.

    Raises:
        RecipeError: The recipe's network has another number of classes and was not made for
            another data set, or its augmentation is not for such images.
        ModelError: The images are too small for the network, or it takes other channels.
        DataError: The images have boxes.
    """
    data = opening.labelled(data)
    _check_augment(recipe, data)
    check_takes_images(recipe.model)
    classes = len(class_names(data))
    check_image_px(recipe.model, _shorter_px(recipe, data))
    if recipe.data.name == data.name and recipe.model.classes != classes:
        raise RecipeError(
            f"model.classes: {data.name} has {classes} classes, got {recipe.model.classes}"
        )
    return replace(
        recipe,
        data=replace(recipe.data, name=data.name),
        model=replace(recipe.model, classes=classes),
    )


def class_names(data: Data) -> tuple[str, ...]:
    """Return what the classes are called, in the order of the labels."""
    return data.class_names if isinstance(data, FileData) else data.classes


def multiply_adds(recipe: Recipe, data: Data) -> float:
    """Return what a whole run computes: forward and backward passes of all its images.

    Backward takes twice as much as forward, and ends where stages are frozen.
    """
    found = cost.measure(recipe.model, _shorter_px(recipe, opening.labelled(data)))
    stages = 0 if recipe.transfer is None else recipe.transfer.frozen_stages
    frozen = freezing.frozen_names([stage.name for stage in found.stages], stages)
    forward_alone = sum(stage.multiply_adds for stage in found.stages if stage.name in frozen)
    if frozen:
        forward_alone += found.stem.multiply_adds
    an_image = 3.0 * found.multiply_adds - 2.0 * forward_alone
    return an_image * recipe.total_steps * recipe.batch_images


def build(
    recipe: Recipe,
    data: Data,
    *,
    seed: int,
    device: torch.device,
    mean_hwc: Tensor | None = None,
    team: Team = ALONE,
    workers: int | None = None,
) -> Parts:
    """Return the parts of a run of `recipe` on `data`, all on `device`.

    Args:
        recipe: With its precision decided.
        data: What `recipe.data` names.
        seed: Of the initial weights, the order and the augmentation.
        device: Where to compute.
        mean_hwc: The per-pixel mean that a run began with; by default it is computed, which of
            image files takes a pass over all of them.
        team: Who trains.
        workers: How many threads read image files; by default one a processor.

    Raises:
        RecipeError: The parts of a batch would not be equal.
        RunError: The processes cannot share a batch evenly.
        DataError: There are not enough images, or more of them cannot be read than training puts
            up with.
    """
    assert recipe.precision != "auto"
    data = opening.labelled(data)
    divided = division.divide(recipe.batch_images, recipe.part_images, team)
    inputs = (
        _of_files(recipe, data, seed, device, mean_hwc, divided, workers)
        if isinstance(data, FileData)
        else _of_images(recipe, data, seed, device, mean_hwc, team)
    )
    model = making.make(recipe.model)
    he_init(model, generator(seed, "init"))
    if recipe.transfer is not None:
        freezing.freeze(model, recipe.transfer.frozen_stages)
        if recipe.transfer.fixed_bn:
            freezing.fix_bn(model)
    synchronised.synchronise(model, divided.sharing)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Parts(
        model=model,
        ema=optimizing.moving_average(
            recipe.ema, model, lambda: making.make(recipe.model), device, divided.sharing
        ),
        loss_of=_loss(recipe, device),
        batch_of=inputs.batch_of,
        division=divided,
        optimizer=optimizing.optimizer(recipe, model),
        rate_of=partial(optimizing.rate, recipe),
        precision=Precision.of(device.type, hardware.DTYPES[recipe.precision]),
        evaluator=inputs.evaluator,
        preprocess=inputs.preprocess,
        mean_hwc=inputs.mean_hwc,
        train=inputs.train,
        aside=inputs.aside,
    )


def training_images(recipe: Recipe, data: Data) -> int:
    """Return how many images the recipe trains on.

    Raises:
        DataError: There is nothing to evaluate on, or nothing is left to train on.
    """
    return len(_labels(recipe, data))


def balanced_weights(recipe: Recipe, data: Data) -> tuple[float, ...]:
    """Return weights with which every class has an equal part of the loss, whatever its images.

    Over the images that the recipe trains on their mean is 1; a class without any has 1.

    Raises:
        DataError: There is nothing to evaluate on, or nothing is left to train on.
    """
    counts = torch.bincount(_labels(recipe, data), minlength=recipe.model.classes).tolist()
    each = sum(counts) / sum(count > 0 for count in counts)
    return tuple(each / count if count else 1.0 for count in counts)


def _labels(recipe: Recipe, data: Data) -> Tensor:
    """Return the labels of the images that the recipe trains on."""
    data = opening.labelled(data)
    both = split_files(recipe, data) if isinstance(data, FileData) else split(recipe, data)
    return both[0].labels_n


def split(recipe: Recipe, data: DataSet) -> tuple[ImageSet, ImageSet]:
    """Return what the recipe trains on and what it is evaluated on while it does."""
    if recipe.data.held_out_images:
        return sets.hold_out(data.train, recipe.data.held_out_images)
    return data.train, data.test


def split_files(recipe: Recipe, data: FileData) -> tuple[ImageFiles, ImageFiles]:
    """Return what the recipe trains on and what it is evaluated on while it does.

    With images held out that is they, and the data's own validation split is not looked at. Of
    data with one split, whatever it is called, some must be held out.

    Raises:
        DataError: There is nothing to evaluate on, or nothing is left to train on.
    """
    train, *others = (data.splits[name] for name in SPLITS if name in data.splits)
    if recipe.data.held_out_images:
        return sets.hold_out(train, recipe.data.held_out_images)
    if recipe.data.held_out_share:
        return stratified.split(train, recipe.data.held_out_share)
    if not others:
        raise DataError(
            f"{data.name}: has one split of {len(train):,} images, and training needs another to "
            "validate on; hold out a share of each class: --set data.held_out_share=0.2"
        )
    return train, others[0]


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What depends on where the images are."""

    batch_of: Batches
    evaluator: Evaluator
    preprocess: Preprocess
    mean_hwc: Tensor
    train: ImageFiles | ImageSet
    aside: SettingAside | None = None


def _of_images(
    recipe: Recipe,
    data: DataSet,
    seed: int,
    device: torch.device,
    mean_hwc: Tensor | None,
    team: Team,
) -> _Inputs:
    """Small images are trained on and tested as they are: sec. 4.2."""
    assert isinstance(recipe.data.augment, CropFlip)
    train, held_out = split(recipe, data)
    mean = batches.mean_image(train) if mean_hwc is None else mean_hwc
    side = train.images_nhwc.shape[1]

    def in_order() -> Iterator[Batch]:
        return batches.in_order(
            held_out,
            mean,
            batch_images=EVALUATION_BATCH_IMAGES,
            device=device,
            channels=recipe.model.in_channels,
            team=team,
        )

    return _Inputs(
        TrainBatches(
            train,
            mean,
            recipe.data.augment,
            seed=seed,
            batch_images=recipe.batch_images,
            device=device,
            channels=recipe.model.in_channels,
        ),
        SingleView("validation" if recipe.data.held_out_images else "test", in_order, team),
        Preprocess(resize_px=side, crop_px=side, interpolation="bicubic", mean=None, std=_ONES),
        mean,
        train,
    )


def _of_files(
    recipe: Recipe,
    data: FileData,
    seed: int,
    device: torch.device,
    mean_hwc: Tensor | None,
    divided: Division,
    workers: int | None,
) -> _Inputs:
    """Photos are cut at random places, changed and mixed as the recipe says; tested in one view."""
    wanted = tested_view(recipe)
    train, held_out = split_files(recipe, data)
    team, aside, channels = divided.team, SettingAside(train), recipe.model.in_channels
    mean = mean_hwc
    if mean is None and wanted.mean is None:
        mean = means.central(train, wanted, aside, team)
    elif mean is None:
        mean = torch.tensor(wanted.mean).view(1, 1, 3)
    return _Inputs(
        FileBatches(
            train,
            mean,
            _augmentation(recipe),
            seed=seed,
            batch_images=recipe.batch_images,
            device=device,
            std=wanted.std,
            channels=channels,
            aside=aside,
            shares=divided.shares,
            workers=workers,
        ),
        CentralView(
            "validation", held_out, recipe.model.classes, wanted, mean, device, channels, team
        ),
        wanted,
        mean,
        train,
        aside,
    )


def tested_view(recipe: Recipe) -> Preprocess:
    """Return the one view in which a recipe for image files tests, and what is subtracted.

    Where the recipe doesn't say: the least of the scales that `ScaleCrop` draws from, with the
    per-pixel mean, and of `ResizedCrop` the crop as 7/8 of the shorter side, with ImageNet's mean
    and standard deviation, as its sources have them.

    Source: He et al. 2015, sec. 3.4.
    """
    augment, test = recipe.data.augment, recipe.data.test
    assert not isinstance(augment, CropFlip)
    resize_px = (
        augment.shorter_px[0] if isinstance(augment, ScaleCrop) else round(augment.crop_px * 8 / 7)
    )
    mean, std = recipe.data.mean, recipe.data.std
    if mean is None and isinstance(augment, ResizedCrop):
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    if mean is None and test is not None and test.crop_px != augment.crop_px:
        raise RecipeError(
            f"data.test.crop_px: the per-pixel mean is of {augment.crop_px} px, the training crop; "
            f"test in that too, or set data.mean and data.std, got {test.crop_px}"
        )
    return Preprocess(
        resize_px=test.resize_px if test else resize_px,
        crop_px=test.crop_px if test else augment.crop_px,
        interpolation=test.interpolation if test else augment.interpolation,
        mean=mean,
        std=_ONES if std is None else std,
    )


def _augmentation(recipe: Recipe) -> Augmentation:
    data = recipe.data
    assert not isinstance(data.augment, CropFlip)
    return Augmentation(data.augment, data.policy, data.erasing, recipe.mixing, data.repeats)


def _check_augment(recipe: Recipe, data: Labelled) -> None:
    kind = recipe.data.augment.kind
    if isinstance(data, FileData):
        if kind == "crop-flip":
            raise RecipeError(
                f"data.augment: {data.name} has image files, and {kind} is for small images; train "
                "a recipe for files on them, such as folder.finetune"
            )
        return
    if kind != "crop-flip":
        raise RecipeError(
            f"data.augment: {data.name} has small images, and {kind} is for image files; train a "
            "recipe for small images on them, such as cifar10.resnet20"
        )
    for name, value in (
        ("data.policy", recipe.data.policy),
        ("data.erasing", recipe.data.erasing),
        ("data.test", recipe.data.test),
        ("data.mean", recipe.data.mean),
        ("mixing", recipe.mixing),
    ):
        if value is not None:
            raise RecipeError(f"{name}: is for image files; {data.name} has small images: set null")
    if recipe.data.repeats > 1 or recipe.data.held_out_share:
        raise RecipeError(
            "data: repeats and held_out_share are for image files; set 1 and 0, or hold out so "
            "many images: held_out_images"
        )


def _shorter_px(recipe: Recipe, data: Labelled) -> int:
    """Return the shorter side of the images that the network will see."""
    if isinstance(recipe.data.augment, ScaleCrop | ResizedCrop):
        return recipe.data.augment.crop_px
    assert isinstance(data, DataSet)
    return min(data.train.images_nhwc.shape[1:3])


def _loss(recipe: Recipe, device: torch.device) -> LossOf:
    weights = torch.tensor(recipe.class_weights, device=device) if recipe.class_weights else None
    return losses.classification(recipe.label_smoothing, recipe.loss, weights)
