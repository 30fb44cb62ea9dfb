"""Which images are the same picture: saved again, resized, or stripped of what is not pixels.

A picture's code is 63 bits: which of its lowest frequencies stand above their median. Saving it
again changes few of them, and of these the ones nearest to the median. So two images are compared
closely where the code of one is that of the other but for its `_UNSURE` nearest bits; they are the
same picture where no part of an 8 x 8 division differs by more than `_LEVELS` in brightness. What
it finds is nearly always right, and it does not find all: a crop, a mirror image or another
brightness is another picture here. Colour is not looked at, so a copy in grey is the same.
docs/lab-log.md has the measurements.

Source: Zauner 2010, the perceptual hash of the discrete cosine transform.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

_FREQUENCIES: Final = 8  # in each direction
_PARTS: Final = 8  # in each direction
_UNSURE: Final = 4  # bits
_LEVELS: Final = 12  # of 255
# Codes of pictures without contrast say nothing; as a deviation in levels of 255.
_LEAST_CONTRAST: Final = 4
# Of many images with one code, those that each is compared with.
_COMPARED: Final = 8


@dataclass(frozen=True, slots=True)
class Codes:
    """What is kept of each image to find the same picture: 76 bytes.

    Args:
        code_n: uint64.
        unsure_nu: uint8, shape (n, `_UNSURE`): its bits nearest to the median, nearest first.
        parts_np: uint8, shape (n, 64): brightness of the parts.
    """

    code_n: np.ndarray
    unsure_nu: np.ndarray
    parts_np: np.ndarray

    @classmethod
    def empty(cls, images: int) -> "Codes":
        """Return room for so many."""
        return cls(
            np.zeros(images, np.uint64),
            np.zeros((images, _UNSURE), np.uint8),
            np.zeros((images, _PARTS**2), np.uint8),
        )

    def put(self, index_n: np.ndarray, thumbs_nhw: np.ndarray) -> None:
        """Fill in the images of those indices.

        Args:
            index_n: Their places.
            thumbs_nhw: Each in grey, squeezed to a square: uint8, the side a multiple of 8.
        """
        images, side, _ = thumbs_nhw.shape
        basis_fx = _cosines(side)
        waves_nff = basis_fx @ thumbs_nhw.astype(np.float64) @ basis_fx.T
        waves_nb = waves_nff.reshape(images, -1)[:, 1:]  # the first is the brightness of it all
        above_nb = waves_nb - np.median(waves_nb, axis=1, keepdims=True)
        bits = np.uint64(1) << np.arange(above_nb.shape[1], dtype=np.uint64)
        self.code_n[index_n] = ((above_nb > 0) * bits).sum(1, dtype=np.uint64)
        nearest_nb = np.argsort(np.abs(above_nb), axis=1, kind="stable")
        self.unsure_nu[index_n] = nearest_nb[:, :_UNSURE]
        block = side // _PARTS
        blocks = thumbs_nhw.reshape(images, _PARTS, block, _PARTS, block)
        self.parts_np[index_n] = blocks.mean((2, 4)).round().reshape(images, -1)


def groups(codes: Codes, index_n: np.ndarray) -> list[list[int]]:
    """Return the groups of images that are the same picture, as lists of at least two indices.

    In a group each is the same picture as another, not necessarily as every other.

    Args:
        codes: Of all images.
        index_n: The images to compare, ascending.

    Returns:
        Groups in the order of their first image, each ascending.
    """
    telling_n = index_n[codes.parts_np[index_n].std(axis=1) >= _LEAST_CONTRAST]
    above: dict[int, int] = {}  # a forest: from an image to one of its group that comes before
    for one, other in _pairs(codes, telling_n):
        first, second = sorted((_root(above, one), _root(above, other)))
        if first != second:
            above[second] = first
    found: dict[int, list[int]] = {}
    for image in sorted(above):
        root = _root(above, image)
        found.setdefault(root, [root]).append(image)
    return [found[root] for root in sorted(found)]


def _pairs(codes: Codes, index_n: np.ndarray) -> list[tuple[int, int]]:
    code_n, parts_np = codes.code_n[index_n], codes.parts_np[index_n].astype(np.int16)
    order_n = np.argsort(code_n, kind="stable")
    sorted_n = code_n[order_n]
    unsure_nu = np.uint64(1) << codes.unsure_nu[index_n].astype(np.uint64)
    found: list[tuple[int, int]] = []
    for chosen in range(1 << _UNSURE):
        flipped = [u for u in range(_UNSURE) if chosen >> u & 1]
        wanted_n = code_n ^ unsure_nu[:, flipped].sum(1, dtype=np.uint64)
        first_n = np.searchsorted(sorted_n, wanted_n, "left")
        end_n = np.searchsorted(sorted_n, wanted_n, "right")
        for k in range(_COMPARED):
            (one_m,) = np.nonzero(first_n + k < end_n)
            other_m = order_n[first_n[one_m] + k]
            apart_m = np.abs(parts_np[one_m] - parts_np[other_m]).max(1, initial=0)
            same_m = (apart_m <= _LEVELS) & (one_m != other_m)
            found += zip(
                index_n[one_m[same_m]].tolist(), index_n[other_m[same_m]].tolist(), strict=True
            )
    return found


def _root(above: dict[int, int], image: int) -> int:
    while image in above:
        nearer = above[image]
        above[image] = above.get(nearer, nearer)  # halves the way for who comes next
        image = nearer
    return image


def _cosines(side: int) -> np.ndarray:
    """Return the first rows of the cosine transform: shape (`_FREQUENCIES`, side)."""
    at_x, frequency_f = np.arange(side) + 0.5, np.arange(_FREQUENCIES)
    return np.cos(np.pi / side * frequency_f[:, None] * at_x)
