"""The paper's ways of testing: which views of an image a network sees, and what is averaged."""

import math
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core.errors import DataError
from resnets.data import preprocess
from resnets.data.preprocess import Preprocess

Protocol = Literal["single-crop", "ten-crop", "multi-scale"]

# He et al. 2015, sec. 3.4: the shorter side of images that were trained on in crops of 224 px.
SCALES: Final = (224, 256, 384, 480, 640)
_PAPER_CROP_PX: Final = 224

# Views to score together: measured for ResNet-50 (docs/lab-log.md).
TOGETHER: Final = {"cpu": 16, "cuda": 256}

# Takes uint8 images of one size, (n, h, w, 3), and returns the logarithms of the softmax scores of
# each, float32, (n, classes). Averages are of the scores; logarithms keep small ones apart.
LogScoresOf = Callable[[Tensor], Tensor]


def of_image(image: Image.Image, wanted: Preprocess, protocol: Protocol) -> list[np.ndarray]:
    """Return every view of an image: uint8, (h, w, 3) each.

    single-crop: the central square. ten-crop: four corners, the central square, and their flips;
    all of one size. multi-scale: the whole image at five sizes, and their flips.

    Args:
        image: 8-bit RGB of any size.
        wanted: How the network wants its images.
        protocol: The way of testing.

    Source: He et al. 2015, sec. 3.4; Krizhevsky et al. 2012, sec. 4.1, for the ten crops.
    """
    if protocol == "multi-scale":
        sized = [
            np.asarray(preprocess.resize(image, side, wanted.interpolation))
            for side in scales(wanted)
        ]
        return [view for whole in sized for view in (whole, whole[:, ::-1])]
    if protocol == "single-crop":
        return [preprocess.central(image, wanted)]
    resized = preprocess.resize(image, wanted.resize_px, wanted.interpolation)
    centre = preprocess.crop(resized, wanted.crop_px)
    whole, side = np.asarray(resized), wanted.crop_px
    corners = [whole[rows, columns] for rows in _ends(side) for columns in _ends(side)]
    return [view for crop in (*corners, centre) for view in (crop, crop[:, ::-1])]


def scales(wanted: Preprocess) -> tuple[int, ...]:
    """Return the five shorter sides in pixels, in proportion to the crop the network was made for.

    Source: He et al. 2015, sec. 3.4.
    """
    return tuple(round(side * wanted.crop_px / _PAPER_CROP_PX) for side in SCALES)


def check(wanted: Preprocess, protocol: Protocol) -> None:
    """Refuse ten crops that would all be the same.

    Raises:
        DataError: They would.
    """
    if protocol == "ten-crop" and wanted.resize_px == wanted.crop_px:
        raise DataError(
            f"--protocol ten-crop: this network takes whole images of {wanted.crop_px} px, so "
            "there is nothing to crop; use single-crop or multi-scale"
        )


def describe(wanted: Preprocess, protocol: Protocol) -> str:
    """Return a protocol with every number, for whoever wants to compare or repeat it."""
    how = f"{wanted.interpolation} with antialiasing"
    if protocol == "multi-scale":
        sides = ", ".join(map(str, scales(wanted)))
        return (
            f"multi-scale: the whole image and its flip at shorter sides {sides} px ({how}), "
            "fully convolutional, mean of softmax over places, flips and scales"
        )
    resized = f"shorter side {wanted.resize_px} px ({how})"
    if protocol == "single-crop":
        return f"single-crop: {resized}, central {wanted.crop_px} px"
    return (
        f"ten-crop: {resized}, four corners and centre of {wanted.crop_px} px and their flips, "
        "mean of softmax"
    )


def log_scores(
    views: Sequence[Sequence[np.ndarray]], scores_of: LogScoresOf, at_once: int
) -> Tensor:
    """Return the logarithm of each image's mean score over its views: float32, (n, classes).

    The result is on the CPU.

    Args:
        views: Those of each image; the same number for each.
        scores_of: Scores views of one size.
        at_once: How many views to score together; it changes no result but by rounding.
    """
    flat = [view for ofimage in views for view in ofimage]
    found: list[Tensor | None] = [None] * len(flat)
    by_size: dict[tuple[int, ...], list[int]] = {}
    for i, view in enumerate(flat):
        by_size.setdefault(view.shape, []).append(i)
    for indices in by_size.values():
        # Parts of one size, as far as may be: a last one of a single view is slow.
        for part in np.array_split(indices, math.ceil(len(indices) / at_once)):
            scores = scores_of(torch.from_numpy(np.stack([flat[i] for i in part])))
            for i, row in zip(part, scores.cpu(), strict=True):
                found[i] = row
    rows = torch.stack([row for row in found if row is not None])
    return log_mean(rows.view(len(views), -1, rows.shape[1]), dim=1)


def log_mean(log_scores: Tensor, dim: int) -> Tensor:
    """Return the logarithm of the mean of scores that are given by their logarithms."""
    count = log_scores.shape[dim]
    if count == 1:  # as it is, to the last bit
        return log_scores.squeeze(dim)
    return log_scores.logsumexp(dim) - math.log(count)


def _ends(side_px: int) -> tuple[slice, slice]:
    return slice(None, side_px), slice(-side_px, None)
