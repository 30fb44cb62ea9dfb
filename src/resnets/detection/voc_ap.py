"""PASCAL VOC's average precision, as its development kit defines it.

The detections of a class over all images are gone through from the surest on; of equal scores the
one that was given first comes first. Each looks for the box of its class in its image that it
overlaps most; of equal overlaps the first box counts. Where that overlap is *at least* 0.5:

- a box to be found that no surer detection has found: right;
- one that has been found: a mistake, even where another box is near enough as well;
- one that is ignored ("difficult"): neither right nor a mistake, however often.

All other detections are mistakes. One whose score is NaN is a mistake behind all others, and one
whose box is not finite overlaps nothing: a network that diverged finds nothing.

VOC counts pixels from 1 and both ends inclusively, and adds 1 to every side. Boxes as `Objects`
has them give the same areas without.

Source: Everingham et al. 2010, sec. 4.2, and VOCevaldet.m of the development kits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resnets.data.annotated import Objects
from resnets.detection.detections import Detections

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Curve:
    """How precision falls as recall rises, for one class: one point a detection, the surest first.

    Args:
        objects: How many there are to be found.
        scores_n: float64, shape (n,), of all detections that count: those of ignored objects don't.
        right_n: bool, shape (n,), whether each found an object; the others are mistakes.
    """

    objects: int
    scores_n: Floats
    right_n: Bools

    @property
    def found_n(self) -> Ints:
        """How many objects were found up to each detection, which is included."""
        return self.right_n.cumsum(dtype=np.int64)

    @property
    def recall_n(self) -> Floats:
        """The share of the objects that was found; NaN where there is none to be found."""
        if not self.objects:
            return np.full(len(self.right_n), np.nan)
        return self.found_n / self.objects

    @property
    def precision_n(self) -> Floats:
        """The share of the detections that are right."""
        return self.found_n / np.arange(1, len(self.right_n) + 1)

    @property
    def best_precision_n(self) -> Floats:
        """The highest precision at this recall or a higher one: what AP is taken from."""
        return np.maximum.accumulate(self.precision_n[::-1])[::-1]

    @property
    def ap_11_points(self) -> float:
        """AP in [0, 1] as in VOC2007, or NaN where there is no object to be found.

        The mean of the best precision at recall 0, 0.1, ..., 1; 0 at a recall never reached.

        Source: Everingham et al. 2010, sec. 4.2.

        Deviation: whether a recall is reached is decided in whole numbers. The development kit
        compares floats, where 3 of 10 falls short of its `3 * 0.1`.
        """
        if not self.objects:
            return np.nan
        reached = np.searchsorted(10 * self.found_n, self.objects * np.arange(11))
        return float(np.append(self.best_precision_n, 0.0)[reached].mean())

    @property
    def ap_area(self) -> float:
        """AP in [0, 1] as from VOC2010 on, or NaN where there is no object to be found.

        The area under the best precision over recall, which rises at each object that is found.

        Source: Everingham et al. 2015, as VOCap.m of the development kits computes it.
        """
        if not self.objects:
            return np.nan
        return float(self.best_precision_n[self.right_n].sum() / self.objects)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of every detection, by class and then the surest first.

    Args:
        image_n: int64, the image that each is in.
        classes_n: int64.
        boxes_n4: float64.
        scores_n: float64.
        object_n: int64: which object each found, counted over the objects of all images in their
            order; -1 of one that found none.
        counts_n: bool, whether it is right or a mistake: neither is what lies on an ignored object.
    """

    image_n: Ints
    classes_n: Ints
    boxes_n4: Floats
    scores_n: Floats
    object_n: Ints
    counts_n: Bools

    @property
    def right_n(self) -> Bools:
        """Whether each found an object."""
        return self.object_n >= 0


def curves(
    found: Sequence[Detections],
    objects: Sequence[Objects],
    classes: int,
    *,
    min_overlap: float = 0.5,
) -> tuple[Curve, ...]:
    """Return the curve of each class, in the order of the labels.

    Args:
        found: In each image. Of equal scores in two images, the image that stands first is first.
        objects: Of the same images.
        classes: How many there are; every label is below.
        min_overlap: Intersection over union from which on a box is found, in (0, 1].
    """
    said = judged(found, objects, classes, min_overlap=min_overlap)
    there = _flat_objects(objects, classes)
    to_find = np.bincount(there.classes_n[~there.ignored_n], minlength=classes)
    ends = np.searchsorted(said.classes_n, np.arange(classes + 1))
    made = []
    for label in range(classes):
        own = slice(ends[label], ends[label + 1])
        counts, right_n = said.counts_n[own], said.right_n[own]
        made.append(Curve(int(to_find[label]), said.scores_n[own][counts], right_n[counts]))
    return tuple(made)


def judged(
    found: Sequence[Detections],
    objects: Sequence[Objects],
    classes: int,
    *,
    min_overlap: float = 0.5,
) -> Judged:
    """Return what became of every detection.

    Args:
        found: As `curves` takes it.
        objects: As `curves` takes them.
        classes: As `curves` takes it.
        min_overlap: As `curves` takes it.
    """
    said, there = _flat_detections(found, classes), _flat_objects(objects, classes)
    object_n, counts_n = _judge(said, there, min_overlap)
    image_n = said.places_n // classes
    return Judged(image_n, said.classes_n, said.boxes_n4, said.scores_n, object_n, counts_n)


