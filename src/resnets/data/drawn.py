"""Boxes as people drew them, and what is made of them: inside the image, each side positive.

A box that is partly outside is cut off at the edge. One with a corner that is no number, of an
unknown category, without area, or with nothing inside is left out. All of this is remembered as
flaws. Coordinates are those of `Objects`.
"""

import math
import os
from array import array
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch

from resnets.data import files, images
from resnets.data.annotated import AnnotatedFiles, Annotations, Objects
from resnets.data.flaws import Flaw, FlawKind

# What rounding leaves outside: COCO has two decimals of a pixel, YOLO six of an image's side.
_ROUNDING_PX: Final = 0.02
_THIN_PX: Final = 1.0
_MOST_PX: Final = 1_000_000  # a side: no image that `decode` takes has one as long

Category = int | str


class Drawn:
    """The boxes of a split, gathered one at a time and held as numbers.

    Args:
        shares: Whether corners are shares of the image's width and height, not pixels.
    """

    def __init__(self, *, shares: bool = False) -> None:
        self._shares = shares
        self._images, self._categories = array("q"), array("q")
        self._corners, self._areas = array("d"), array("d")
        self._ignored, self._crowd = bytearray(), bytearray()
        self._number_of: dict[Category, int] = {}

    def put(
        self,
        image: int,
        box: tuple[float, float, float, float],
        category: Category,
        *,
        ignored: bool = False,
        crowd: bool = False,
        area: float = math.nan,
    ) -> None:
        """Take note of a box.

        Args:
            image: The index of its image.
            box: Left, top, right, bottom; any float, infinite or not a number too.
            category: What the data calls its class.
            ignored: See `Objects`.
            crowd: See `Objects`.
            area: In square pixels; not a number where the data does not say.
        """
        self._images.append(image)
        self._corners.extend(box)
        self._categories.append(self._number_of.setdefault(category, len(self._number_of)))
        self._ignored.append(ignored or crowd)
        self._crowd.append(crowd)
        self._areas.append(area)

    @property
    def categories(self) -> set[Category]:
        """What the data calls the classes of the boxes."""
        return set(self._number_of)

    def sound(
        self, names: Sequence[str], sizes_n2: np.ndarray, label_of: Mapping[Category, int]
    ) -> tuple[Annotations, tuple[Flaw, ...]]:
        """Return what can be trained on, and what was wrong.

        Args:
            names: Of the images.
            sizes_n2: int64, shape (images, 2): width and height in pixels; 0, 0 where unknown.
            label_of: The label of each category.
        """
        order_n = np.argsort(np.array(self._images, np.int64), kind="stable")
        image_n = np.array(self._images, np.int64)[order_n]
        raw_n4 = np.array(self._corners, np.float64).reshape(-1, 4)[order_n]
        category_n = np.array(self._categories, np.int64)[order_n]
        labels_c = np.array([label_of.get(each, -1) for each in self._number_of], np.int64)
        label_n, size_n2 = labels_c[category_n], sizes_n2[image_n]
        if self._shares:
            with np.errstate(over="ignore", invalid="ignore"):
                raw_n4 = raw_n4 * np.tile(size_n2, 2)
        box_n4, found = _inside(raw_n4, size_n2, label_n)
        good_n = ~np.logical_or.reduce([*found.values()])
        beyond_n = (np.abs(box_n4 - np.nan_to_num(raw_n4)) > _ROUNDING_PX).any(1)
        found["clipped"] = good_n & beyond_n
        found["thin"] = good_n & ((box_n4[:, 2:] - box_n4[:, :2]) <= _THIN_PX).any(1)
        found["doubled"] = _again(good_n, image_n, label_n, box_n4)
        every = Objects(
            torch.from_numpy(box_n4[good_n]),
            torch.from_numpy(label_n[good_n]),
            torch.from_numpy(np.array(self._ignored, np.uint8)[order_n][good_n].astype(bool)),
            torch.from_numpy(np.array(self._crowd, np.uint8)[order_n][good_n].astype(bool)),
            torch.from_numpy(_areas(np.array(self._areas)[order_n], box_n4, size_n2)[good_n]),
        )
        starts_n = np.searchsorted(image_n[good_n], np.arange(len(names) + 1))
        categories = list(self._number_of)
        wrong = [(index, kind) for kind in found for index in found[kind].nonzero()[0].tolist()]
        flaws = tuple(
            Flaw(
                kind,
                names[image_n[index]],
                _told(categories[category_n[index]], raw_n4[index], size_n2[index]),
            )
            for index, kind in sorted(wrong)
        )
        return Annotations(every, torch.from_numpy(starts_n.astype(np.int64))), flaws


