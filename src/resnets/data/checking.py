"""Check a data set: every image read and decoded, and what is wrong with it all found.

Memory holds about a hundred bytes of each image, whatever the images' size.
"""

import bisect
import difflib
import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core import progress
from resnets.data import alike, examining, findings, setting_aside
from resnets.data.alike import Codes
from resnets.data.boxed import Boxed
from resnets.data.examining import Bad, Good, Oddity
from resnets.data.findings import Boxes, Case, ClassCount, Finding, Place, Report, Spread

_AT_ONCE: Final = 256
_SMALL_PX: Final = 224
_FEW: Final = 20  # images of a class
_SLIP: Final = 3  # images of a class that may be a slip of the pen
_SPELT_ALIKE: Final = 0.8  # difflib's likeness of two names
_DIGITS: Final = re.compile(r"\d")
_IMBALANCE: Final = 10  # the largest class is so many times another
_BY_SIZE: Final[tuple[Oddity, ...]] = ("tiny", "long")
_BY_CROP: Final[tuple[Oddity, ...]] = ("long",)  # of no concern where the whole image is seen


@dataclass(frozen=True, slots=True)
class Split:
    """One split of what is to be checked.

    Args:
        name: "train", "validation" or "test"; of a data set with boxes any.
        names: What each image is called.
        labels_n: int64, shape (n,), from 0: of each image, or of each box.
        examine: Examines an image by its index. May be called from several threads.
        cropped: Whether training sees a crop of an image and enlarges small ones, as of photos.
        boxed: Which image each box is in, and more; None where an image has one class.
    """

    name: str
    names: Sequence[str]
    labels_n: Tensor
    examine: Callable[[int], Good | Bad]
    cropped: bool = True
    boxed: Boxed | None = None

    @property
    def image_n(self) -> np.ndarray:
        """The index of the image of each label."""
        return np.arange(len(self.names)) if self.boxed is None else self.boxed.image_n


# A kind of finding, by its code, and a case of it.
_Found = tuple[str, Case]


def check(
    splits: Sequence[Split], *, data: str, where: str, digest: str, classes: Sequence[str]
) -> Report:
    """Read and decode every image, and return what there is and what is wrong with it.

    Args:
        splits: With at least one image each.
        data: What the data set is called.
        where: What `--data` takes to open it.
        digest: Of the data set.
        classes: Their names, in the order of the labels.
    """
    listing, seen = _Listing(splits, classes), _examined(splits)
    counts = _Counts.of(splits, seen, len(classes))
    found: dict[str, list[Case]] = defaultdict(list)
    for code, case in (
        *_same_files(listing, seen),
        *_same_pictures(listing, seen),
        *_odd_images(listing, seen),
        *_odd_boxes(listing, seen),
        *_odd_classes(listing, seen, counts),
    ):
        found[code].append(case)
    return Report(
        data=data,
        where=where,
        digest=digest,
        splits=tuple(split.name for split in splits),
        by_class=counts.by_class(classes),
        repeated_images=sum(len(group) - 1 for group in seen.same_content()),
        sizes=_sizes(seen.size_n2[seen.good_n], splits),
        modes=_ranked(seen.modes),
        formats=_ranked(seen.formats),
        findings=tuple(
            Finding(kind, tuple(found[kind.code])) for kind in findings.KINDS if found[kind.code]
        ),
        refusal=counts.refusal(),
        boxes=_boxes(splits, counts),
    )


def empty_classes(classes: Sequence[str], labels_n: Tensor) -> tuple[str, ...]:
    """Return the names of the classes that no image has.

    Args:
        classes: Names in the order of the labels.
        labels_n: int64, shape (n,): the class of each image.
    """
    counts = torch.bincount(labels_n, minlength=len(classes)).tolist()
    return tuple(name for name, images in zip(classes, counts, strict=True) if not images)


