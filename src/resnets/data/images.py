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
    if not path.is_file():
        raise ImageError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return ImageOps.exif_transpose(image).convert("RGB")
    except UnidentifiedImageError as err:
        raise ImageError(f"{path}: not an image of a format that can be read") from err
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as err:
        raise ImageError(f"{path}: unpacks to too many pixels; make it smaller first") from err
    # Pillow's decoders raise many kinds on damaged files; each means the same to the user.
    except Exception as err:
        raise ImageError(f"{path}: a damaged image ({' '.join(str(err).split())[:100]})") from err


def centre(image: Image.Image, side_px: int) -> np.ndarray:
    """Resize the shorter side to `side_px` and cut out the centre: uint8 (side, side, 3).

    An image of exactly that size is returned as it is. Bicubic with antialiasing.
    """
    scale = side_px / min(image.size)
    size = (max(side_px, round(image.width * scale)), max(side_px, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - side_px) // 2, (size[1] - side_px) // 2
    return np.array(image.crop((left, top, left + side_px, top + side_px)))
