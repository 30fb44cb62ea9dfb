"""A localizer's error on a split: of its boxes alone, and with classes that are guessed."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from PIL import Image
from torch import Tensor

from resnets.core import hardware, progress
from resnets.core.errors import DataError, ResNetsError
from resnets.data.annotated import DetectionData
from resnets.data.preprocess import Preprocess
from resnets.detection import localizing
from resnets.evaluation import views
from resnets.evaluation.metrics import TopK
from resnets.experiment import evaluate as evaluating
from resnets.experiment import evaluate_detectors, localizers, transfer
from resnets.experiment.localizers import GUESSES, Guess, Located, OfOneClass
from resnets.experiment.measured import Measured, unfinished
from resnets.inference.checkpoints import Checkpoint, LocalizerCheckpoint
from resnets.training.step import Precision

Protocol = Literal["single-crop", "multi-scale"]
PROTOCOLS: Final[tuple[Protocol, ...]] = ("single-crop", "multi-scale")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizerEvaluation(Measured):
    """An error over every image of a split whose objects are of one class.

    `localization_error_percent` is that of the boxes of the true class. `guessed` has, by their
    names in JSON, what comes of the classes that a classifier guesses: the errors of their boxes,
    of the first guess and of all five, and the classifier's own; nothing without one. The intervals
    are 95 % score intervals (Wilson 1927).
    """

    localization_error_percent: float
    localization_interval_percent: tuple[float, float]
    guessed: dict[str, Any]
    left_out_images: int


def evaluate(
    found: LocalizerCheckpoint,
    named: Sequence[Checkpoint] = (),
    data: DetectionData | str | Path | None = None,
    *,
    split: str | None = None,
    protocol: Protocol = "single-crop",
    precision: hardware.PrecisionName | None = None,
    per_class: bool = False,
    device: str | None = None,
) -> LocalizerEvaluation:
    """Measure a localizer on a split, with the true class and with classes that are guessed.

    Args:
        found: An opened checkpoint.
        named: What guesses classes, the mean of the scores of several; by default the network that
            the localizer began with, where that has its classes.
        data: An open data set or where it lies; by default what it was trained on.
        split: By default what its recipe is evaluated on.
        protocol: single-crop: the central square. multi-scale: the whole image at five sizes and
            its flips, fully convolutionally. For the classes too.
        precision: Of the layers; by default what the machine is fast in.
        per_class: Whether to tell the error of each class's boxes too.
        device: Where to compute.

    Raises:
        DataError: The data is not there, or its classes or a classifier's are not the localizer's.

    Source: He et al. 2015, appendix C, Table 13.
    """
    opened = evaluate_detectors.with_boxes(data, found)
    if opened.classes != found.classes:
        raise DataError(f"{opened.name}: its classes are not those of {found.path}")
    on = hardware.device(device)
    fastest: Any = hardware.precision(on).value if precision is None else precision
    name, files = evaluate_detectors.split_of(found.recipe, opened, split)
    images = OfOneClass.of(files, opened.name)
    guessing = _classifiers(found, named)
    guess = _guess(guessing, protocol, on, fastest) if guessing else None
    sides_px = _sides(found.preprocess, protocol)
    model, computed = found.network().to(on), Precision.of(on.type, hardware.DTYPES[fastest])
    begun = time.perf_counter()
    with progress.reporting("evaluating", total=len(images), unit="images") as bar:
        boxes = dict(
            localizers.located(
                model,
                images,
                found.preprocess,
                computed,
                sides_px=sides_px,
                guess=guess,
                bar=bar,
            )
        )
    seconds = time.perf_counter() - begun
    right_n = [_place(boxes[index], images, index, slice(1)) == 0 for index in range(len(images))]
    counted = TopK(len(images), sum(right_n), sum(right_n))
    return LocalizerEvaluation(
        localization_error_percent=counted.error1_percent,
        localization_interval_percent=counted.interval1_percent,
        guessed=_guessed(boxes, images) if guess else {},
        images=len(images),
        left_out_images=images.left_out,
        split=name,
        protocol=_sentence(found, guessing, protocol),
        precision=fastest,
        images_per_second=len(images) / seconds,
        checkpoints=tuple(evaluate_detectors.describe(each) for each in (found, *guessing)),
        data=opened.name,
        data_digest=opened.digest,
        classes=_by_class(right_n, images.labels_n, found.classes) if per_class else None,
    )


def _classifiers(found: LocalizerCheckpoint, named: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Return what guesses classes: what was named, or what the localizer began with, or nothing."""
    for each in named:
        if each.classes != found.classes:
            raise DataError(
                f"{each.path}: its classes are not those of {found.path}; name a classifier of the "
                "same"
            )
    if named:
        return list(named)
    try:
        where = found.about["weights"]["where"]
        if where is None:
            raise ResNetsError("the network that it began with lies nowhere")
        began = transfer.opened(where, found.recipe.transfer.weights)
        if began.classes != found.classes:
            raise ResNetsError(f"{where}, with which it began, has other classes")
    except ResNetsError as err:
        sys.stderr.write(f"note         no classes are guessed: {err}; name a classifier too\n")
        return []
    return [began]