class Gathered:
    """A split while it is read.

    Args:
        shares: Whether corners are shares of the image's width and height.
    """

    def __init__(self, *, shares: bool = False) -> None:
        self.boxes = Drawn(shares=shares)
        self.flaws: list[Flaw] = []  # of whole images
        self.annotated = True
        self._names: list[str] = []
        self._ids: list[int | str] = []
        self._said = array("q")

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, id_: int | str, said: tuple[int, int] = (0, 0)) -> int:
        """Add an image and return its index.

        Args:
            name: Of its file, relative to the data set.
            id_: What the data calls it.
            said: Width and height in pixels; 0, 0 where the data does not say.
        """
        self._names.append(name)
        self._ids.append(id_)
        self._said.extend(said)
        return len(self._names) - 1

    def finished(self, folder: Path, label_of: Mapping[Category, int]) -> AnnotatedFiles:
        """Return the split.

        Args:
            folder: The data set's.
            label_of: The label of each category.
        """
        names, ids, read = tuple(self._names), tuple(self._ids), files.reader(folder, self._names)
        if not self.annotated:
            none = Annotations(Objects.none(), torch.zeros(len(names) + 1, dtype=torch.int64))
            return AnnotatedFiles(names, ids, none, read, False, None, tuple(self.flaws))
        sizes_n2 = sizes(folder, names, np.array(self._said, np.int64).reshape(-1, 2))
        objects, flaws = self.boxes.sound(names, sizes_n2, label_of)
        known = torch.from_numpy(sizes_n2)
        return AnnotatedFiles(names, ids, objects, read, True, known, (*self.flaws, *flaws))


def sizes(folder: Path, names: Sequence[str], said_n2: np.ndarray) -> np.ndarray:
    """Return width and height of each image: as said, else as its file's header says, else 0, 0.

    Args:
        folder: Where the images are.
        names: Of their files, relative to the folder.
        said_n2: int64, shape (images, 2): 0 where nothing is said.

    Returns:
        int64, shape (images, 2).
    """
    sizes_n2 = said_n2.copy()
    (unsaid,) = np.less_equal(said_n2, 0).any(1).nonzero()
    paths = [folder / names[index] for index in unsaid.tolist()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, found in zip(unsaid.tolist(), pool.map(images.size, paths), strict=True):
            sizes_n2[index] = found or (0, 0)
    return sizes_n2


def side(said: object) -> int:
    """Return the pixels of a side that an annotation says; 0 where it is nothing that can be."""
    number = said if isinstance(said, int | float) and not isinstance(said, bool) else 0
    return int(number) if 1 <= number <= _MOST_PX and int(number) == number else 0


def _inside(
    raw_n4: np.ndarray, size_n2: np.ndarray, label_n: np.ndarray
) -> tuple[np.ndarray, dict[FlawKind, np.ndarray]]:
    """Return what is inside the images as float32, and of each reason to leave boxes out which.

    A box is left out for one reason, the first that holds.
    """
    number_n = np.isfinite(raw_n4).all(1)
    sure_n4 = np.where(number_n[:, None], raw_n4, 0.0)
    cut_n4 = sure_n4.clip(0.0, np.tile(size_n2, 2).astype(np.float64))
    box_n4 = cut_n4.astype(np.float32)
    reasons: tuple[tuple[FlawKind, np.ndarray], ...] = (
        ("no-number", ~number_n),
        ("unknown-category", label_n < 0),
        ("unsized", np.less_equal(size_n2, 0).any(1)),
        ("degenerate", _flat(sure_n4)),
        ("outside", _flat(cut_n4)),
        ("degenerate", _flat(box_n4)),  # a billionth of a pixel is nothing in a float32
    )
    found: dict[FlawKind, np.ndarray] = {}
    before_n = np.zeros(len(raw_n4), bool)
    for kind, holds_n in reasons:
        found[kind] = found.get(kind, False) | (holds_n & ~before_n)
        before_n = before_n | holds_n
    return box_n4, found


def _flat(box_n4: np.ndarray) -> np.ndarray:
    flat_n: np.ndarray = np.less_equal(box_n4[:, 2:], box_n4[:, :2]).any(1)
    return flat_n


def _again(
    good_n: np.ndarray, image_n: np.ndarray, label_n: np.ndarray, box_n4: np.ndarray
) -> np.ndarray:
    """Return which good boxes were there before: in the same image, of the same class."""
    (index_m,) = good_n.nonzero()
    keys_m6 = np.column_stack([image_n[index_m], label_n[index_m], box_n4[index_m]])
    order_m = np.lexsort(keys_m6.T)  # stable, so the first stays before its copies
    same_m = (keys_m6[order_m][1:] == keys_m6[order_m][:-1]).all(1)
    again_n = np.zeros(len(good_n), bool)
    again_n[index_m[order_m[1:][same_m]]] = True
    return again_n


def _areas(said_n: np.ndarray, box_n4: np.ndarray, size_n2: np.ndarray) -> np.ndarray:
    """Return the areas that are said, or those of the boxes where none or none possible is."""
    most_n = size_n2.astype(np.float64).prod(1)
    sides_n2 = box_n4[:, 2:].astype(np.float64) - box_n4[:, :2]
    possible_n = (said_n > 0) & (said_n <= most_n)
    areas_n: np.ndarray = np.where(possible_n, said_n, sides_n2.prod(1)).astype(np.float32)
    return areas_n


def _told(category: Category, raw_4: np.ndarray, size_2: np.ndarray) -> str:
    corners = ", ".join(f"{each:.7g}" for each in raw_4.tolist())
    width, height = size_2.tolist()
    return f"{str(category)[:40] or 'no name'} at {corners} in {width:,} x {height:,} px"
