"""Training views of photos: which box of an image, whether flipped, under which light.

What is drawn for an image does not depend on its size, so that it can be drawn before the file is
read; a cut makes it a box once the size is known. `cutting.cut` makes the box a square of pixels.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np

from resnets.core import random
from resnets.core.errors import DataError
from resnets.core.spec import spec
from resnets.data import preprocess
from resnets.data.jpeg import Box
from resnets.data.preprocess import Interpolation

# Of the covariance of RGB in [0, 1] over ImageNet's training set; a column is an eigenvector.
_EIGENVALUES: Final = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS: Final = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_LARGEST_PX: Final = 4096
_TRIES: Final = 10


@spec
class ScaleCrop:
    """Resize the shorter side to a random length, crop at a random place, flip, change the light.

    Args:
        shorter_px: The least and the greatest length of the shorter side, each as likely as any
            whole number between them.
        crop_px: The side of the square that is cut out.
        flip: Whether to flip every second image or so.
        lighting_std: Standard deviation of the amounts of the three principal colours that are
            added, in units of their eigenvalues; 0 adds nothing.

    Source: He et al. 2015, sec. 3.4; Krizhevsky et al. 2012, sec. 4.1, for the colours.
    """

    kind: Literal["scale-crop"] = "scale-crop"
    shorter_px: tuple[int, int] = (256, 480)
    crop_px: int = 224
    flip: bool = True
    lighting_std: float = 0.1

    def __post_init__(self) -> None:
        least, greatest = self.shorter_px
        if not 1 <= least <= greatest <= _LARGEST_PX:
            raise DataError(
                "data.augment.shorter_px: must be two lengths from 1 to "
                f"{_LARGEST_PX}, the lesser first, got {least} and {greatest}"
            )
        if not 1 <= self.crop_px <= least:
            raise DataError(
                f"data.augment.crop_px: must be from 1 to {least}, the least shorter_px, got "
                f"{self.crop_px}"
            )
        if not 0 <= self.lighting_std < math.inf:
            raise DataError(
                f"data.augment.lighting_std: must not be negative, got {self.lighting_std}"
            )

    @property
    def interpolation(self) -> Interpolation:
        """How to resize; the paper does not say."""
        return "bilinear"


@spec
class ResizedCrop:
    """Cut out a box of a random area and aspect ratio at a random place, resize it, flip.

    Args:
        crop_px: The side of the square that it becomes.
        area: The least and the greatest share of the image's area, uniform between them.
        ratio: The least and the greatest ratio of width to height, its logarithm uniform.
        interpolation: How to resize, always with antialiasing.
        flip: Whether to flip every second image or so.

    Source: Szegedy et al. 2014, sec. 6; https://docs.pytorch.org/vision/stable/transforms.html, for
    ten tries and what is taken after them.
    """

    kind: Literal["resized-crop"] = "resized-crop"
    crop_px: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    flip: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= _LARGEST_PX:
            raise DataError(
                f"data.augment.crop_px: must be from 1 to {_LARGEST_PX}, got {self.crop_px}"
            )
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise DataError(
                "data.augment.area: must be two shares above 0 and up to 1, the lesser first, got "
                f"{self.area[0]} and {self.area[1]}"
            )
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise DataError(
                "data.augment.ratio: must be two ratios above 0, the lesser first, got "
                f"{self.ratio[0]} and {self.ratio[1]}"
            )

    @property
    def mean_side(self) -> float:
        """The mean of the root of a box's share of the image: what part of a side is seen."""
        least, most = self.area
        if least == most:
            return math.sqrt(least)
        return 2 / 3 * (math.pow(most, 1.5) - math.pow(least, 1.5)) / (most - least)


class Cut(Protocol):
    """Where one image is cut, and whether what is cut out is flipped."""

    @property
    def flip(self) -> bool:
        """Whether what is cut out is flipped."""

    def box(self, width: int, height: int) -> Box:
        """Return the box for an image of that size: inside it and not empty."""


@dataclass(frozen=True, slots=True)
class ScaleCut:
    """What was drawn for one image by `ScaleCrop`.

    Args:
        shorter_px: The shorter side to resize it to.
        crop_px: The side of the square that is then cut out.
        down: How far down the crop is, of as far as it may be; in [0, 1).
        right: How far to the right, likewise.
        flip: Whether the crop is flipped.
    """

    shorter_px: int
    crop_px: int
    down: float
    right: float
    flip: bool

    def box(self, width: int, height: int) -> Box:
        """Return the box that becomes the crop.

        Deviation: its edges are rounded to whole pixels of the image, so that only the box is
        decoded and resized, and nothing beyond it is looked at.
        """
        wide, high = preprocess.resized((width, height), self.shorter_px)
        left, right = self._edges(self.right, width, wide)
        top, bottom = self._edges(self.down, height, high)
        return left, top, right, bottom

    def _edges(self, place: float, whole: int, resized: int) -> tuple[int, int]:
        first = int(place * (resized - self.crop_px + 1))
        low, high = (round(at * whole / resized) for at in (first, first + self.crop_px))
        low = min(low, whole - 1)
        return low, max(high, low + 1)


