"""Labelled images in memory, and what identifies them."""

import hashlib
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from resnets.core.errors import DataError
from resnets.core.random import generator
from resnets.data import checking, examining
from resnets.data.checking import Split
from resnets.data.examining import Good
from resnets.data.findings import Report


class Labelled(Protocol):
    """A set of images of which some can be taken: in memory or in files."""

    def __len__(self) -> int: ...

    def take(self, index_n: Tensor) -> Self:
        """Return the images of those indices, in that order."""


L = TypeVar("L", bound=Labelled)


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Labelled images of one size.

    Args:
        images_nhwc: uint8, shape (n, height, width, 3), RGB.
        labels_n: int64, shape (n,), from 0.
    """

    images_nhwc: Tensor
    labels_n: Tensor

    def __len__(self) -> int:
        return len(self.labels_n)

    def take(self, index_n: Tensor) -> "ImageSet":
        """Return the images of those indices, in that order."""
        return ImageSet(self.images_nhwc[index_n], self.labels_n[index_n])

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is called: its index."""
        return tuple(map(str, range(len(self))))

    def examine(self, index: int) -> Good:
        """Say what an image is."""
        return examining.pixels(self.images_nhwc[index].numpy())


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set with its own training and test splits.

    Args:
        name: What it is, e.g. "cifar10", wherever it was read from.
        where: What `--data` takes to open it again: a name or an absolute path.
        classes: Class names in the order of the labels.
        train: Training split.
        test: Test split.
    """

    name: str
    where: str
    classes: tuple[str, ...]
    train: ImageSet
    test: ImageSet

    @property
    def digest(self) -> str:
        """Identify the content: SHA-256 over both splits' images and labels, 64 hex digits."""
        return content_hash(self.train, self.test)

    def check(self) -> Report:
        """Compare all images, and return what is there and what is wrong with it.

        An image is called by its index in its split.
        """
        return checking.check(
            [
                Split(name, split.names, split.labels_n, split.examine, cropped=False)
                for name, split in (("train", self.train), ("test", self.test))
            ],
            data=self.name,
            where=self.where,
            digest=self.digest,
            classes=self.classes,
        )


def content_hash(*splits: ImageSet) -> str:
    """Return the SHA-256 over each split's image bytes, then its labels as int64."""
    made = hashlib.sha256()
    for split in splits:
        made.update(split.images_nhwc.contiguous().numpy().data)
        made.update(split.labels_n.contiguous().numpy().data)
    return made.hexdigest()


def hold_out(train: L, images: int) -> tuple[L, L]:
    """Split a training set into one to train on and one to validate on.

    The same images are held out whatever the run's seed, so that runs can be compared.

    Args:
        train: The set to split.
        images: How many to hold out; 5,000 of CIFAR-10's 50,000 in the paper.

    Raises:
        DataError: Fewer than one image would be left on either side.

    Source: He et al. 2015, sec. 4.2.
    """
    if not 0 < images < len(train):
        raise DataError(
            f"data.held_out_images: must be from 1 to {len(train) - 1} here, got {images}"
        )
    order = torch.randperm(len(train), generator=generator(0, "hold-out"))
    return train.take(order[images:].sort().values), train.take(order[:images].sort().values)
