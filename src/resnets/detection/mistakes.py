"""What a detector got wrong: every mistake by its kind, and what it missed.

What is right is decided as VOC does it, at an overlap of 0.5 (`voc_ap.judged`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import torch

from resnets.data.annotated import Annotations, Objects
from resnets.detection import boxes, voc_ap
from resnets.detection.detections import Detections
from resnets.detection.voc_ap import Bools, Judged

Kind = Literal["wrong class", "poor overlap", "found twice", "background"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Box = tuple[float, float, float, float]

RIGHT_OVERLAP: Final = 0.5  # intersection over union from which on an object is found
NEAR_OVERLAP: Final = 0.1  # below it a detection has nothing to do with an object


@dataclass(frozen=True, slots=True)
class There:
    """An object that is there.

    Args:
        label: Its class.
        box_px: Left, top, right, bottom.
    """

    label: int
    box_px: Box


@dataclass(frozen=True, slots=True)
class Mistake:
    """A detection that is none of an object to be found.

    Args:
        image: Where, as an index.
        label: The class that was told.
        score: How sure of it.
        box_px: Left, top, right, bottom.
        kind: "found twice": a surer one has found the object; "wrong class" and "poor overlap":
            by the object of the image that it overlaps most, by 0.1 at least, of another class or
            of its own; else "background".
        overlap: How much it overlaps that object, as intersection over union.
        there: That object; None of background.
    """

    image: int
    label: int
    score: float
    box_px: Box
    kind: Kind
    overlap: float
    there: There | None


@dataclass(frozen=True, slots=True)
class Missed:
    """An object that was not found, or by no detection that is sure enough.

    Args:
        image: Where, as an index.
        there: The object.
        score: Of the detection that found it; None where none did.
    """

    image: int
    there: There
    score: float | None


@dataclass(frozen=True, slots=True)
class OfClass:
    """How a class fared among the detections that are sure enough.

    Args:
        label: Which.
        objects: To be found.
        found: How many of them were.
        wrong: How many detections of the class are mistakes.
    """

    label: int
    objects: int
    found: int
    wrong: int

    @property
    def recall(self) -> float | None:
        """The share of its objects that was found; None where there are none."""
        return self.found / self.objects if self.objects else None

    @property
    def precision(self) -> float | None:
        """The share of its detections that are right; None where there are none."""
        told = self.found + self.wrong
        return self.found / told if told else None


@dataclass(frozen=True, slots=True)
class Review:
    """What a detector got right and wrong in a split.

    Args:
        classes: In the order of the labels.
        mistakes: The surest first: all that are sure enough, and at least as many as were asked for
            where there are so many.
        sure_mistakes: How many of these are sure enough.
        missed: What nothing found first, then what the least sure found; of equal ones the largest.
    """

    classes: tuple[OfClass, ...]
    mistakes: tuple[Mistake, ...]
    sure_mistakes: int
    missed: tuple[Missed, ...]

    def counted(self, kind: Kind) -> int:
        """Return how many mistakes that are sure enough are of a kind."""
        return sum(each.kind == kind for each in self.mistakes[: self.sure_mistakes])


def review(
    found: Sequence[Detections],
    objects: Sequence[Objects],
    classes: int,
    *,
    least_score: float,
    most: int,
) -> Review:
    """Return what a detector got right and wrong.

    Args:
        found: In each image.
        objects: Of the same images.
        classes: How many there are.
        least_score: From which on a detection is sure enough.
        most: So many mistakes at least are explained, however unsure.

    Source: Hoiem et al. 2012, sec. 2, for the kinds and the overlap of 0.1.
    Deviation: no class is similar to another; finding an object again is a kind of its own.
    """
    said = voc_ap.judged(found, objects, classes, min_overlap=RIGHT_OVERLAP)
    annotations = Annotations.of(objects)
    sure_n = said.scores_n >= least_score  # NaN is not
    wrong_n = said.counts_n & ~said.right_n
    by_score = np.argsort(-said.scores_n, kind="stable")
    wrong = by_score[wrong_n[by_score]]
    sure = int(sure_n[wrong].sum())
    explained = wrong[: max(sure, most)]
    return Review(
        classes=_by_class(said, annotations, classes, sure_n, wrong_n),
        mistakes=tuple(_mistake(said, int(n), objects) for n in explained),
        sure_mistakes=sure,
        missed=_missed(said, annotations, sure_n),
    )


def _by_class(
    said: Judged, annotations: Annotations, classes: int, sure_n: Bools, wrong_n: Bools
) -> tuple[OfClass, ...]:
    every = annotations.every
    to_find = every.classes_n[~every.ignored_n].bincount(minlength=classes).tolist()
    right, wrong = (
        np.bincount(said.classes_n[which_n & sure_n], minlength=classes).tolist()
        for which_n in (said.right_n, wrong_n)
    )
    return tuple(OfClass(n, to_find[n], right[n], wrong[n]) for n in range(classes))


def _mistake(said: Judged, n: int, objects: Sequence[Objects]) -> Mistake:
    image, label = int(said.image_n[n]), int(said.classes_n[n])
    box_4 = torch.from_numpy(said.boxes_n4[n])
    own = objects[image]
    # An overlap with a box around many says nothing of any of them.
    there = own.take(~own.crowd_n)
    overlap_m = boxes.iou(box_4[None], there.boxes_n4.double())[0].nan_to_num(0.0)
    same_m = there.classes_n == label
    kind, at = _kind(overlap_m, same_m)
    return Mistake(
        image=image,
        label=label,
        score=float(said.scores_n[n]),
        box_px=_box(box_4),
        kind=kind,
        overlap=0.0 if at is None else float(overlap_m[at]),
        there=None if at is None else There(int(there.classes_n[at]), _box(there.boxes_n4[at])),
    )


def _kind(overlap_m: torch.Tensor, same_m: torch.Tensor) -> tuple[Kind, int | None]:
    """Return the kind of a mistake, and the object that decides it."""
    if not len(overlap_m):
        return "background", None
    own_m = overlap_m.where(same_m, 0.0)
    if own_m.max() >= RIGHT_OVERLAP:
        return "found twice", int(own_m.argmax())
    at = int(overlap_m.argmax())
    if overlap_m[at] < NEAR_OVERLAP:
        return "background", None
    return ("poor overlap" if same_m[at] else "wrong class"), at


def _missed(said: Judged, annotations: Annotations, sure_n: Bools) -> tuple[Missed, ...]:
    every, image_m = annotations.every, annotations.image_n
    score_m = torch.full((len(every),), float("-inf"), dtype=torch.float64)
    score_m[said.object_n[said.right_n]] = torch.from_numpy(said.scores_n[said.right_n])
    sure_m = torch.zeros(len(every), dtype=torch.bool)
    sure_m[said.object_n[said.right_n & sure_n]] = True
    missed = (~every.ignored_n & ~sure_m).nonzero().squeeze(1)
    area_m = boxes.areas(every.boxes_n4).double()
    order = np.lexsort((-area_m[missed].numpy(), score_m[missed].numpy()))
    made = []
    for m in missed[torch.from_numpy(order)].tolist():
        there = There(int(every.classes_n[m]), _box(every.boxes_n4[m]))
        score = float(score_m[m])
        made.append(Missed(int(image_m[m]), there, None if score == float("-inf") else score))
    return tuple(made)


def _box(box_4: torch.Tensor) -> Box:
    left, top, right, bottom = map(float, box_4)
    return left, top, right, bottom
