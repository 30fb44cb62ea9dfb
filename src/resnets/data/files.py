"""Labelled image files that stay where they are: read one at a time, decoded by who asks."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor


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


@dataclass(frozen=True, slots=True)
class FileData:
    """A data set of image files with the splits it has.

    Args:
        name: What it is: "imagenet", or the folder's name.
        where: What `--data` takes to open it again: an absolute path.
        classes: Class names in the order of the labels; None where the data gives only indices.
        splits: By name: "train", "validation".
    """

    name: str
    where: str
    classes: tuple[str, ...] | None
    splits: Mapping[Literal["train", "validation"], ImageFiles]

    @property
    def digest(self) -> str:
        """Identify the list: SHA-256 over every split's file names and labels, 64 hex digits.

        Not over the files' content: ImageNet has 150 GB of it.
        """
        made = hashlib.sha256()
        for name in sorted(self.splits):
            files = self.splits[name]
            for file, label in zip(files.names, files.labels_n.tolist(), strict=True):
                made.update(f"{name}\t{file}\t{label}\n".encode())
        return made.hexdigest()
