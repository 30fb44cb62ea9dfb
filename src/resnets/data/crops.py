"""Training views of photos: a crop at a random scale, perhaps flipped, under another light."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image

from resnets.core import random
from resnets.core.errors import DataError
from resnets.core.spec import spec
from resnets.data import preprocess

# Of the covariance of RGB in [0, 1] over ImageNet's training set; a column is an eigenvector.
_EIGENVALUES: Final = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS: Final = np.array(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)
_LARGEST_PX: Final = 4096


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


@spec
class ResizedCrop:
    """Cut a rectangle of random area and shape, and resize it to a square; perhaps flip it.

    Source: Szegedy et al. 2014, sec. 6.
    """

    kind: Literal["resized-crop"] = "resized-crop"
    crop_px: int = 224
    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    interpolation: preprocess.Interpolation = "bilinear"
    flip: bool = True


@dataclass(frozen=True, slots=True)
class Cut:
    """Where one image is cut.

    Args:
        shorter_px: The shorter side to resize it to.
        down: How far down the crop is, of as far as it may be; in [0, 1).
        right: How far to the right, likewise.
        flip: Whether the crop is flipped.
    """

    shorter_px: int
    down: float
    right: float
    flip: bool


def choose(
    augment: ScaleCrop, seed: int, epoch: int, index_n: np.ndarray
) -> tuple[list[Cut], np.ndarray]:
    """Return what is done to those images in that epoch: a function of these causes alone.

    Returns:
        How each is cut, and what is added to its RGB in [0, 1]: float32, (n, 3).
    """
    cause = (seed, "augment")
    least, greatest = augment.shorter_px
    shorter_n = least + random.integers(
        *cause, "shorter", epoch, index_n=index_n, below=greatest - least + 1
    )
    down_n, right_n = (
        random.uniforms(*cause, what, epoch, index_n=index_n) for what in ("down", "right")
    )
    flip_n = random.integers(*cause, "flip", epoch, index_n=index_n, below=2 if augment.flip else 1)
    colours = [
        random.normals(*cause, "lighting", epoch, colour, index_n=index_n) for colour in range(3)
    ]
    drawn = zip(shorter_n.tolist(), down_n.tolist(), right_n.tolist(), flip_n == 1, strict=True)
    cuts = [Cut(shorter, down, right, bool(flip)) for shorter, down, right, flip in drawn]
    return cuts, lighting(augment.lighting_std * np.stack(colours, axis=1))


def lighting(amounts_n3: np.ndarray) -> np.ndarray:
    """Return what to add to RGB in [0, 1], float32, (n, 3), for amounts of the principal colours.

    Source: Krizhevsky et al. 2012, sec. 4.1.
    """
    added: np.ndarray = (amounts_n3 * _EIGENVALUES) @ _EIGENVECTORS.T
    return added.astype(np.float32)


def view(image: Image.Image, crop_px: int, cut: Cut) -> np.ndarray:
    """Return the crop of a resized image: uint8, (crop_px, crop_px, 3).

    Only what is cut out is resized, with antialiasing, which sees the pixels around it too: the
    result is that of resizing the whole image and then cutting, but for rounding.
    """
    width, height = preprocess.resized(image.size, cut.shorter_px)
    left = int(cut.right * (width - crop_px + 1))
    top = int(cut.down * (height - crop_px + 1))
    x, y = image.width / width, image.height / height
    box = (
        left * x,
        top * y,
        # A last bit beyond the edge would be refused.
        min((left + crop_px) * x, image.width),
        min((top + crop_px) * y, image.height),
    )
    cropped = image.resize((crop_px, crop_px), preprocess.FILTERS["bilinear"], box=box)
    pixels = np.asarray(cropped)
    return pixels[:, ::-1] if cut.flip else pixels
