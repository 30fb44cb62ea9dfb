"""A checkpoint's error on a split, with the protocol it was measured by."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from resnets.core import hardware
from resnets.core.errors import DataError
from resnets.data import opening, sets
from resnets.data.sets import DataSet, ImageSet
from resnets.experiment import build
from resnets.inference import checkpoints
from resnets.inference.checkpoints import Checkpoint

Split = Literal["test", "train", "validation"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An error over every image of a split.

    `interval_percent` is the 95 % score interval of the top-1 error (Wilson 1927).
    """

    top1_error_percent: float
    top5_error_percent: float
    interval_percent: tuple[float, float]
    images: int
    split: str
    protocol: str
    update: int  # after which the network was saved
    finished: bool  # whether that was the end of its run
    images_per_second: float
    checkpoint: str
    weights_sha256: str
    data_digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets evaluate --json`."""
        return asdict(self)


def evaluate(
    where: str | Path,
    data: DataSet | str | Path | None = None,
    *,
    split: Split = "test",
    device: str | None = None,
) -> Evaluation:
    """Measure a checkpoint on a split: a single view of each image, in float32.

    Args:
        where: A run's folder or a checkpoint file.
        data: An open data set, a name or a folder; by default what the network was trained on.
        split: "validation" is what the recipe held out of the training split.
        device: Where to compute.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged or foreign.
        DataError: The data is not there, or its classes or images don't fit the network.
    """
    checkpoint = checkpoints.newest(where)
    opened = _open(data, checkpoint)
    on = hardware.device(device)
    images = _split(checkpoint, opened, split)
    network = checkpoint.network().to(on)
    begun = time.perf_counter()
    counted = build.evaluator(split, images, checkpoint.mean_hwc, on).count(network)
    seconds = time.perf_counter() - begun
    side = images.images_nhwc.shape[1]
    return Evaluation(
        top1_error_percent=counted.error1_percent,
        top5_error_percent=counted.error5_percent,
        interval_percent=counted.interval1_percent,
        images=counted.images,
        split=split,
        protocol=f"{opened.name} {split}, single view, {side} px, trained at "
        f"{checkpoint.mean_hwc.shape[0]} px, float32"
        + ("" if checkpoint.finished else f", UNFINISHED: saved after update {checkpoint.update}"),
        update=checkpoint.update,
        finished=checkpoint.finished,
        images_per_second=counted.images / seconds,
        checkpoint=str(checkpoint.path),
        weights_sha256=checkpoint.weights_sha256,
        data_digest=opened.digest,
    )


def _open(data: DataSet | str | Path | None, checkpoint: Checkpoint) -> DataSet:
    if isinstance(data, DataSet):
        return data
    return opening.open_data(checkpoint.about["data"]["where"] if data is None else data)


def _split(checkpoint: Checkpoint, data: DataSet, split: Split) -> ImageSet:
    classes = checkpoint.about["classes"]
    if list(data.classes) != classes:
        raise DataError(
            f"{data.name}: has {len(data.classes)} classes ({data.classes[0]}, ...), the network "
            f"{len(classes)} ({classes[0]}, ...); evaluate it on data with its own classes"
        )
    if data.test.images_nhwc.shape[1:] != checkpoint.mean_hwc.shape:
        raise DataError(
            f"{data.name}: images of {tuple(data.test.images_nhwc.shape[1:])}, the network was "
            f"trained on {tuple(checkpoint.mean_hwc.shape)}"
        )
    if split == "test":
        return data.test
    if data.digest != checkpoint.about["data"]["digest"]:
        raise DataError(
            f"--split {split}: this is not the data the network was trained on; use --split test"
        )
    held_out = checkpoint.recipe.data.held_out_images
    if not held_out:
        if split == "validation":
            raise DataError(
                "--split validation: this network's recipe held no images out of its training "
                "split; use test or train"
            )
        return data.train
    train, validation = sets.hold_out(data.train, held_out)
    return train if split == "train" else validation
