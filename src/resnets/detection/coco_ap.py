"""COCO's twelve numbers, through faster-coco-eval, which gives those of COCO's own tool.

Of the surest 100 detections an image and class, each takes, from the surest on, the free box that
it overlaps most, at ten thresholds from 0.5 to 0.95. It may fall on a crowd, and on as many others
as it likes, where the share of *its* area inside decides; that is neither right nor a mistake.

A detection whose score is NaN is a mistake behind all others, and one whose box is not finite
overlaps nothing: a network that diverged finds nothing.

Source: https://cocodataset.org/#detection-eval
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from resnets.core.errors import RunError
from resnets.data.annotated import Objects
from resnets.detection.detections import Detections

# Beyond the largest area that COCO measures: an object of this area is ignored, at its own overlap.
_IGNORED_AREA: Final = 2e10
_ALL_AREAS, _DETECTIONS_100, _IOU_50 = 0, -1, 0  # where COCO's tables of precision have these


@dataclass(frozen=True, slots=True)
class CocoAP:
    """Average precision and recall in [0, 1]; NaN where there is no object to be found.

    Args:
        by_class: `ap` of each class, in the order of the labels.
        by_class50: `ap50` of each.
        ap: The mean over overlaps of 0.5, 0.55, ..., 0.95 and over classes: COCO's main number.
        ap50: At an overlap of 0.5.
        ap75: At an overlap of 0.75.
        ap_small: `ap` of objects below 32 x 32 square pixels.
        ap_medium: From there to 96 x 96.
        ap_large: Beyond.
        ar1: Recall, the mean over overlaps and classes, with one detection an image and class.
        ar10: With ten.
        ar100: With a hundred.
        ar_small: `ar100` of objects below 32 x 32 square pixels.
        ar_medium: From there to 96 x 96.
        ar_large: Beyond.
    """

    by_class: tuple[float, ...]
    by_class50: tuple[float, ...]
    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar1: float
    ar10: float
    ar100: float
    ar_small: float
    ar_medium: float
    ar_large: float


def check() -> None:
    """Make sure that COCO's numbers can be had.

    Raises:
        RunError: faster-coco-eval is not installed.
    """
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise RunError(
            "COCO's AP needs faster-coco-eval, which is not installed: "
            'pip install "resnets[detection]"'
        )


def measure(found: Sequence[Detections], objects: Sequence[Objects], classes: int) -> CocoAP:
    """Return COCO's numbers.

    Args:
        found: In each image. Of equal scores in two images, the image that stands first is first.
        objects: Of the same images. Ignored ones that are no crowds ("difficult") have the overlap
            of an ordinary box, and take one detection each that is then no mistake.
        classes: How many there are; every label is below.

    Raises:
        RunError: faster-coco-eval is not installed.
    """
    check()
    # Imported here: an extra, and only this needs it.
    from faster_coco_eval import COCO, COCOeval_faster

    about = {
        "images": [{"id": number} for number in range(1, len(objects) + 1)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
    }
    there = COCO({**about, "annotations": _numbered(map(_objects, objects))})
    said = COCO({**about, "annotations": _numbered(map(_detections, found))})
    judge = COCOeval_faster(there, said, "bbox")
    judge.run()
    precision_trkam = judge.eval["precision"]  # by overlap, recall, class, area, detections
    own_trk = precision_trkam[:, :, :, _ALL_AREAS, _DETECTIONS_100]
    return CocoAP(
        tuple(_known(own_trk[:, :, k].mean()) for k in range(classes)),
        tuple(_known(own_trk[_IOU_50, :, k].mean()) for k in range(classes)),
        *map(_known, judge.stats),
    )


def _known(value: float) -> float:
    """Return COCO's value, which is -1 where there is nothing to be found."""
    return np.nan if value < 0 else float(value)


def _numbered(images: Iterator[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the annotations of all images; images and annotations are numbered from 1."""
    every = [
        {"image_id": number, **each}
        for number, annotations in enumerate(images, 1)
        for each in annotations
    ]
    return [{"id": number, **each} for number, each in enumerate(every, 1)]


def _objects(of: Objects) -> list[dict[str, Any]]:
    areas_n = np.where((of.ignored_n & ~of.crowd_n).numpy(), _IGNORED_AREA, of.area_n.numpy())
    rows = zip(
        _xywh(of.boxes_n4.numpy()).tolist(),
        of.classes_n.tolist(),
        areas_n.tolist(),
        of.crowd_n.tolist(),
        strict=True,
    )
    return [
        {"bbox": box, "category_id": label + 1, "area": area, "iscrowd": int(crowd)}
        for box, label, area, crowd in rows
    ]


def _detections(of: Detections) -> list[dict[str, Any]]:
    boxes_n4, scores_n = _xywh(of.boxes_n4.numpy()), of.scores_n.double().numpy()
    aside_n = np.isnan(scores_n) | ~np.isfinite(boxes_n4).all(1)
    # To the left of and above the image, as large as they were: there they find nothing.
    sizes_n2 = np.nan_to_num(boxes_n4[aside_n, 2:], nan=1.0, posinf=1.0, neginf=1.0)
    boxes_n4[aside_n] = np.concatenate([-2 * sizes_n2, sizes_n2], axis=1)
    # Only the order counts: a NaN comes behind everything, an infinite score before that.
    ranks_n = np.where(np.isnan(scores_n), -np.inf, scores_n.clip(min=np.finfo(np.float64).min))
    rows = zip(
        boxes_n4.tolist(),
        of.classes_n.tolist(),
        ranks_n.tolist(),
        boxes_n4[:, 2:].prod(1).tolist(),
        strict=True,
    )
    return [
        {"bbox": box, "category_id": label + 1, "score": score, "area": area, "iscrowd": 0}
        for box, label, score, area in rows
    ]


def _xywh(boxes_n4: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return left, top, width, height, of which the sides' sums are exact."""
    made = boxes_n4.astype(np.float64)
    with np.errstate(invalid="ignore"):
        made[:, 2:] -= made[:, :2]
    return made
