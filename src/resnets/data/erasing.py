"""Random erasing: a rectangle of a normalised image becomes zero, which is the mean colour."""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core import random
from resnets.core.errors import DataError
from resnets.core.spec import spec

_ATTEMPTS: Final = 10


@spec
class RandomErasing:
    """Erase a rectangle of some images.

    Args:
        probability: That an image is erased at all.
        area: The least and the greatest share of the image that is erased, each between as likely.
        ratio: The least and the greatest height over width; its logarithm is spread evenly.

    Source: Zhong et al. 2020, with torchvision's ranges and even logarithms.
    """

    probability: float = 0.1
    area: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise DataError(f"erasing.probability: must be from 0 to 1, got {self.probability}")
        least, greatest = self.area
        if not 0 <= least <= greatest <= 1:
            raise DataError(
                "erasing.area: must be two shares from 0 to 1, the lesser first, got "
                f"{least} and {greatest}"
            )
        low, high = self.ratio
        if not 0 < low <= high < math.inf:
            raise DataError(
                "erasing.ratio: must be two positive numbers, the lesser first, got "
                f"{low} and {high}"
            )


def choose(
    erasing: RandomErasing, seed: int, epoch: int, index_n: np.ndarray, *, image_px: int
) -> np.ndarray:
    """Return what is erased of those images in that epoch: a function of these causes alone.

    A rectangle that isn't smaller than the image in both directions is drawn again, ten times at
    most; then nothing is erased.

    Returns:
        Top, left, bottom, right in pixels, the last two excluded: int64, (n, 4); all zero where
        nothing is erased.
    """

    def between(limits: tuple[float, float], *what: int | str) -> np.ndarray:
        low, high = limits
        drawn = random.uniforms(seed, "erase", epoch, *what, index_n=index_n)
        return low + (high - low) * drawn

    boxes_n4 = np.zeros((len(index_n), 4), np.int64)
    open_n = between((0, 1), "whether") < erasing.probability
    low, high = erasing.ratio
    for attempt in range(_ATTEMPTS):
        area_n = image_px**2 * between(erasing.area, "area", attempt)
        ratio_n = np.exp(between((math.log(low), math.log(high)), "ratio", attempt))
        height_n = np.rint(np.sqrt(area_n * ratio_n)).astype(np.int64)
        width_n = np.rint(np.sqrt(area_n / ratio_n)).astype(np.int64)
        top_n = (between((0, 1), "down", attempt) * (image_px - height_n + 1)).astype(np.int64)
        left_n = (between((0, 1), "right", attempt) * (image_px - width_n + 1)).astype(np.int64)
        drawn_n4 = np.stack([top_n, left_n, top_n + height_n, left_n + width_n], axis=1)
        fits_n = open_n & (height_n < image_px) & (width_n < image_px)
        boxes_n4[fits_n] = drawn_n4[fits_n]
        open_n &= ~fits_n
    return boxes_n4


def erase(images_nchw: Tensor, boxes_n4: Tensor) -> Tensor:
    """Return the images with zeros in those boxes: no randomness here, and nothing in place.

    Args:
        images_nchw: Normalised, on any device.
        boxes_n4: From `choose`, on the same device.
    """
    top, left, bottom, right = boxes_n4.T[:, :, None]
    rows = torch.arange(images_nchw.shape[2], device=images_nchw.device)
    columns = torch.arange(images_nchw.shape[3], device=images_nchw.device)
    within_nh = (rows >= top) & (rows < bottom)
    within_nw = (columns >= left) & (columns < right)
    within_n1hw = within_nh[:, None, :, None] & within_nw[:, None, None, :]
    return images_nchw.clone().masked_fill_(within_n1hw, 0)
