"""From what IMAGE... says to pictures: files, folders, standard input."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from PIL import Image

from resnets.core.errors import ImageError
from resnets.data import folders, images

STANDARD_INPUT: Final = "-"
# Of the formats that are read only this one's files may be text: a magic number and two sizes.
_NETPBM: Final = re.compile(rb"P[1-6]\s+(#.*\s+)*\d+\s+\d+\s")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is read when it is wanted.

    Args:
        name: What to call it.
        read: Decodes it as 8-bit RGB, turned as its EXIF says; raises ImageError.
    """

    name: str
    read: Callable[[], Image.Image]


def find(named: Iterable[str], stdin: BinaryIO | None = None) -> list[Picture]:
    """Return the pictures that are named, in that order.

    A folder stands for every image in it and below, by name, without hidden ones. "-" is standard
    input: one picture, or the names of files and folders, a line each.

    Args:
        named: Files, folders, "-".
        stdin: Standard input; by default the process's.

    Raises:
        ImageError: A file does not exist, or a folder holds no image.
    """
    found: list[Picture] = []
    for name in named:
        if name == STANDARD_INPUT:
            found += _from_input((stdin or sys.stdin.buffer).read())
        else:
            found += _at(name)
    return found


def file(path: Path) -> Picture:
    """Return the picture in a file."""
    return Picture(str(path), partial(images.read_rgb, path))


def _from_input(content: bytes) -> Iterator[Picture]:
    """Tell a picture from a list of names."""
    binary = b"\0" in content or _NETPBM.match(content)
    try:
        text = None if binary else content.decode()
    except UnicodeDecodeError:
        text = None
    if text is None or not text.strip():
        yield Picture("standard input", partial(images.decode_photo, content, "standard input"))
        return
    for line in text.splitlines():
        if line.strip():
            yield from _at(line.strip())


def _at(named: str) -> list[Picture]:
    # Not Path's, which raises where a name begins with "~" and means no user.
    path = Path(os.path.expanduser(named))  # noqa: PTH111
    try:
        is_folder = path.is_dir()
        if not is_folder and not path.exists():
            raise ImageError(f"{path}: there is no such file")
    except OSError as err:  # a name longer than names may be
        raise ImageError(f"{str(path)[:100]}: cannot be read ({err.strerror})") from err
    return _below(path) if is_folder else [file(path)]


def _below(path: Path) -> list[Picture]:
    """Return the images in a folder and those below it; what begins with a dot is left out."""
    below: list[Path] = []
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if not name.startswith(".")]
        below += [Path(folder) / name for name in names if folders.is_image(name)]
    if not below:
        raise ImageError(
            f"{path}: no image in this folder (an image ends in {', '.join(folders.EXTENSIONS)})"
        )
    return [file(each) for each in sorted(below)]
