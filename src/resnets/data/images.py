"""From an image file to pixels."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from resnets.core.errors import ImageError


def read_rgb(path: Path) -> Image.Image:
    """Decode an image file, turned as its EXIF says, as 8-bit RGB.

    Raises:
        ImageError: There is no such file, or it cannot be decoded, or it would unpack to more
            pixels than Pillow considers safe.
    """
    if not path.exists():
        raise ImageError(f"{path}: there is no such file")
    if not path.is_file():
        raise ImageError(f"{path}: not a file; name image files")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as err:
        raise ImageError(f"{path}: not an image of a format that can be read") from err
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as err:
        raise ImageError(f"{path}: unpacks to too many pixels; make it smaller first") from err
    # Pillow's decoders raise many kinds on damaged files; each means the same to the user.
    except Exception as err:
        raise ImageError(f"{path}: a damaged image ({' '.join(str(err).split())[:100]})") from err


def centre(image: Image.Image, side_px: int) -> np.ndarray:
    """Cut out the central square and resize it: uint8, shape (side_px, side_px, 3).

    An image of exactly that size is returned as it is. Bicubic with antialiasing.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    if side != side_px:
        square = square.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.array(square)


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode; Pillow alone would cut 16 bits off at 255 instead of scaling them."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).clip(0, 65_535) // 257
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
