"""Image files with boxes around what is in them: what a detector trains on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from resnets.data import images


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image.

    Args:
        boxes_n4: float32, shape (n, 4): left, top, right, bottom in pixels of the image as it is
            stored. The image spans [0, width] x [0, height], so a box of one pixel has a side of 1:
            VOC's 1-based, inclusive coordinates become left - 1, top - 1, right, bottom. Inside the
            image, each side positive.
        classes_n: int64, shape (n,), from 0: background has no number.
        ignored_n: bool, shape (n,): neither learnt nor counted when missed; what finds such a one
            is no mistake. VOC's "difficult", COCO's crowds.
        crowd_n: bool, shape (n,): a box around many; COCO measures overlap with it otherwise. All
            of them are ignored too.
        area_n: float32, shape (n,), in square pixels: COCO's, of the object and not of its box; the
            box's where the data does not say.
    """

    boxes_n4: Tensor
    classes_n: Tensor
    ignored_n: Tensor
    crowd_n: Tensor
    area_n: Tensor

    def __len__(self) -> int:
        return len(self.classes_n)

    @staticmethod
    def none() -> "Objects":
        """Return those of an image with nothing in it."""
        no = torch.zeros(0, dtype=torch.bool)
        return Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), no, no, torch.zeros(0))


@dataclass(frozen=True, slots=True)
class AnnotatedFiles:
    """One split of a data set for detection.

    Args:
        names: What each file is called, for messages and digests; unique.
        ids: What the data set calls each image where results are handed in: COCO's number, VOC's
            name without its extension.
        objects: Of each image.
        read: Returns the bytes of a file by its index. May be called from several threads.
    """

    names: tuple[str, ...]
    ids: tuple[int | str, ...]
    objects: tuple[Objects, ...]
    read: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes_n(self) -> Tensor:
        """The classes of all objects of all images."""
        return torch.cat([each.classes_n for each in self.objects])

    @staticmethod
    def joined(several: Sequence["AnnotatedFiles"]) -> "AnnotatedFiles":
        """Return the images of several splits as one, in their order.

        A name stands once: what several splits share is taken from the first.
        """
        if len(several) == 1:
            return several[0]
        from_, first = [], {}
        for number, files in enumerate(several):
            for index, name in enumerate(files.names):
                if first.setdefault(name, number) == number:
                    from_.append((number, index))
        return AnnotatedFiles(
            tuple(several[n].names[i] for n, i in from_),
            tuple(several[n].ids[i] for n, i in from_),
            tuple(several[n].objects[i] for n, i in from_),
            partial(_of_several, [files.read for files in several], from_),
        )

    def take(self, index_n: Tensor) -> "AnnotatedFiles":
        """Return the images of those indices, in that order."""
        index = index_n.tolist()
        return AnnotatedFiles(
            tuple(self.names[i] for i in index),
            tuple(self.ids[i] for i in index),
            tuple(self.objects[i] for i in index),
            partial(_taken, self.read, index),
        )

    def image(self, index: int) -> Image.Image:
        """Return an image, decoded by `images.decode`. May be called from several threads.

        Raises:
            DataError: Its file cannot be read, or is not an image that can be decoded.
        """
        return images.decode(self.read(index), self.names[index])


@dataclass(frozen=True, slots=True)
class DetectionData:
    """A data set for detection with the splits it has.

    Args:
        name: What it is: "voc", "coco", or the folder's name.
        where: What `--data` takes to open it again: an absolute path.
        classes: Class names in the order of the labels.
        category_ids: COCO's number of each class, in the order of the labels; from 1 elsewhere.
        splits: By name: "train", "validation", "test"; of several years of VOC "2007/train" and so
            on.
    """

    name: str
    where: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    splits: Mapping[str, AnnotatedFiles]


def _of_several(
    reads: Sequence[Callable[[int], bytes]], from_: Sequence[tuple[int, int]], index: int
) -> bytes:
    number, of_it = from_[index]
    return reads[number](of_it)


def _taken(read: Callable[[int], bytes], index: list[int], i: int) -> bytes:
    return read(index[i])
