"""How fast a network trains and predicts here: the product's own update, timed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from resnets.core import hardware
from resnets.core.errors import RecipeError
from resnets.data import synthetic
from resnets.data.batches import Batch, CropFlip
from resnets.data.sets import DataSet, ImageSet
from resnets.experiment import build
from resnets.models import zoo
from resnets.recipes import sample
from resnets.recipes.schema import Recipe
from resnets.training.step import train_step

_WARM_UP = 3
_TIMED = 15


def measure(model: str, *, batch_images: int = 128, device: str | None = None) -> dict[str, Any]:
    """Time updates and inference of a network on synthetic images of the paper's size.

    Training is the update of `resnets train`, uncompiled: batch, forward, backward, optimizer.
    Inference is float32, as `resnets evaluate` does it.

    Args:
        model: A name of the zoo.
        batch_images: Images in a batch.
        device: Where to compute.

    Returns:
        Images per second (medians of 15 after 3 warm-up rounds), the spread as the slowest and
        the fastest of them, and what was used.

    Raises:
        ModelError: No network has that name.
        RecipeError: The batch holds no image.
    """
    spec = zoo.named(model)
    if batch_images < 1:
        raise RecipeError(f"--batch-size: must be positive, got {batch_images}")
    where = hardware.device(device)
    hardware.keep_memory()
    data = _images(spec.image_px, batch_images)
    recipe = replace(sample.RECIPES["sample.resnet20"], model=spec, batch_images=batch_images)
    recipe = replace(recipe, data=replace(recipe.data, augment=CropFlip(pad_px=4)))
    resolved, reason = build.resolved(build.fitted(recipe, data), where)
    assert isinstance(resolved, Recipe)
    recipe = resolved
    parts = build.build(recipe, data, seed=0, device=where)
    numbers = iter(range(1, 10**9))
    batch = parts.batch_of(1)
    assert isinstance(batch, Batch)  # `build.build` is a classifier's
    images = batch.images_nchw

    def update() -> None:
        parts.model.train()
        batch = parts.batch_of(next(numbers))
        train_step(parts.model, parts.loss_of, [batch], parts.optimizer, parts.precision)

    def infer() -> None:
        parts.model.eval()
        with torch.inference_mode():
            parts.model(images)

    return {
        "model": model,
        "batch_images": batch_images,
        "image_px": spec.image_px,
        **hardware.describe(where),
        "precision": f"{recipe.precision}: {reason}",
        "training_images_per_second": _rates(update, where, batch_images),
        "inference_images_per_second": _rates(infer, where, batch_images),
    }


def _rates(work: Callable[[], None], where: torch.device, images: int) -> dict[str, float]:
    def timed() -> float:
        begun = time.perf_counter()
        work()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        return images / (time.perf_counter() - begun)

    for _ in range(_WARM_UP):
        timed()
    rates = [timed() for _ in range(_TIMED)]
    return {
        "median": round(statistics.median(rates), 1),
        "slowest": round(min(rates), 1),
        "fastest": round(max(rates), 1),
    }


def _images(side_px: int, images: int) -> DataSet:
    """Return noise images of any side, in the classes of the synthetic set."""
    made = synthetic.make()
    pixels = torch.randint(0, 256, (images, side_px, side_px, 3), dtype=torch.uint8)
    one = ImageSet(pixels, torch.arange(images) % len(made.classes))
    return DataSet("noise", "noise", made.classes, one, one)