class _Seen:
    """What is kept of each image, in the order of the splits one after the other."""

    def __init__(self, images: int) -> None:
        self.good_n = np.zeros(images, bool)
        self.content_n = np.zeros((images, examining.CONTENT_BYTES), np.uint8)
        self.size_n2 = np.zeros((images, 2), np.int64)
        self.codes = Codes.empty(images)
        self.modes: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()
        self.odd: dict[Oddity, list[int]] = defaultdict(list)
        self.bad: dict[int, Bad] = {}

    def put(self, first: int, examined: Sequence[Good | Bad]) -> None:
        """Take note of some images, the first of which has that index."""
        thumbs, places = [], []
        for index, each in enumerate(examined, first):
            if isinstance(each, Bad):
                self.bad[index] = each
                continue
            self.good_n[index] = True
            self.content_n[index] = np.frombuffer(each.content, np.uint8)
            self.size_n2[index] = each.width_px, each.height_px
            self.modes[each.mode] += 1
            self.formats.update([each.format] if each.format is not None else [])
            for oddity in each.oddities:
                self.odd[oddity].append(index)
            thumbs.append(each.thumb_hw)
            places.append(index)
        if thumbs:
            self.codes.put(np.array(places), np.stack(thumbs))

    def same_content(self) -> list[list[int]]:
        """Return the groups of good images with the same bytes, in the order of their first."""
        (index_n,) = self.good_n.nonzero()
        content_nw = np.ascontiguousarray(self.content_n[index_n]).view(np.uint64)
        order_n = np.lexsort(content_nw.T)  # stable, so a group ascends
        differs_n = (content_nw[order_n][1:] != content_nw[order_n][:-1]).any(1)
        parts = np.split(index_n[order_n], np.flatnonzero(differs_n) + 1)
        return sorted(part.tolist() for part in parts if len(part) > 1)


