"""Labelled image files that stay where they are: read one at a time, decoded by who asks."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from torch import Tensor

from resnets.core import progress
from resnets.core.errors import DataError
from resnets.data import images

SplitName = Literal["train", "validation"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation")

_SHOWN = 10  # unreadable files that `check` names; it counts all of them
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """One split of a data set of image files.

    Args:
        names: What each file is called, for messages and digests; unique.
        labels_n: int64, shape (n,), from 0.
        read: Returns the bytes of a file by its index. May be called from several threads.
    """

    names: tuple[str, ...]
    labels_n: Tensor
    read: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index_n: Tensor) -> "ImageFiles":
        """Return the images of those indices, in that order."""
        index = index_n.tolist()
        names = tuple(self.names[i] for i in index)
        return ImageFiles(names, self.labels_n[index_n], partial(_taken, self.read, index))

    def image(self, index: int) -> Image.Image:
        """Return an image, decoded by `images.decode`. May be called from several threads.

        Raises:
            DataError: Its file cannot be read, or is not an image that can be decoded.
        """
        return images.decode(self.read(index), self.names[index])


@dataclass(frozen=True, slots=True)
class FileData:
    """A data set of image files with the splits it has.

    Args:
        name: What it is: "imagenet", or the folder's name.
        where: What `--data` takes to open it again: an absolute path.
        classes: Class names in the order of the labels; None where the data gives only indices.
        splits: By name: "train", "validation".
        content: Identifies the files' bytes where they were changed (data/packs.py).
    """

    name: str
    where: str
    classes: tuple[str, ...] | None
    splits: Mapping[SplitName, ImageFiles]
    content: str | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """`classes`; where the data gives only indices, these, up to the highest that occurs."""
        if self.classes is not None:
            return self.classes
        highest = max(int(files.labels_n.max()) for files in self.splits.values())
        return tuple(map(str, range(highest + 1)))

    @property
    def digest(self) -> str:
        """Identify the list: SHA-256 over every split's file names and labels, 64 hex digits.

        Not over the files' content: ImageNet has 150 GB of it. Only where `content` tells it, over
        that too.
        """
        made = hashlib.sha256()
        for name in sorted(self.splits):
            files = self.splits[name]
            for file, label in zip(files.names, files.labels_n.tolist(), strict=True):
                made.update(f"{name}\t{file}\t{label}\n".encode("utf-8", "surrogateescape"))
        if self.content is not None:
            made.update(f"content\t{self.content}\n".encode())
        return made.hexdigest()

    def check(self) -> dict[str, int]:
        """Read and decode every image and return what there is; the first unreadable are named.

        Keys: `train_images` and `validation_images` for the splits there are, `classes` (with at
        least one image), `unreadable_images`, `repeated_images` (the same bytes as an earlier
        file, over all splits).
        """
        total = sum(map(len, self.splits.values()))
        unreadable, distinct = 0, set()
        with (
            progress.reporting("checking", total=total, unit="images") as bar,
            ThreadPoolExecutor(os.cpu_count()) as pool,
        ):
            for files in self.splits.values():
                for first in range(0, len(files), _AT_ONCE):
                    part = range(first, min(first + _AT_ONCE, len(files)))
                    for content, wrong in pool.map(partial(_examine, files), part):
                        distinct.add(content)
                        unreadable += wrong is not None
                        if wrong is not None and unreadable <= _SHOWN:
                            bar.say(wrong)
                    bar.advance(len(part))
        labels = {label for files in self.splits.values() for label in files.labels_n.tolist()}
        return {
            **{f"{name}_images": len(files) for name, files in self.splits.items()},
            "classes": len(labels),
            "unreadable_images": unreadable,
            "repeated_images": total - len(distinct),
        }


def reader(folder: Path, names: Sequence[str]) -> Callable[[int], bytes]:
    """Return the `read` of files in a folder.

    Args:
        folder: Where they are.
        names: Of each file, relative to the folder, with "/".
    """
    return partial(_read, str(folder), names)


def state(path: Path) -> tuple[int, int]:
    """Return what tells a file from another in its place: its size, and when it was changed."""
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _read(folder: str, names: Sequence[str], index: int) -> bytes:
    path = f"{folder}/{names[index]}"
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (fifty thousand times)
            return file.read()
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err


def _taken(read: Callable[[int], bytes], index: Sequence[int], i: int) -> bytes:
    return read(index[i])


def _examine(files: ImageFiles, index: int) -> tuple[bytes, str | None]:
    """Return what tells a file's content from another's, and what is wrong with it."""
    name = files.names[index]
    try:
        content = files.read(index)
    except DataError as err:
        return name.encode(), str(err)
    hashed = hashlib.sha256(content).digest()
    try:
        images.decode(content, name)
    except DataError as err:
        return hashed, str(err)
    return hashed, None
