"""A recipe unpacked into the parts of a run. Nothing below this file has seen a recipe."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from resnets.core import hardware
from resnets.core.errors import RecipeError
from resnets.core.random import generator
from resnets.data import batches, sets
from resnets.data.batches import Batch, TrainBatches
from resnets.data.preprocess import Preprocess
from resnets.data.sets import DataSet, ImageSet
from resnets.evaluation.single_view import SingleView
from resnets.models import cost, making
from resnets.models.making import Network
from resnets.models.network import he_init
from resnets.models.spec import check_image_px
from resnets.recipes.schema import Recipe
from resnets.training import decay, losses
from resnets.training.step import LossOf, Precision

EVALUATION_BATCH_IMAGES = 500  # here and in `evaluate`, which so gives a run's own number
_ONES = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything the loop needs, on the device."""

    model: Network
    loss_of: LossOf
    batch_of: TrainBatches
    optimizer: torch.optim.Optimizer
    rate_of: Callable[[int], float]
    precision: Precision
    evaluator: SingleView
    preprocess: Preprocess
    mean_hwc: Tensor


def resolved(recipe: Recipe, device: torch.device) -> tuple[Recipe, str]:
    """Return the recipe with its precision decided for a device, and the reason."""
    if recipe.precision != "auto":
        return recipe, "set by hand"
    choice = hardware.precision(device)
    return replace(recipe, precision=choice.value), choice.reason  # type: ignore[arg-type]


def fitted(recipe: Recipe, data: DataSet) -> Recipe:
    """Return the recipe for a data set: its name, and as many classes as it has.

    Raises:
        RecipeError: The recipe's network has another number of classes and was not made for
            another data set.
        ModelError: The images are too small for the network.
    """
    classes = len(data.classes)
    check_image_px(recipe.model, min(data.train.images_nhwc.shape[1:3]))
    if recipe.data.name == data.name and recipe.model.classes != classes:
        raise RecipeError(
            f"model.classes: {data.name} has {classes} classes, got {recipe.model.classes}"
        )
    return replace(
        recipe,
        data=replace(recipe.data, name=data.name),
        model=replace(recipe.model, classes=classes),
    )


def multiply_adds(recipe: Recipe, data: DataSet) -> float:
    """Return what a whole run computes: forward and backward passes of all its images."""
    side = data.train.images_nhwc.shape[1]
    images = recipe.total_steps * recipe.batch_images
    return 3.0 * cost.measure(recipe.model, side).multiply_adds * images


def build(recipe: Recipe, data: DataSet, *, seed: int, device: torch.device) -> Parts:
    """Return the parts of a run of `recipe` on `data`, all on `device`.

    Args:
        recipe: With its precision decided.
        data: What `recipe.data` names.
        seed: Of the initial weights, the order and the augmentation.
        device: Where to compute.
    """
    assert recipe.precision != "auto"
    train, held_out = split(recipe, data)
    mean_hwc = batches.mean_image(train)
    model = making.make(recipe.model)
    he_init(model, generator(seed, "init"))
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Parts(
        model=model,
        loss_of=losses.classification(recipe.label_smoothing),
        batch_of=TrainBatches(
            train,
            mean_hwc,
            recipe.data.augment,
            seed=seed,
            batch_images=recipe.batch_images,
            device=device,
        ),
        optimizer=_sgd(recipe, model),
        rate_of=partial(_rate, recipe),
        precision=Precision.of(device.type, hardware.DTYPES[recipe.precision]),
        evaluator=evaluator(
            "validation" if recipe.data.held_out_images else "test", held_out, mean_hwc, device
        ),
        preprocess=_preprocess(train),
        mean_hwc=mean_hwc,
    )


def split(recipe: Recipe, data: DataSet) -> tuple[ImageSet, ImageSet]:
    """Return what the recipe trains on and what it is evaluated on while it does."""
    if recipe.data.held_out_images:
        return sets.hold_out(data.train, recipe.data.held_out_images)
    return data.train, data.test


def evaluator(name: str, images: ImageSet, mean_hwc: Tensor, device: torch.device) -> SingleView:
    """Return the evaluator of a split."""

    def in_order() -> Iterator[Batch]:
        return batches.in_order(
            images, mean_hwc, batch_images=EVALUATION_BATCH_IMAGES, device=device
        )

    return SingleView(name, in_order)


def _preprocess(train: ImageSet) -> Preprocess:
    """Return how a network trained on small images wants those of any size."""
    side = train.images_nhwc.shape[1]
    return Preprocess(resize_px=side, crop_px=side, interpolation="bicubic", mean=None, std=_ONES)


def _sgd(recipe: Recipe, model: Network) -> torch.optim.SGD:
    optim = recipe.optim
    return torch.optim.SGD(
        decay.parameter_groups(model, optim.weight_decay, optim.decay_on),
        lr=optim.learning_rate,
        momentum=optim.momentum,
        nesterov=optim.nesterov,
        # With a scaler the fused step may be skipped while torch counts its first as done, which
        # leaves the momentum uninitialised.
        fused=recipe.precision != "float16",
    )


def _rate(recipe: Recipe, number: int) -> float:
    scale = recipe.schedule.scale(number - 1, recipe.total_steps)
    return recipe.optim.learning_rate * scale