def _examined(splits: Sequence[Split]) -> _Seen:
    total = sum(len(split.names) for split in splits)
    seen, done = _Seen(total), 0
    with (
        progress.reporting("checking", total=total, unit="images") as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for split in splits:
            images = len(split.names)
            for first in range(0, images, _AT_ONCE):
                part = range(first, min(first + _AT_ONCE, images))
                seen.put(done + first, list(pool.map(split.examine, part)))
                bar.advance(len(part))
            done += images
    return seen


class _Listing:
    """Finds what is at an index over all splits."""

    def __init__(self, splits: Sequence[Split], classes: Sequence[str]) -> None:
        self.splits, self.classes = splits, classes
        sizes = [len(split.names) for split in splits]
        self.starts = [0, *itertools.accumulate(sizes)]

    def split(self, index: int) -> tuple[Split, int]:
        """Return an image's split and its index there."""
        at = bisect.bisect_right(self.starts, index) - 1
        return self.splits[at], index - self.starts[at]

    def place(self, index: int) -> Place:
        split, at = self.split(index)
        name = None if split.boxed is not None else self.classes[int(split.labels_n[at])]
        return Place(split.name, split.names[at], name)

    def having(self, label: int, split_name: str, seen: _Seen) -> tuple[Place, ...]:
        """Return where a class is among the good images of a split."""
        at = next(i for i, split in enumerate(self.splits) if split.name == split_name)
        split, first = self.splits[at], self.starts[at]
        index_n = first + np.unique(split.image_n[split.labels_n.numpy() == label])
        return tuple(self.place(index) for index in index_n[seen.good_n[index_n]].tolist())

    def case(self, indices: Sequence[int], why: str = "") -> Case:
        return Case(tuple(map(self.place, indices)), why=why)


@dataclass(frozen=True, slots=True)
class _Counts:
    """How many there are in each split.

    Args:
        images: Images.
        good_images: Those of them that can be used.
        every: Of each class, images; where there are boxes, boxes.
        good: Those of them that can be used.
        having: Of each class, good images that have it.
        trained_on: The split that training would take.
        measured: The splits to measure on.
    """

    images: Mapping[str, int]
    good_images: Mapping[str, int]
    every: Mapping[str, np.ndarray]
    good: Mapping[str, np.ndarray]
    having: Mapping[str, np.ndarray]
    trained_on: str
    measured: Sequence[str]

    @classmethod
    def of(cls, splits: Sequence[Split], seen: _Seen, classes: int) -> "_Counts":
        images, good_images, every, good, having, done = {}, {}, {}, {}, {}, 0
        for split in splits:
            good_n = seen.good_n[done : done + len(split.names)]
            labels_n, image_n = split.labels_n.numpy(), split.image_n
            usable_n = good_n[image_n]
            pairs = np.unique(image_n[usable_n] * classes + labels_n[usable_n])
            images[split.name], good_images[split.name] = len(good_n), int(good_n.sum())
            every[split.name] = np.bincount(labels_n, minlength=classes)
            good[split.name] = np.bincount(labels_n[usable_n], minlength=classes)
            having[split.name] = np.bincount(pairs % classes, minlength=classes)
            done += len(split.names)
        told = [each.name for each in splits if each.boxed is None or each.boxed.annotated]
        trained_on = "train" if "train" in told else (told or [splits[0].name])[0]
        measured = [name for name in told if name != trained_on]
        return cls(images, good_images, every, good, having, trained_on, measured)

    def by_class(self, classes: Sequence[str]) -> tuple[ClassCount, ...]:
        return tuple(
            ClassCount(
                name,
                {split: int(counts[i]) for split, counts in self.every.items()},
                {split: int(self.every[split][i] - self.good[split][i]) for split in self.every},
            )
            for i, name in enumerate(classes)
        )

    def refusal(self) -> str | None:
        """Say why nothing can be trained on it; None where it can."""
        for split, good in self.good_images.items():
            if not good:
                return f"none of the {self.images[split]:,} {split} images can be read"
        images = self.images[self.trained_on]
        if not self.good[self.trained_on].any():
            return f"no box is in any of the {images:,} {self.trained_on} images"
        bad = images - self.good_images[self.trained_on]
        most = setting_aside.tolerated(images)
        if bad <= most:
            return None
        return (
            f"{bad:,} of {images:,} {self.trained_on} images cannot be read, and training puts up "
            f"with {most:,}"
        )


def _same_files(listing: _Listing, seen: _Seen) -> Iterator[_Found]:
    for group in seen.same_content():
        yield _same(listing.case(group), "leaked", "conflicting", "repeated")


def _same_pictures(listing: _Listing, seen: _Seen) -> Iterator[_Found]:
    """Yield the pictures that are there as different files; files of the same bytes count once."""
    (index_n,) = seen.good_n.nonzero()
    again = [index for group in seen.same_content() for index in group[1:]]
    once_n = np.setdiff1d(index_n, np.array(again, np.int64), assume_unique=True)
    for group in alike.groups(seen.codes, once_n):
        yield _same(listing.case(group), "alike-in-splits", "alike-in-classes", "alike")


def _same(case: Case, in_splits: str, in_classes: str, otherwise: str) -> _Found:
    """Return the worst that can be said of one image in several places."""
    if len({at.split for at in case.images}) > 1:
        return in_splits, case
    if len({at.class_name for at in case.images}) > 1:
        return in_classes, case
    return otherwise, case


def _odd_images(listing: _Listing, seen: _Seen) -> Iterator[_Found]:
    for index, bad in seen.bad.items():
        name = listing.place(index).name
        yield bad.trouble, listing.case([index], bad.message.removeprefix(f"{name}: "))
    for oddity, indices in seen.odd.items():
        for index in indices:
            if oddity in _BY_CROP and not listing.split(index)[0].cropped:
                continue
            yield oddity, listing.case([index], _size(seen, index) if oddity in _BY_SIZE else "")
    shorter_n = seen.size_n2.min(1)
    small_n = (shorter_n >= examining.TINY_PX) & (shorter_n < _SMALL_PX)  # bad ones have 0
    for index in small_n.nonzero()[0].tolist():
        if listing.split(index)[0].cropped:
            yield "small", listing.case([index], _size(seen, index))


def _odd_boxes(listing: _Listing, seen: _Seen) -> Iterator[_Found]:
    for split, start in zip(listing.splits, listing.starts, strict=False):
        if split.boxed is not None:
            size_n2 = seen.size_n2[start : start + len(split.names)]
            for code, name, why in split.boxed.odd(split.names, size_n2):
                yield code, Case((Place(split.name, name, None),), why=why)


def _size(seen: _Seen, index: int) -> str:
    width, height = seen.size_n2[index].tolist()
    return f"{width:,} x {height:,} px"


def _odd_classes(listing: _Listing, seen: _Seen, counts: _Counts) -> Iterator[_Found]:
    """Yield what is wrong with classes, of which only good images count."""
    classes, train_k = listing.classes, counts.having[counts.trained_on]
    largest = int(train_k.argmax())
    large = [name for name, images in zip(classes, train_k, strict=True) if images >= _FEW]
    for i, name in enumerate(classes):
        if not any(having_k[i] for having_k in counts.having.values()):
            yield "empty-class", Case(class_name=name)
            continue
        if not train_k[i]:
            yield "untrained-class", Case(class_name=name)
        for split in counts.measured:
            if not counts.having[split][i]:
                yield "unmeasured-class", Case(class_name=name, why=f"none in {split}")
        here = _count(int(train_k[i]))
        if 0 < train_k[i] < _FEW:
            few = Case(class_name=name, why=here)
            if large and train_k[i] <= _SLIP:  # perhaps a slip of the pen: where, and of what
                places = listing.having(i, counts.trained_on, seen)
                few = Case(places, name, here + _misspelt(name, large))
            yield "few-images", few
        if 0 < train_k[i] * _IMBALANCE < train_k[largest]:
            beside = f"{here}; {classes[largest]} has {train_k[largest]:,}"
            yield "imbalance", Case(class_name=name, why=beside)


def _misspelt(name: str, large: Sequence[str]) -> str:
    """Return the question whether a name is another one's misspelt, if it is nearly that.

    Names with numbers that differ in them are meant so.
    """
    bare = _DIGITS.sub("", name)
    others = [each for each in large if _DIGITS.sub("", each) != bare]
    nearly = difflib.get_close_matches(name, others, n=1, cutoff=_SPELT_ALIKE)
    return f"; misspelt for {nearly[0]}?" if nearly else ""


def _count(images: int) -> str:
    return f"{images:,} image" + "s" * (images != 1)


def _sizes(size_n2: np.ndarray, splits: Sequence[Split]) -> dict[str, Spread]:
    sides = {}
    if len(size_n2):
        sides = {"width_px": size_n2[:, 0], "height_px": size_n2[:, 1]}
        sides["shorter_px"] = size_n2.min(1)
    boxes = [split.boxed.side_px_n for split in splits if split.boxed is not None]
    if any(map(len, boxes)):
        sides["box_px"] = np.concatenate(boxes).round().astype(np.int64)
    return {
        name: Spread(*np.quantile(side_n, (0, 0.5, 1), method="lower").tolist())
        for name, side_n in sides.items()
    }


def _boxes(splits: Sequence[Split], counts: _Counts) -> Boxes | None:
    """Return what a report on boxes says besides; None where images have classes."""
    there = {split.name: split.boxed for split in splits if split.boxed is not None}
    if not there:
        return None
    return Boxes(
        images=counts.images,
        unreadable_images=sum(counts.images.values()) - sum(counts.good_images.values()),
        flags=sum((Counter(each.flags) for each in there.values()), Counter()),
        unannotated=tuple(name for name, each in there.items() if not each.annotated),
    )


def _ranked(counts: Counter[str]) -> dict[str, int]:
    """Return the counts, the greatest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0])))
