"""A checkpoint's error on a split, or several checkpoints' together, with the protocol used."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from resnets.core import hardware, progress
from resnets.core.errors import DataError, ResNetsError
from resnets.core.hardware import PrecisionName
from resnets.data import imagenet_classes, images, sets
from resnets.data.files import FileData, ImageFiles
from resnets.data.opening import Data, Labelled
from resnets.data.sets import DataSet, ImageSet
from resnets.evaluation import over_files, views
from resnets.evaluation.answers import Answers
from resnets.evaluation.metrics import ByClass
from resnets.evaluation.over_files import Member
from resnets.evaluation.views import LogScoresOf, Protocol
from resnets.experiment import build
from resnets.experiment.measured import Measured, unfinished
from resnets.inference import opening
from resnets.inference.checkpoints import Checkpoint
from resnets.inference.predictor import Classifier

Split = Literal["test", "train", "validation"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Measured):
    """An error over every image of a split.

    The intervals are 95 % score intervals (Wilson 1927). `checkpoints` has one entry for each
    network; of several, the scores were averaged. `close_calls` is of how many images bfloat16
    could not settle the count, so that float32 did.
    """

    top1_error_percent: float
    top1_interval_percent: tuple[float, float]
    top5_error_percent: float
    top5_interval_percent: tuple[float, float]
    close_calls: int


@dataclass(frozen=True, slots=True)
class Examination:
    """An evaluation with what was answered to every single image.

    Args:
        evaluation: The error over all of them.
        answers: In the order of the split's images.
        names: What each image is called.
        image: Decodes one by its index in the split; raises DataError where it cannot be read.
    """

    evaluation: Evaluation
    answers: Answers
    names: Sequence[str]
    image: Callable[[int], Image.Image]


def evaluate(
    where: str | Path | Sequence[str | Path | Checkpoint],
    data: Data | str | Path | None = None,
    *,
    split: Split | None = None,
    protocol: Protocol = "single-crop",
    precision: Precision = "auto",
    per_class: bool = False,
    device: str | None = None,
) -> Evaluation:
    """Measure a checkpoint on a split; several together are the ensemble, the mean of softmax.

    Args:
        where: A run's folder, a checkpoint file, a published name; or several of them, which may be
            open.
        data: An open data set, a name or a path; by default what the network was trained on.
        split: By default "test", or "validation" where there is no test split. Where the recipe
            held images out of the training split, these are "validation"; of image files the
            data's own validation split is "test" then.
        protocol: Which views of an image the scores are averaged over.
        precision: "auto" gives float32's counts: for small images in memory by computing in
            float32 as while training, else by bfloat16 wherever its rounding cannot change a
            count and float32 for the rest. "bfloat16" is all in bfloat16.
        per_class: Whether to count the errors of each class too.
        device: Where to compute.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged or foreign.
        DataError: The data is not there, or its classes or images don't fit the network.

    Source: He et al. 2015, sec. 3.4 and 4.2.
    """
    found, opened, done = _measured(where, data, split, protocol, precision, device)
    return _evaluation(found, opened, done, per_class)


def examine(
    where: str | Path,
    data: Data | str | Path | None = None,
    *,
    split: Split | None = None,
    device: str | None = None,
) -> Examination:
    """Measure a checkpoint in a single crop and in float32, and keep every answer.

    Args:
        where: As `evaluate` takes one.
        data: As `evaluate` takes it.
        split: As `evaluate` takes it.
        device: Where to compute.

    Raises:
        CheckpointError: There is no such checkpoint, or it is damaged or foreign.
        DataError: The data is not there, or its classes or images don't fit the network.
    """
    found, opened, done = _measured(where, data, split, "single-crop", "float32", device)
    return Examination(
        _evaluation(found, opened, done, per_class=True), done.answers, done.names, done.image
    )


def _measured(
    where: str | Path | Sequence[str | Path | Checkpoint],
    data: Data | str | Path | None,
    split: Split | None,
    protocol: Protocol,
    precision: Precision,
    device: str | None,
) -> "tuple[list[Checkpoint], Labelled, _Done]":
    names = [where] if isinstance(where, str | Path) else list(where)
    found = [one if isinstance(one, Checkpoint) else opening.checkpoint(one) for one in names]
    for other in found[1:]:
        if other.classes != found[0].classes:
            raise ResNetsError(
                f"{other.path}: its classes are not those of {found[0].path}; an ensemble needs "
                "networks of the same classes"
            )
    opened = opening.data(data, found[0])
    on = hardware.device(device)
    if isinstance(opened, FileData):
        return found, opened, _over_files(found, opened, split, protocol, precision, on)
    return found, opened, _in_memory(found, opened, split, protocol, precision, on)


def _evaluation(
    found: Sequence[Checkpoint], data: Labelled, done: "_Done", per_class: bool
) -> Evaluation:
    total = done.counted.total
    return Evaluation(
        top1_error_percent=total.error1_percent,
        top1_interval_percent=total.interval1_percent,
        top5_error_percent=total.error5_percent,
        top5_interval_percent=total.interval5_percent,
        images=total.images,
        split=done.split,
        protocol=_sentence(found, data.name, done),
        precision=done.precision,
        close_calls=done.close_calls,
        images_per_second=total.images / done.seconds,
        checkpoints=tuple(_describe(each) for each in found),
        data=data.name,
        data_digest=data.digest,
        classes=_by_class(done.counted, found[0].classes) if per_class else None,
    )


@dataclass(frozen=True, slots=True)
class _Done:
    """What was counted, and how."""

    split: str
    counted: ByClass
    how: str
    precision: str
    seconds: float  # from the first image read to the last counted
    answers: Answers
    names: Sequence[str]
    image: Callable[[int], Image.Image]
    close_calls: int = 0


def _over_files(
    found: Sequence[Checkpoint],
    data: FileData,
    split: Split | None,
    protocol: Protocol,
    precision: Precision,
    device: torch.device,
) -> _Done:
    splits = _splits(found, data)
    name: str = split or next(n for n in ("test", "validation", "train") if n in splits)
    if name not in splits:
        raise DataError(f"--split {name}: {data.name} has {', '.join(splits)}")
    files = _relabelled(data, splits[name], found[0])
    fastest = hardware.precision(device).value if precision == "auto" else precision
    both = precision == "auto" and fastest != "float32"
    members = []
    for checkpoint in found:
        views.check(checkpoint.preprocess, protocol)
        fast = scorer(checkpoint, protocol, device, fastest)
        sure = scorer(checkpoint, protocol, device, "float32") if both else None
        members.append(Member(fast, checkpoint.preprocess, sure))
    begun = time.perf_counter()
    with progress.reporting("evaluating", total=len(files), unit="images") as bar:
        counted = over_files.count(
            files,
            members,
            protocol,
            classes=len(found[0].classes),
            decode=images.decode,
            at_once=views.TOGETHER[device.type],
            bar=bar,
        )
    ways = {views.describe(checkpoint.preprocess, protocol): None for checkpoint in found}
    said = f"{fastest}, close calls in float32" if both else fastest
    seconds = time.perf_counter() - begun
    return _Done(
        name,
        counted.by_class,
        "; ".join(ways),
        said,
        seconds,
        counted.answers,
        files.names,
        files.image,
        counted.close_calls,
    )


def _splits(found: Sequence[Checkpoint], data: FileData) -> Mapping[str, ImageFiles]:
    """Return the splits; of data that images were held out of as its run named them.

    Then "validation" is what was held out, and the data's own validation split, if it has one,
    is "test": the run did not look at it.
    """
    whole = {str(name): files for name, files in data.splits.items()}
    held_out = {_held_out(checkpoint) for checkpoint in found}
    if not any(each and each[1] and each[0] == data.digest for each in held_out):
        return whole
    if len(held_out) > 1:
        raise DataError(
            f"{data.name}: these networks held out different images of it; evaluate one at a time"
        )
    recipe = found[0].recipe
    assert recipe is not None
    train, validation = build.split_files(recipe, data)
    own = {"test": whole["validation"]} if len(whole) > 1 else {}
    return {"train": train, "validation": validation, **own}


def scorer(
    checkpoint: Checkpoint, protocol: Protocol, device: torch.device, precision: str
) -> LogScoresOf:
    """Return what scores the views of a protocol with a network, in a precision on a device."""
    classifier = Classifier(checkpoint, device, precision)  # type: ignore[arg-type]
    if protocol != "multi-scale":
        return classifier.log_scores
    # Over the whole image: the mean over the places of its score map.
    return lambda views_nhwc: views.log_mean(classifier.log_score_map(views_nhwc).flatten(2), dim=2)


def _relabelled(data: FileData, files: ImageFiles, checkpoint: Checkpoint) -> ImageFiles:
    """Return the files with the network's own class indices."""
    own = checkpoint.classes
    if data.classes is None or data.classes == own:
        highest = int(files.labels_n.max())
        if highest >= len(own):
            raise DataError(
                f"{data.name}: has a class index of {highest}, the network {len(own)} classes "
                f"(0 to {len(own) - 1}); evaluate it on data with its own classes"
            )
        return files
    index_of = torch.full((len(data.classes),), -1)
    unknown = []
    for label in files.labels_n.unique().tolist():  # ImageNet's classes, of which few may be here
        called = [name for name in _also_called(data.classes, label) if name in own]
        if called:
            index_of[label] = own.index(called[0])
        else:
            unknown.append(data.classes[label])
    if unknown:
        raise DataError(
            f"{data.name}: has images of {len(unknown)} classes ({unknown[0]}, ...) that are none "
            f"of the network's {len(own)} ({own[0]}, ...); evaluate it on data with its own classes"
        )
    return ImageFiles(files.names, index_of[files.labels_n], files.read)