@dataclass(frozen=True, slots=True)
class ResizedCut:
    """What was drawn for one image by `ResizedCrop`.

    Args:
        tries: Shares of the area and ratios of width to height, to be tried one after the other.
        ratio: The least and the greatest ratio, for when none of the tries fits.
        down: How far down the box is, of as far as it may be; in [0, 1).
        right: How far to the right, likewise.
        flip: Whether the crop is flipped.
    """

    tries: tuple[tuple[float, float], ...]
    ratio: tuple[float, float]
    down: float
    right: float
    flip: bool

    def box(self, width: int, height: int) -> Box:
        """Return the first try's box that fits; if none does, the middle of the image."""
        for share, ratio in self.tries:
            area = share * width * height
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                left = int(self.right * (width - wide + 1))
                top = int(self.down * (height - high + 1))
                return left, top, left + wide, top + high
        return self._middle(width, height)

    def _middle(self, width: int, height: int) -> Box:
        """Return as much of the middle as has an aspect ratio that is allowed."""
        least, greatest = self.ratio
        wide = max(1, min(width, round(height * greatest)))
        high = max(1, min(height, round(width / least)))
        left, top = (width - wide) // 2, (height - high) // 2
        return left, top, left + wide, top + high


def choose(
    augment: ScaleCrop | ResizedCrop, seed: int, epoch: int, index_n: np.ndarray
) -> tuple[list[Cut], np.ndarray | None]:
    """Return what is done to those images in that epoch: a function of these causes alone.

    Returns:
        How each is cut, and what is added to its RGB in [0, 1]: float32, (n, 3), None for nothing.
    """

    def uniforms(*what: int | str) -> np.ndarray:
        return random.uniforms(seed, "augment", *what, epoch, index_n=index_n)

    down_n, right_n = uniforms("down").tolist(), uniforms("right").tolist()
    below = 2 if augment.flip else 1
    drawn_n = random.integers(seed, "augment", "flip", epoch, index_n=index_n, below=below)
    placed = list(zip(down_n, right_n, (drawn_n == 1).tolist(), strict=True))
    if isinstance(augment, ResizedCrop):
        areas_tn = _between(augment.area, [uniforms("area", i) for i in range(_TRIES)])
        logarithms = (math.log(augment.ratio[0]), math.log(augment.ratio[1]))
        ratios_tn = np.exp(_between(logarithms, [uniforms("ratio", i) for i in range(_TRIES)]))
        tries_nt2 = np.stack([areas_tn, ratios_tn], axis=-1).transpose(1, 0, 2).tolist()
        return [
            ResizedCut(tuple(map(tuple, tries)), augment.ratio, *place)
            for tries, place in zip(tries_nt2, placed, strict=True)
        ], None
    least, greatest = augment.shorter_px
    shorter_n = least + random.integers(
        seed, "augment", "shorter", epoch, index_n=index_n, below=greatest - least + 1
    )
    cuts: list[Cut] = [
        ScaleCut(shorter, augment.crop_px, *place)
        for shorter, place in zip(shorter_n.tolist(), placed, strict=True)
    ]
    return cuts, _lights(augment, seed, epoch, index_n)


def lighting(amounts_n3: np.ndarray) -> np.ndarray:
    """Return what to add to RGB in [0, 1], float32, (n, 3), for amounts of the principal colours.

    Source: Krizhevsky et al. 2012, sec. 4.1.
    """
    added: np.ndarray = (amounts_n3 * _EIGENVALUES) @ _EIGENVECTORS.T
    return added.astype(np.float32)


def _lights(augment: ScaleCrop, seed: int, epoch: int, index_n: np.ndarray) -> np.ndarray | None:
    if augment.lighting_std == 0:
        return None
    amounts = [
        random.normals(seed, "augment", "lighting", epoch, colour, index_n=index_n)
        for colour in range(3)
    ]
    return lighting(augment.lighting_std * np.stack(amounts, axis=1))


def _between(ends: tuple[float, float], uniforms: list[np.ndarray]) -> np.ndarray:
    """Return uniforms, as many rows as there are, stretched to what lies between two ends."""
    low, high = ends
    stretched: np.ndarray = low + (high - low) * np.stack(uniforms)
    return stretched