def _guess(
    networks: Sequence[Checkpoint], protocol: Protocol, device: torch.device, precision: str
) -> Guess:
    """Return what guesses the classes of images: the likeliest of the mean of softmax."""
    scorers = [evaluating.scorer(each, protocol, device, precision) for each in networks]
    at_once = views.TOGETHER[device.type]

    def guess(images: Sequence[Image.Image]) -> Tensor:
        each = [
            views.log_scores(
                [views.of_image(image, network.preprocess, protocol) for image in images],
                scores_of,
                at_once,
            )
            for network, scores_of in zip(networks, scorers, strict=True)
        ]
        return likeliest(views.log_mean(torch.stack(each), dim=0))

    return guess


def likeliest(scores_nk: Tensor) -> Tensor:
    """Return the five likeliest classes, (n, up to 5): of equal ones the lower first.

    What has no number for a score is guessed by nobody: -1 stands in its place.
    """
    lowest_nk = scores_nk.clamp(min=torch.finfo(scores_nk.dtype).min)  # it leaves a NaN
    lowest_nk = lowest_nk.masked_fill(scores_nk.isnan(), -torch.inf)
    order_ng = lowest_nk.argsort(dim=1, descending=True, stable=True)[:, :GUESSES]
    return order_ng.masked_fill(scores_nk.gather(1, order_ng).isnan(), -1)


def _sides(wanted: Preprocess, protocol: Protocol) -> tuple[int, ...]:
    return views.scales(wanted) if protocol == "multi-scale" else ()


def _place(found: Located, images: OfOneClass, index: int, guesses: slice) -> int | None:
    """Return the place of the first right one among some of the guesses for an image."""
    objects = images.files.objects[index]
    return localizing.place_of_right(found.classes_g[guesses], found.boxes_g4[guesses], objects)


def _guessed(boxes: Mapping[int, Located], images: OfOneClass) -> dict[str, Any]:
    """Return the errors of boxes and of classes alone where the latter are guessed."""
    place_n = [_place(boxes[n], images, n, slice(1, None)) for n in range(len(images))]
    label_ng = [boxes[n].classes_g[1:] == label for n, label in enumerate(images.labels_n)]
    both = TopK(
        len(images),
        sum(place == 0 for place in place_n),
        sum(place is not None for place in place_n),
    )
    alone = TopK(
        len(images),
        sum(bool(each_g[0]) for each_g in label_ng),
        sum(bool(each_g.any()) for each_g in label_ng),
    )
    return {
        "top1_localization_error_percent": both.error1_percent,
        "top1_localization_interval_percent": both.interval1_percent,
        "top5_localization_error_percent": both.error5_percent,
        "top5_localization_interval_percent": both.interval5_percent,
        "top1_error_percent": alone.error1_percent,
        "top5_error_percent": alone.error5_percent,
    }


def _sentence(
    found: LocalizerCheckpoint, guessing: Sequence[Checkpoint], protocol: Protocol
) -> str:
    """Return everything that a reader must know to compare the number."""
    wanted = found.preprocess
    sides = ", ".join(map(str, _sides(wanted, protocol)))
    how = (
        f"shorter side {wanted.resize_px} px, central {wanted.crop_px} px"
        if protocol == "single-crop"
        else f"the whole image and its flip at shorter sides {sides} px, the likeliest box of all"
    )
    parts = [f"{protocol}: {how}", f"an overlap of {localizing.OVERLAP}"]
    if guessing:
        names = {views.describe(each.preprocess, protocol): None for each in guessing}
        several = f" by {len(guessing)} networks, mean of softmax" if len(guessing) > 1 else ""
        parts.append(f"classes{several} in {'; '.join(names)}")
    for each in (found, *guessing):
        parts += unfinished(each)
    return ", ".join(parts)


def _by_class(
    right_n: Sequence[bool], labels_n: Tensor, classes: Sequence[str]
) -> tuple[dict[str, Any], ...]:
    images_k = labels_n.bincount(minlength=len(classes)).tolist()
    wrong_k = labels_n[~torch.tensor(right_n)].bincount(minlength=len(classes)).tolist()
    return tuple(
        {
            "class": name,
            "class_index": label,
            "images": images_k[label],
            "localization_error_percent": 100 * wrong_k[label] / images_k[label],
        }
        for label, name in enumerate(classes)
        if images_k[label]
    )
