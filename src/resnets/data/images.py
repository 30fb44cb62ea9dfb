"""From an image file to pixels.

Two ways, and docs/images.md says how each treats every odd kind of file: `decode` does what the
reference libraries do with the images of a data set, so that numbers can be compared;
`decode_photo` shows a user's photo to the network as a person would see it.
"""

import contextlib
import io
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from resnets.core.errors import ImageError

# A longer one would take gigabytes once its shorter side is resized to a network's 256 px.
LONGEST_RATIO: Final = 100
# By content, never by name. Pillow also opens kinds that it hands to another program to render.
_FORMATS: Final = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI"),
    *("TGA", "TIFF", "WEBP"),
)
# In which most files say their size; a few say it further on.
_HEADER_BYTES: Final = 65_536
# Python's filters of warnings belong to the whole process: one thread at a time may change them.
_filters: Final = threading.Lock()

T = TypeVar("T")


def decode(content: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file as torchvision's and timm's loaders do, as 8-bit RGB.

    That is Pillow's `convert("RGB")`: not turned as EXIF says, transparency dropped, 16 bits cut
    off at 255. May be called from several threads.

    Args:
        content: The file's bytes.
        name: What to call it in a message.

    Raises:
        ImageError: It cannot be decoded, would unpack to more pixels than Pillow considers safe,
            or is more than `LONGEST_RATIO` times as long as wide.
    """
    return _decoded(content, name, _as_the_reference)


def is_taken(width: int, height: int) -> bool:
    """Tell whether `decode` takes an image of that size."""
    most = Image.MAX_IMAGE_PIXELS
    few = most is None or width * height <= most
    return few and max(width, height) <= LONGEST_RATIO * min(width, height)


def decode_photo(content: bytes, name: str) -> Image.Image:
    """Decode the bytes of an image file, turned as its EXIF says, as 8-bit RGB.

    Raises:
        ImageError: As from `decode`.
    """
    return _decoded(content, name, lambda image: _as_seen(ImageOps.exif_transpose(image)))


def decode_and_look(
    content: bytes, name: str, look: Callable[[Image.Image], T]
) -> tuple[Image.Image, T]:
    """Decode as `decode` does, and return beside it what `look` finds in the file's own pixels.

    Args:
        content: The file's bytes.
        name: What to call it in a message.
        look: Is given the image before it becomes RGB; what it raises means a damaged image.

    Raises:
        ImageError: As from `decode`.
    """

    def both(image: Image.Image) -> tuple[Image.Image, T]:
        found = look(image)
        return _as_the_reference(image), found

    return _decoded(content, name, both)


def size(path: Path) -> tuple[int, int] | None:
    """Return from its header the width and height that an image has once `decode` read it.

    May be called from several threads.

    Returns:
        None where the file cannot be read or opened; `decode` says why.
    """
    try:
        with path.open("rb") as file:
            for first_bytes in (_HEADER_BYTES, None):
                file.seek(0)
                with contextlib.suppress(Exception), _opened(file.read(first_bytes)) as image:
                    return image.size if image.format in _FORMATS else None
    except OSError:
        return None
    return None


def has_more(content: bytes) -> bool:
    """Tell whether a file that can be decoded holds further pictures or pages after its first."""
    try:
        with _opened(content) as image:
            # A phone's MPO is a photo with a preview, or with its right-hand neighbour.
            return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # the second picture is damaged, and nobody reads it
        return False


def read_rgb(path: Path) -> Image.Image:
    """Read an image file with `decode_photo`.

    Raises:
        ImageError: There is no such file, or it is not an image that can be decoded.
    """
    if not path.exists():
        raise ImageError(f"{path}: there is no such file")
    if not path.is_file():
        raise ImageError(f"{path}: not a file; name image files")
    try:
        content = path.read_bytes()
    except OSError as err:
        raise ImageError(f"{path}: cannot be read ({err.strerror})") from err
    return decode_photo(content, str(path))


def _decoded(content: bytes, name: str, use: Callable[[Image.Image], T]) -> T:
    try:
        with _opened(content) as image:
            _check(image, name)
            return use(image)
    except ImageError:
        raise
    except UnidentifiedImageError as err:
        raise ImageError(f"{name}: not an image of a format that can be read") from err
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as err:
        raise ImageError(f"{name}: unpacks to too many pixels; make it smaller first") from err
    # Pillow's decoders raise many kinds on damaged files; each means the same to the user.
    except Exception as err:
        raise ImageError(f"{name}: a damaged image ({' '.join(str(err).split())[:100]})") from err


def _opened(content: bytes) -> Image.Image:
    """Read the header; Pillow's remarks on odd EXIF blocks are of no use to the user."""
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(content))


def _check(image: Image.Image, name: str) -> None:
    if image.format not in _FORMATS:
        raise ImageError(f"{name}: {image.format} is no format that can be read; make it a PNG")
    if max(image.size) > LONGEST_RATIO * min(image.size):
        raise ImageError(
            f"{name}: {image.width} x {image.height} pixels; at most {LONGEST_RATIO} times as "
            "long as wide, so cut it first"
        )


def _as_the_reference(image: Image.Image) -> Image.Image:
    image.load()
    # Without it Pillow warns that palette and transparency would need RGBA; same pixels.
    image.info.pop("transparency", None)
    return image.convert("RGB")


def _as_seen(image: Image.Image) -> Image.Image:
    """Convert any mode; Pillow alone would cut 16 bits off at 255 instead of scaling them."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).clip(0, 65_535) // 257
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