def _also_called(classes: tuple[str, ...], label: int) -> tuple[str, ...]:
    """Return a class's name, and of an ImageNet class its WordNet id."""
    if classes == imagenet_classes.names():
        return classes[label], imagenet_classes.wnids()[label]
    return (classes[label],)


def _in_memory(
    found: Sequence[Checkpoint],
    data: DataSet,
    split: Split | None,
    protocol: Protocol,
    precision: Precision,
    device: torch.device,
) -> _Done:
    if protocol != "single-crop":
        raise DataError(
            f"--protocol {protocol}: {data.name} has images of the network's own size; the paper "
            "tests such on the single original view, single-crop"
        )
    name: Split = split or "test"
    for checkpoint in found:
        _check_fits(checkpoint, data)
    chosen = _split(found[0], data, name)
    if name != "test" and len({_held_out(checkpoint) for checkpoint in found}) > 1:
        raise DataError(
            f"--split {name}: these networks held out different images; use --split test"
        )
    computed: PrecisionName = "float32" if precision == "auto" else precision
    # Unfused in float32: the very network that was trained.
    classifiers = [Classifier(c, device, computed, fuse=computed != "float32") for c in found]
    # One network's logits rank as its scores do, and are what a run itself counts by.
    scores_of = [each.logits if len(found) == 1 else each.log_scores for each in classifiers]
    classes = len(data.classes)
    counted, answers, begun = ByClass.of(classes), [], time.perf_counter()
    for index_n in torch.arange(len(chosen)).split(build.EVALUATION_BATCH_IMAGES):
        part = chosen.take(index_n)
        each = [scores(part.images_nhwc) for scores in scores_of]
        scores = views.log_mean(torch.stack(each), dim=0)
        counted += ByClass.count(scores, part.labels_n.to(device))
        answers.append(Answers.of(scores, part.labels_n, index_n))
    side = chosen.images_nhwc.shape[1]
    trained = {f"trained at {checkpoint.preprocess.crop_px} px" for checkpoint in found}
    how = f"single view, {side} px, {', '.join(sorted(trained))}"
    return _Done(
        name,
        counted,
        how,
        computed,
        time.perf_counter() - begun,
        Answers.together(answers, classes),
        [f"image {i}" for i in range(len(chosen))],
        partial(_picture, chosen),
    )


