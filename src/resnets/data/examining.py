"""What one image of a data set is, beyond its pixels: why it cannot be read, what is odd in it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from resnets.core.errors import DataError, ImageError
from resnets.data import images

# Why an image cannot be used.
Trouble = Literal["truncated", "not-an-image", "empty-file", "damaged", "refused", "cannot-be-read"]
# What a user may not expect of one that can.
Oddity = Literal[
    "deep",
    "turned",
    "tiny",
    "long",
    "grey",
    "alpha",
    "palette",
    "other-colours",
    "moving",
    "wrong-extension",
]

THUMB_PX: Final = 32
TINY_PX: Final = 32
LONG_RATIO: Final = 4
CONTENT_BYTES: Final = 16  # of a SHA-256: enough to tell any number of files apart

_ORIENTATION: Final = 0x0112  # the EXIF tag
_UPRIGHT: Final = 1
# Pillow's modes; docs/images.md says what `decode` makes of each.
_GREY: Final = ("1", "L", "LA", "La")
_ALPHA: Final = ("RGBA", "RGBa", "LA", "La", "PA")
_PALETTE: Final = ("P", "PA")
_OTHER_COLOURS: Final = ("CMYK", "YCbCr", "LAB", "HSV")
# What a name that ends so promises; a name that ends in anything else promises nothing.
_FORMATS_BY_EXTENSION: Final = {
    "jpg": ("JPEG", "MPO"),
    "jpeg": ("JPEG", "MPO"),
    "png": ("PNG",),
    "bmp": ("BMP", "DIB"),
    "gif": ("GIF",),
    "ppm": ("PPM",),
    "pgm": ("PPM",),
    "tif": ("TIFF",),
    "tiff": ("TIFF",),
    "webp": ("WEBP",),
}


@dataclass(frozen=True, slots=True)
class Good:
    """An image that can be decoded.

    Args:
        content: Tells its bytes from any others: `CONTENT_BYTES` of their SHA-256.
        width_px: As it is stored: EXIF does not turn it.
        height_px: The same.
        mode: Pillow's name of its colours, e.g. "RGB".
        format: Pillow's name, e.g. "JPEG"; None of pixels in memory.
        oddities: What is odd in it.
        thumb_hw: It in grey, squeezed: uint8, shape (`THUMB_PX`, `THUMB_PX`).
    """

    content: bytes
    width_px: int
    height_px: int
    mode: str
    format: str | None
    oddities: tuple[Oddity, ...]
    thumb_hw: np.ndarray


@dataclass(frozen=True, slots=True)
class Bad:
    """An image that cannot be used, and why: in a word and in a message."""

    trouble: Trouble
    message: str


def file(read: Callable[[], bytes], name: str) -> Good | Bad:
    """Read and decode one image of a data set as training does. May be called from any thread.

    Args:
        read: Returns its bytes.
        name: What the data set calls it.
    """
    try:
        content = read()
    except DataError as err:
        return Bad("cannot-be-read", str(err))
    if not content:
        return Bad("empty-file", f"{name}: no bytes are in it")
    try:
        rgb, (mode, format_, oddities) = images.decode_and_look(content, name, _look)
    except ImageError as err:
        return Bad(_trouble(err), str(err))
    named = _FORMATS_BY_EXTENSION.get(name.rpartition(".")[2].lower())
    if format_ != "JPEG" and images.has_more(content):
        oddities.append("moving")
    if named is not None and format_ not in named:
        oddities.append("wrong-extension")
    return Good(
        content=hashlib.sha256(content).digest()[:CONTENT_BYTES],
        width_px=rgb.width,
        height_px=rgb.height,
        mode=mode,
        format=format_,
        oddities=tuple(oddities),
        thumb_hw=_thumb(rgb),
    )


def pixels(image_hwc: np.ndarray) -> Good:
    """Examine an image that is in memory: uint8, shape (height, width, 3), RGB."""
    height, width, _ = image_hwc.shape
    return Good(
        content=hashlib.sha256(np.ascontiguousarray(image_hwc).data).digest()[:CONTENT_BYTES],
        width_px=width,
        height_px=height,
        mode="RGB",
        format=None,
        oddities=(),
        thumb_hw=_thumb(Image.fromarray(image_hwc)),
    )


def _trouble(err: ImageError) -> Trouble:
    """Tell from what Pillow raised, which is the cause; without one we refused the image."""
    cause = err.__cause__
    if cause is None or isinstance(
        cause, Image.DecompressionBombWarning | Image.DecompressionBombError
    ):
        return "refused"
    if isinstance(cause, UnidentifiedImageError):
        return "not-an-image"
    return "truncated" if "truncated" in str(cause).lower() else "damaged"


def _look(image: Image.Image) -> tuple[str, str | None, list[Oddity]]:
    mode, transparent = image.mode, "transparency" in image.info
    image.load()  # before EXIF is asked for: it may follow the pixels, or be heeded by loading
    shorter, longer = sorted(image.size)
    found: dict[Oddity, bool] = {
        "deep": mode.startswith(("I", "F")),
        "turned": _orientation(image) != _UPRIGHT,
        "tiny": shorter < TINY_PX,
        "long": longer > LONG_RATIO * shorter,
        "grey": mode in _GREY,
        "alpha": mode in _ALPHA or transparent,
        "palette": mode in _PALETTE,
        "other-colours": mode in _OTHER_COLOURS,
    }
    return mode, image.format, [oddity for oddity, there in found.items() if there]


def _orientation(image: Image.Image) -> int:
    try:
        given = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # damaged EXIF, which `decode` never looks at
        return _UPRIGHT
    return given if given in range(1, 9) else _UPRIGHT


def _thumb(rgb: Image.Image) -> np.ndarray:
    side = (THUMB_PX, THUMB_PX)
    # The gap lets Pillow first average whole blocks of a large image, which is quick.
    small = rgb.resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small.convert("L"))
