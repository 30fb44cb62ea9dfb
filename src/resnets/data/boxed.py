"""What is odd in a data set with boxes, beyond its images: for the check of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from resnets.data.flaws import Flaw

CROWD: Final = "crowd"
DIFFICULT: Final = "difficult"


@dataclass(frozen=True, slots=True)
class Boxed:
    """The boxes of a split that is to be checked, beside their classes.

    Args:
        image_n: int64, shape (boxes,): the index of the image that each is in.
        side_px_n: float, shape (boxes,): of a square as large.
        sizes_n2: int64, shape (images, 2): what the annotations say of width and height; 0, 0 where
            they say nothing.
        flaws: What reading has put right already.
        annotated: Whether anybody drew boxes for this split.
        flags: How many boxes have each.
    """

    image_n: np.ndarray
    side_px_n: np.ndarray
    sizes_n2: np.ndarray
    flaws: Sequence[Flaw]
    annotated: bool
    flags: Mapping[str, int]

    def odd(self, names: Sequence[str], size_n2: np.ndarray) -> Iterator[tuple[str, str, str]]:
        """Yield the kind, the image's name and the why of whatever is odd.

        Args:
            names: Of the images.
            size_n2: int64, shape (images, 2): the width and height that they have; 0, 0 of those
                that cannot be read.
        """
        for flaw in self.flaws:
            yield flaw.kind, flaw.name, flaw.why
        known_n = (self.sizes_n2 > 0).all(1) & (size_n2 > 0).all(1)
        for index in np.flatnonzero(known_n & (self.sizes_n2 != size_n2).any(1)).tolist():
            said, found = self.sizes_n2[index].tolist(), size_n2[index].tolist()
            yield "size-mismatch", names[index], f"{_size(found)}, annotated as {_size(said)}"
        if self.annotated:
            boxes_n = np.bincount(self.image_n, minlength=len(names))
            for index in np.flatnonzero(boxes_n == 0).tolist():
                yield "empty-image", names[index], ""


def _size(sides: Sequence[int]) -> str:
    width, height = sides
    return f"{width:,} x {height:,} px"
