"""What an augmentation policy may do to one image: Pillow's operations, pure and without chance.

An image is uint8 RGB, (height, width, 3), as an array outside and as Pillow's inside. Pillow works
on one image in the calling thread, and lets other threads run meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Name = Literal[
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "solarize-add",
    "autocontrast",
    "equalize",
    "invert",
]
Interpolation = Literal["nearest", "bilinear", "bicubic"]

_FILTERS: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that is done to one image.

    Args:
        name: What is done.
        amount: How much of it. Shearing: pixels to the left (up) for each pixel down (to the
            right). Translating: pixels to the right (down). Rotating: degrees, counterclockwise.
            Brightness, colour, contrast, sharpness: 0 leaves none, 1 changes nothing. Posterizing:
            bits to keep, from 0 to 8. Solarizing: the least level that is inverted. `solarize-add`:
            levels that are added to those below 128. The others take none.
        interpolation: Of what is sheared, translated and rotated.
        fill_rgb: What comes in from beyond the edges.
    """

    name: Name
    amount: float = 0.0
    interpolation: Interpolation = "bilinear"
    fill_rgb: tuple[int, int, int] = (0, 0, 0)


def apply(pixels_hwc: np.ndarray, operations: tuple[Operation, ...]) -> np.ndarray:
    """Return the image after those operations, one after the other.

    Args:
        pixels_hwc: uint8, (height, width, 3). It is left as it is, and returned if there is no
            operation.
        operations: From `policies.choose`.

    Returns:
        uint8, (height, width, 3); perhaps not writable.
    """
    if not operations:
        return pixels_hwc
    image = Image.fromarray(pixels_hwc)
    for operation in operations:
        move = _MOVES.get(operation.name)
        image = move(image, operation) if move else _TONES[operation.name](image, operation.amount)
    return np.asarray(image)


def _shear_x(image: Image.Image, by: Operation) -> Image.Image:
    return _affine(image, (1, by.amount, 0, 0, 1, 0), _FILTERS[by.interpolation], by)


def _shear_y(image: Image.Image, by: Operation) -> Image.Image:
    return _affine(image, (1, 0, 0, by.amount, 1, 0), _FILTERS[by.interpolation], by)


def _translate_x(image: Image.Image, by: Operation) -> Image.Image:
    return _affine(image, (1, 0, -by.amount, 0, 1, 0), _filter_of_shift(by), by)


def _translate_y(image: Image.Image, by: Operation) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, -by.amount), _filter_of_shift(by), by)


def _rotate(image: Image.Image, by: Operation) -> Image.Image:
    return image.rotate(by.amount, _FILTERS[by.interpolation], fillcolor=by.fill_rgb)


def _filter_of_shift(by: Operation) -> Image.Resampling:
    # By whole pixels nothing is interpolated: the same levels at a twentieth of the time.
    whole = float(by.amount).is_integer()
    return Image.Resampling.NEAREST if whole else _FILTERS[by.interpolation]


def _affine(
    image: Image.Image, matrix: tuple[float, ...], taken: Image.Resampling, by: Operation
) -> Image.Image:
    kind = Image.Transform.AFFINE
    return image.transform(image.size, kind, matrix, taken, fillcolor=by.fill_rgb)


def _sharpness(image: Image.Image, factor: float) -> Image.Image:
    return Image.blend(Image.fromarray(_smoothed(np.asarray(image))), image, factor)


def _smoothed(pixels_hwc: np.ndarray) -> np.ndarray:
    """Return what Pillow's filter SMOOTH does, a fifth of the time: its edges stay as they are.

    A pixel counts five times, its eight neighbours once each. No thirteenth of a whole number is
    near a half, so rounding in whole numbers is rounding in real ones.
    """
    if min(pixels_hwc.shape[:2]) < 3:
        return pixels_hwc
    wide = pixels_hwc.astype(np.uint16)
    three = wide[:-2] + wide[1:-1] + wide[2:]
    total = three[:, :-2] + three[:, 1:-1] + three[:, 2:] + 4 * wide[1:-1, 1:-1]
    made = pixels_hwc.copy()
    made[1:-1, 1:-1] = (total + 6) // 13
    return made


def _posterize(image: Image.Image, bits: float) -> Image.Image:
    kept = 256 - 2 ** (8 - int(bits))
    return image.point([level & kept for level in range(256)] * 3)


def _solarize_add(image: Image.Image, added: float) -> Image.Image:
    table = [min(255, level + int(added)) if level < 128 else level for level in range(256)]
    return image.point(table * 3)


_MOVES: Final[dict[str, Callable[[Image.Image, Operation], Image.Image]]] = {
    "shear-x": _shear_x,
    "shear-y": _shear_y,
    "translate-x": _translate_x,
    "translate-y": _translate_y,
    "rotate": _rotate,
}
_TONES: Final[dict[str, Callable[[Image.Image, float], Image.Image]]] = {
    "brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "colour": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": lambda image, threshold: ImageOps.solarize(image, threshold),  # type: ignore[arg-type]
    "solarize-add": _solarize_add,
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
}
