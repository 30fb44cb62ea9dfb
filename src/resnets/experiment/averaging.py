"""True averages of BN: at the end of a run, or for a checkpoint that there is."""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from resnets.core import artifacts, hardware, progress
from resnets.core.division import UNDIVIDED, WHOLE, Division, Share, divide
from resnets.core.errors import CheckpointError, DataError, ModelError
from resnets.core.processes import ALONE
from resnets.core.random import generator
from resnets.data import preprocess, sets
from resnets.data.batches import Batches, CropFlip, TrainBatches
from resnets.data.files import FileData, ImageFiles
from resnets.experiment import build
from resnets.inference import checkpoints, opening
from resnets.inference.checkpoints import Checkpoint
from resnets.inference.predictor import Classifier
from resnets.training import averages

# Of image files: enough for averages that no longer move, and minutes instead of a day.
_FILES: Final = 10_000
_SMALL_TOGETHER: Final = 128
_BATCH_IMAGES: Final = {"cpu": 32, "cuda": 256}


def average(
    where: str | Path, to: Path, data: str | Path | None = None, device: str | None = None
) -> Checkpoint:
    """Write a checkpoint again with true averages of BN in the place of its moving averages.

    Of small images: one epoch of the training split, augmented as its recipe says. Of image
    files: 10,000 of the training split, or all if there are fewer, each in its central view.

    Args:
        where: The checkpoint.
        to: The file to write, ending in .safetensors.
        data: By default what the network was trained on.
        device: Where to compute.

    Raises:
        DataError: The data is not there, or has no training split.
        CheckpointError: There is no such checkpoint, or `to` has another ending.
        ModelError: The network has no BN.

    Source: He et al. 2015, sec. 3.4.
    """
    if to.suffix != ".safetensors":
        raise CheckpointError(f"--to {to}: a checkpoint of ours ends in .safetensors")
    checkpoint = opening.checkpoint(where)
    if to.resolve() == checkpoint.path.resolve():
        raise CheckpointError(f"--to {to}: is the checkpoint itself; name another file")
    opened = opening.data(data, checkpoint)
    on = hardware.device(device)
    if not any(name.endswith("running_mean") for name in checkpoint.model):
        raise ModelError(f"{checkpoint.path}: {checkpoint.spec.kind} has no BN to average")
    classifier = Classifier(checkpoint, on, fuse=False)
    if isinstance(opened, FileData):
        each, total = _of_files(classifier, _trained_on(checkpoint, opened))
    else:
        each, total = _of_small(classifier, opened.train)
    with progress.reporting("averaging", total=total, unit="images") as bar:
        averages.replace_moving_averages(classifier.network, _counting(each, bar))
    tensors = {f"model.{name}": tensor for name, tensor in classifier.network.state_dict().items()}
    if checkpoint.preprocess.mean is None:
        tensors[checkpoints.MEAN] = checkpoint.mean_hwc
    averaged: dict[str, Any] = {"images": total, "data": opened.name, "digest": opened.digest}
    artifacts.save_tensors(to, tensors, {**checkpoint.about, "true_averages": averaged})
    return checkpoints.classifier(checkpoints.read(to))


def of_run(model: nn.Module, batch_of: Batches, division: Division = UNDIVIDED) -> None:
    """Give a network true averages over its run's first epoch; it is left in evaluation mode.

    They are over the parts of the batches, as each part was normalised while training.

    Source: He et al. 2015, sec. 3.4.
    """
    shares, team = division.shares, division.team
    total = _whole_batches(batch_of) * batch_of.batch_images * len(shares) // division.slices
    with progress.reporting("averaging", total=total, unit="images", shown=team.leads) as bar:
        each = _counting(over_epoch(batch_of, shares), bar)
        averages.replace_moving_averages(model, each, division)


def over_epoch(batch_of: Batches, shares: Iterable[Share] = (WHOLE,)) -> Iterator[Tensor]:
    """Yield shares of the whole batches of a run's first epoch, as it trained on them."""
    for number in range(1, _whole_batches(batch_of) + 1):
        for share in shares:
            yield batch_of(number, share).images_nchw


def _whole_batches(batch_of: Batches) -> int:
    return max(1, batch_of.images // batch_of.batch_images)


def _of_small(classifier: Classifier, train: sets.ImageSet) -> tuple[Iterator[Tensor], int]:
    checkpoint = classifier.checkpoint
    side = checkpoint.preprocess.crop_px
    if train.images_nhwc.shape[1:] != (side, side, 3):
        raise DataError(
            f"images of {train.images_nhwc.shape[1]} px, the network was trained on {side} px"
        )
    recipe = checkpoint.recipe
    if recipe is not None and recipe.data.held_out_images:
        train, _ = sets.hold_out(train, recipe.data.held_out_images)
    if recipe is not None and isinstance(recipe.data.augment, CropFlip):
        made = TrainBatches(
            train,
            checkpoint.mean_hwc,
            recipe.data.augment,
            seed=int(checkpoint.about["seed"]),
            batch_images=recipe.batch_images,
            device=classifier.device,
            channels=checkpoint.spec.in_channels,
        )
        parts = divide(recipe.batch_images, recipe.part_images, ALONE).shares
        return over_epoch(made, parts), _whole_batches(made) * made.batch_images
    order = torch.randperm(len(train), generator=generator(0, "averages"))
    size = min(_SMALL_TOGETHER, len(order))
    ready = (classifier.prepared(train.images_nhwc[part]) for part in _whole(order, size))
    return ready, len(order) // size * size


def _trained_on(checkpoint: Checkpoint, data: FileData) -> ImageFiles:
    """Return the training split, without what the checkpoint's run held out of this very data."""
    recipe = checkpoint.recipe
    if recipe is not None and checkpoint.about["data"]["digest"] == data.digest:
        return build.split_files(recipe, data)[0]
    if "train" not in data.splits:
        raise DataError(f"{data.name}: has no training split to average over")
    return data.splits["train"]


def _of_files(classifier: Classifier, files: ImageFiles) -> tuple[Iterator[Tensor], int]:
    """Return batches of central views, of images drawn once and for all."""
    order = torch.randperm(len(files), generator=generator(0, "averages"))[:_FILES]
    size = min(_BATCH_IMAGES[classifier.device.type], len(order))

    def view(index: int) -> np.ndarray:
        return preprocess.central(files.image(index), classifier.checkpoint.preprocess)

    def ready() -> Iterator[Tensor]:
        with ThreadPoolExecutor() as pool:
            for part in _whole(order, size):
                views = np.stack(list(pool.map(view, part.tolist())))
                yield classifier.prepared(torch.from_numpy(views))

    return ready(), len(order) // size * size


def _whole(order: Tensor, size: int) -> Iterable[Tensor]:
    """Return the order in batches of one size: a smaller last one would weigh too much."""
    return itertools.takewhile(lambda part: len(part) == size, order.split(size))


def _counting(each: Iterable[Tensor], bar: progress.Bar) -> Iterator[Tensor]:
    for images_nchw in each:
        yield images_nchw
        bar.advance(len(images_nchw))
