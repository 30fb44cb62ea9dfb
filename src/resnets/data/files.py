"""Labelled image files that stay where they are: read one at a time, decoded by who asks."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from PIL import Image
from torch import Tensor

from resnets.core.errors import DataError
from resnets.data import checking, examining, images
from resnets.data.checking import Split
from resnets.data.examining import Bad, Good
from resnets.data.findings import Report

SplitName = Literal["train", "validation"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "validation")


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

    def examine(self, index: int) -> Good | Bad:
        """Say what an image is, or why it cannot be used. May be called from several threads."""
        return examining.file(partial(self.read, index), self.names[index])


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
                line = f"{name}\t{file}\t{label}\n"
                made.update(line.encode("utf-8", "surrogateescape"))  # a name may be any bytes
        if self.content is not None:
            made.update(f"content\t{self.content}\n".encode())
        return made.hexdigest()

    def check(self) -> Report:
        """Read and decode every image, and return what is there and what is wrong with it."""
        return checking.check(
            [
                Split(name, files.names, files.labels_n, files.examine)
                for name, files in self.splits.items()
            ],
            data=self.name,
            where=self.where,
            digest=self.digest,
            classes=self.class_names,
        )


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