def mean(aps: Sequence[float]) -> float:
    """Return the mean over the classes that have an AP; NaN where none has."""
    measured = [ap for ap in aps if not np.isnan(ap)]
    return float(np.mean(measured)) if measured else np.nan


@dataclass(frozen=True, slots=True)
class _Said:
    """Every detection, by class and then the surest first. A place is an image and a class."""

    places_n: Ints
    classes_n: Ints
    boxes_n4: Floats
    scores_n: Floats


@dataclass(frozen=True, slots=True)
class _There:
    """Every object, by place and then in the order given, which `given_n` counts."""

    given_n: Ints
    places_n: Ints
    classes_n: Ints
    boxes_n4: Floats
    ignored_n: Bools


def _flat_detections(found: Sequence[Detections], classes: int) -> _Said:
    classes_n = _joined([each.classes_n for each in found], np.int64)
    scores_n = _joined([each.scores_n for each in found], np.float64)
    boxes_n4 = _joined([each.boxes_n4 for each in found], np.float64).reshape(-1, 4)
    places_n = _images([len(each) for each in found]) * classes + classes_n
    order = np.lexsort((-scores_n, classes_n))  # stable; a NaN comes behind everything
    return _Said(places_n[order], classes_n[order], boxes_n4[order], scores_n[order])


def _flat_objects(objects: Sequence[Objects], classes: int) -> _There:
    classes_n = _joined([each.classes_n for each in objects], np.int64)
    boxes_n4 = _joined([each.boxes_n4 for each in objects], np.float64).reshape(-1, 4)
    ignored_n = _joined([each.ignored_n for each in objects], np.bool_)
    places_n = _images([len(each) for each in objects]) * classes + classes_n
    order = places_n.argsort(kind="stable")
    return _There(order, places_n[order], classes_n[order], boxes_n4[order], ignored_n[order])


def _joined(parts: Sequence[Tensor], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *(part.flatten().numpy() for part in parts)])


def _images(sizes: Sequence[int]) -> Ints:
    return np.repeat(np.arange(len(sizes)), np.asarray(sizes, dtype=np.int64))


def _judge(said: _Said, there: _There, min_overlap: float) -> tuple[Ints, Bools]:
    """Return which object each detection found, -1 for none, and which of them count at all."""
    first_n = np.searchsorted(there.places_n, said.places_n)
    boxes_n = np.searchsorted(there.places_n, said.places_n, side="right") - first_n
    asking = np.flatnonzero((boxes_n > 0) & ~np.isnan(said.scores_n))
    nearest, overlap = _nearest(
        said.boxes_n4[asking], there.boxes_n4, first_n[asking], boxes_n[asking]
    )
    near = overlap >= min_overlap
    asking, nearest = asking[near], nearest[near]

    counts_n = np.ones(len(said.scores_n), dtype=np.bool_)
    counts_n[asking[there.ignored_n[nearest]]] = False
    wanted = ~there.ignored_n[nearest]
    asking, nearest = asking[wanted], nearest[wanted]
    object_n = np.full(len(said.scores_n), -1, dtype=np.int64)
    taken, surest = np.unique(nearest, return_index=True)  # the first place of each, so the surest
    object_n[asking[surest]] = there.given_n[taken]
    return object_n, counts_n


def _nearest(
    boxes_n4: Floats, theirs_m4: Floats, first_n: Ints, count_n: Ints
) -> tuple[Ints, Floats]:
    """Return the index of the box that each overlaps most, and by how much.

    Args:
        boxes_n4: Whose.
        theirs_m4: What they are compared with.
        first_n: For each, where the boxes it is compared with begin.
        count_n: For each, how many these are; at least one.
    """
    begins_n = count_n.cumsum() - count_n
    of_p = np.repeat(np.arange(len(boxes_n4)), count_n)  # one row for each pair to compare
    with_p = np.arange(len(of_p)) + np.repeat(first_n - begins_n, count_n)
    overlap_p = _overlap(boxes_n4[of_p], theirs_m4[with_p])
    best_n = np.lexsort((-overlap_p, of_p))[begins_n]  # stable: of equal ones the first
    return with_p[best_n], overlap_p[best_n]


def _overlap(a_p4: Floats, b_p4: Floats) -> Floats:
    """Return the intersection over union of each pair; 0 where it is empty or not finite."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        sides_p2 = np.minimum(a_p4[:, 2:], b_p4[:, 2:]) - np.maximum(a_p4[:, :2], b_p4[:, :2])
        common_p = sides_p2.prod(1)
        both_p = (a_p4[:, 2:] - a_p4[:, :2]).prod(1) + (b_p4[:, 2:] - b_p4[:, :2]).prod(1)
        return np.where((sides_p2 > 0).all(1), np.nan_to_num(common_p / (both_p - common_p)), 0.0)
