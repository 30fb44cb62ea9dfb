"""From a decoded image to what a network was trained to see."""

import math
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core.errors import DataError
from resnets.core.spec import spec

Interpolation = Literal["bilinear", "bicubic"]
FILTERS: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Of RGB in [0, 1], over ImageNet's training set.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# How much of red, green and blue is in a brightness: ITU-R BT.601, as Pillow's mode L has it.
LUMA: Final = (0.299, 0.587, 0.114)


@spec
class Preprocess:
    """How a network wants its images: the size, and what is subtracted and divided by.

    `mean` and `std` are of RGB in [0, 1]. Without a mean the checkpoint holds one of every pixel,
    the tensor `preprocess.mean`.
    """

    resize_px: int  # the shorter side
    crop_px: int  # the central square
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] | None = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 1 <= self.crop_px <= self.resize_px <= 4096:
            raise DataError(
                f"preprocessing: a crop of {self.crop_px} px from a shorter side of "
                f"{self.resize_px} px; needs 1 <= crop <= resize <= 4096"
            )
        if not all(0 < std < math.inf for std in self.std):
            raise DataError(f"preprocessing.std: must be positive, got {self.std}")
        if self.mean is not None and not all(map(math.isfinite, self.mean)):
            raise DataError(f"preprocessing.mean: must be finite, got {self.mean}")


def as_channels(images_nchw: Tensor, channels: int) -> Tensor:
    """Return prepared images for a network that takes so many channels of them.

    Args:
        images_nchw: Normalised RGB, (n, 3, h, w).
        channels: 3, or 1 for the brightness of each pixel. Of a grey picture that is its level,
            normalised with `grey`.
    """
    if channels != 1:
        return images_nchw
    luma = torch.tensor(LUMA, device=images_nchw.device).view(1, 3, 1, 1)
    return (images_nchw * luma).sum(1, keepdim=True)


def grey(mean_c: Tensor, std_c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation of a grey level that RGB's come to by `as_channels`.

    Args:
        mean_c: Of RGB in [0, 1], (3,).
        std_c: The same.
    """
    share_c = torch.tensor(LUMA, device=std_c.device) / std_c
    return (share_c * mean_c).sum() / share_c.sum(), 1 / share_c.sum()


def resize(image: Image.Image, side_px: int, interpolation: Interpolation) -> Image.Image:
    """Resize the shorter side, with antialiasing; the longer side is rounded down.

    An image that has the side already is returned as it is.
    """
    if min(image.size) == side_px:
        return image
    return image.resize(resized(image.size, side_px), FILTERS[interpolation])


def resized(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    """Return the width and height of an image once its shorter side is resized."""
    width, height = size
    longer = side_px * max(size) // min(size)
    return (side_px, longer) if width <= height else (longer, side_px)


def central(image: Image.Image, wanted: Preprocess) -> np.ndarray:
    """Return the one view a network is usually given: uint8, shape (crop_px, crop_px, 3)."""
    return crop(resize(image, wanted.resize_px, wanted.interpolation), wanted.crop_px)


def corner(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    """Return the left and the top of the central square of an image of that width and height.

    Half a pixel too many goes as torchvision's `CenterCrop` has it: to the nearest even number.
    """
    width, height = size
    return round((width - side_px) / 2), round((height - side_px) / 2)


def crop(image: Image.Image, side_px: int) -> np.ndarray:
    """Return the central square: uint8, shape (side_px, side_px, 3)."""
    left, top = corner(image.size, side_px)
    return np.array(image.crop((left, top, left + side_px, top + side_px)))
