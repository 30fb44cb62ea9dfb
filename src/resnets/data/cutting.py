"""From the bytes of an image file to one resized box of it, decoding no more than that needs.

The reference is what torchvision does: decode all of the image, cut the box out, resize it with
antialiasing. How near the pixels are to those is in docs/images.md, and tests hold it.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from resnets.data import images, jpeg
from resnets.data.jpeg import Box
from resnets.data.preprocess import Interpolation


def cut(
    content: bytes,
    name: str,
    box_of: Callable[[int, int], Box],
    side_px: int,
    interpolation: Interpolation = "bilinear",
) -> np.ndarray:
    """Return a box of an image as a square: uint8, (side_px, side_px, 3).

    Plain JPEG files are decoded by `jpeg.decode`, which sees no damage below the box; everything
    else, and what that decoder refuses, by `images.decode`, with its pixels and its errors. May be
    called from several threads; none is started here.

    Args:
        content: The file's bytes.
        name: What to call it in a message.
        box_of: Takes the image's width and height and returns a box inside it, not empty.
        side_px: The side of the square.
        interpolation: How to resize, always with antialiasing.

    Raises:
        ImageError: As from `images.decode`.
    """
    return resized(*_decoded(content, name, box_of, side_px), side_px, interpolation)


def resized(
    pixels_hwc: np.ndarray, box: Box, side_px: int, interpolation: Interpolation
) -> np.ndarray:
    """Cut a box out and resize it with antialiasing; nothing beyond its edges is looked at."""
    left, top, right, bottom = box
    # numpy copies: torch would start threads of its own in every thread that calls it.
    box_hwc = np.ascontiguousarray(pixels_hwc[top:bottom, left:right])
    square = functional.interpolate(
        torch.from_numpy(box_hwc)[None].permute(0, 3, 1, 2),
        (side_px, side_px),
        mode=interpolation,
        antialias=True,
    )
    made: np.ndarray = square[0].permute(1, 2, 0).numpy()
    return made


def _decoded(
    content: bytes, name: str, box_of: Callable[[int, int], Box], side_px: int
) -> tuple[np.ndarray, Box]:
    laid = jpeg.layout(content)
    if laid is not None and images.is_taken(laid.width, laid.height):
        try:
            return jpeg.decode(content, laid, box_of(laid.width, laid.height), side_px)
        except ValueError:
            pass  # the reference says whether it is an image
    image = images.decode(content, name)
    return np.array(image), box_of(*image.size)