def _picture(images: ImageSet, index: int) -> Image.Image:
    return Image.fromarray(images.images_nhwc[index].numpy())


def _check_fits(checkpoint: Checkpoint, data: DataSet) -> None:
    if data.classes != checkpoint.classes:
        theirs, own = data.classes, checkpoint.classes
        raise DataError(
            f"{data.name}: has {len(theirs)} classes ({theirs[0]}, ...), the network "
            f"{len(own)} ({own[0]}, ...); evaluate it on data with its own classes"
        )
    side, wanted = data.test.images_nhwc.shape[1], checkpoint.preprocess.crop_px
    if data.test.images_nhwc.shape[1:] != (wanted, wanted, 3):
        raise DataError(f"{data.name}: images of {side} px, the network was trained on {wanted} px")


def _split(checkpoint: Checkpoint, data: DataSet, split: Split) -> ImageSet:
    if split == "test":
        return data.test
    recipe = checkpoint.recipe
    if recipe is None or data.digest != checkpoint.about["data"]["digest"]:
        raise DataError(
            f"--split {split}: this is not the data the network was trained on; use --split test"
        )
    held_out = recipe.data.held_out_images
    if not held_out:
        if split == "validation":
            raise DataError(
                "--split validation: this network's recipe held no images out of its training "
                "split; use test or train"
            )
        return data.train
    train, validation = sets.hold_out(data.train, held_out)
    return train if split == "train" else validation


def _held_out(checkpoint: Checkpoint) -> tuple[str, float] | None:
    """Return what of which data a network was not trained on: it is the same for every seed."""
    recipe = checkpoint.recipe
    if recipe is None:
        return None
    held_out = recipe.data.held_out_images or recipe.data.held_out_share
    return checkpoint.about["data"]["digest"], held_out


def _sentence(found: Sequence[Checkpoint], data: str, done: _Done) -> str:
    """Return everything that a reader must know to compare the number."""
    parts = [f"{data} {done.split}", done.how, done.precision]
    if len(found) > 1:
        parts.insert(0, f"ensemble of {len(found)}, mean of softmax")
    for each in found:
        parts += unfinished(each)
    return ", ".join(parts)


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint.path),
        "name": checkpoint.about.get("name"),
        "update": checkpoint.update,
        "finished": checkpoint.finished,
        "weights_sha256": checkpoint.weights_sha256,
    }


def _by_class(counted: ByClass, classes: Sequence[str]) -> tuple[dict[str, Any], ...]:
    rows = []
    for label, name in enumerate(classes):
        one = counted[label]
        if one.images:
            rows.append(
                {
                    "class": name,
                    "class_index": label,
                    "images": one.images,
                    "top1_error_percent": one.error1_percent,
                    "top5_error_percent": one.error5_percent,
                }
            )
    return tuple(rows)
