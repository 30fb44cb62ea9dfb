"""Image files with boxes around what is in them: what a detector trains on."""

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import overload

import torch
from PIL import Image
from torch import Tensor

from resnets.core import errors
from resnets.core.errors import DataError
from resnets.data import boxed, checking, examining, flaws, images
from resnets.data.boxed import Boxed
from resnets.data.checking import Split
from resnets.data.examining import Bad, Good
from resnets.data.files import FileData
from resnets.data.findings import Report
from resnets.data.flaws import Flaw, FlawKind


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

    def take(self, which: Tensor | slice) -> "Objects":
        """Return some of them.

        Args:
            which: Indices, a mask of shape (n,), or a slice, which shares memory.
        """
        return Objects(*(getattr(self, each.name)[which] for each in fields(self)))

    def within(self, width: int, height: int) -> "Objects":
        """Return what of them is in an image of that size, cut off at its edge.

        It changes something only where an annotation is not of the picture that is there.
        """
        edge = torch.tensor([width, height, width, height], dtype=torch.float32)
        if bool((self.boxes_n4 <= edge).all()):
            return self
        boxes_n4 = self.boxes_n4.minimum(edge)
        kept_n = (boxes_n4[:, 2:] > boxes_n4[:, :2]).all(1)
        cut = Objects(boxes_n4, self.classes_n, self.ignored_n, self.crowd_n, self.area_n)
        return cut.take(kept_n)


class Annotations(Sequence[Objects]):
    """The objects of every image, kept as a few large tensors: COCO has 860,000 boxes.

    Args:
        every: Of all images, one after the other.
        starts_n: int64, shape (images + 1,): where those of each image begin, and the end.
    """

    def __init__(self, every: Objects, starts_n: Tensor) -> None:
        self.every, self.starts_n = every, starts_n

    @classmethod
    def of(cls, each: Iterable[Objects]) -> "Annotations":
        """Return those of some images, in that order; what is such already, as it is."""
        if isinstance(each, Annotations):
            return each
        parts = list(each)
        starts = [0, *itertools.accumulate(map(len, parts))]
        parts.append(Objects.none())  # nothing cannot be joined
        names = [field.name for field in fields(Objects)]
        joined = (torch.cat([getattr(part, name) for part in parts]) for name in names)
        return cls(Objects(*joined), torch.tensor(starts))

    @property
    def image_n(self) -> Tensor:
        """The index of the image of each object: int64."""
        images = torch.arange(len(self))
        return images.repeat_interleave(self.starts_n.diff())

    def __len__(self) -> int:
        return len(self.starts_n) - 1

    @overload
    def __getitem__(self, index: int) -> Objects: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Objects, ...]: ...

    def __getitem__(self, index: int | slice) -> Objects | tuple[Objects, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        at = range(len(self))[index]
        return self.every.take(slice(int(self.starts_n[at]), int(self.starts_n[at + 1])))


@dataclass(frozen=True, slots=True)
class AnnotatedFiles:
    """One split of a data set for detection.

    Args:
        names: What each file is called, for messages and digests; unique.
        ids: What the data set calls each image where results are handed in: COCO's number, VOC's
            name without its extension.
        objects: Of each image.
        read: Returns the bytes of a file by its index. May be called from several threads.
        annotated: Whether anybody drew boxes: of VOC's and COCO's test splits nobody published any.
            Without, no image has objects, and there is nothing to learn or to measure.
        sizes_n2: int64, shape (images, 2): width and height in pixels, as the data set says or,
            where it says nothing, the file's header; 0, 0 where neither does. None: nobody looked.
        flaws: What was wrong with the annotations, in the order of the images; put right already.
    """

    names: tuple[str, ...]
    ids: tuple[int | str, ...]
    objects: Sequence[Objects]
    read: Callable[[int], bytes]
    annotated: bool = True
    sizes_n2: Tensor | None = None
    flaws: tuple[Flaw, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes_n(self) -> Tensor:
        """The classes of all objects of all images, in their order."""
        return Annotations.of(self.objects).every.classes_n

    def take(self, index_n: Tensor) -> "AnnotatedFiles":
        """Return the images of those indices, in that order, with what is wrong with them."""
        index = index_n.tolist()
        names = tuple(self.names[i] for i in index)
        here = set(names)
        return AnnotatedFiles(
            names,
            tuple(self.ids[i] for i in index),
            Annotations.of(self.objects[i] for i in index),
            partial(_taken, self.read, index),
            self.annotated,
            None if self.sizes_n2 is None else self.sizes_n2[index_n],
            tuple(flaw for flaw in self.flaws if flaw.name in here),
        )

    @property
    def flaw_counts(self) -> Mapping[FlawKind, int]:
        """How many flaws of each kind were met."""
        return flaws.counted(self.flaws)

    def image(self, index: int) -> Image.Image:
        """Return an image, decoded by `images.decode`. May be called from several threads.

        Raises:
            DataError: Its file cannot be read, or is not an image that can be decoded.
        """
        return images.decode(self.read(index), self.names[index])

    def example(self, index: int) -> tuple[Image.Image, Objects]:
        """Return an image and its objects, all inside it whatever size its annotation says.

        Raises:
            DataError: As from `image`.
        """
        image = self.image(index)
        return image, self.objects[index].within(*image.size)

    def examine(self, index: int) -> Good | Bad:
        """Say what an image is, or why it cannot be used. May be called from several threads."""
        return examining.file(partial(self.read, index), self.names[index])


@dataclass(frozen=True, slots=True)
class DetectionData:
    """A data set for detection with the splits it has.

    Args:
        name: What it is: "voc", "coco", or the folder's name.
        where: What `--data` takes to open it again: an absolute path.
        classes: Class names in the order of the labels.
        category_ids: COCO's number of each class, in the order of the labels; from 1 elsewhere.
        splits: By name: "train", "validation", "test", or as the data calls another; of several
            years "2007/train" and so on.
        content: Identifies the files' bytes where they were changed (data/packs.py).
        labelled: Opens the same folder as images of one class each, where it is that too.
    """

    name: str
    where: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    splits: Mapping[str, AnnotatedFiles]
    content: str | None = None
    labelled: Callable[[], FileData] | None = None

    @property
    def digest(self) -> str:
        """Identify the list: SHA-256 over class names and every split's names and objects.

        Not over the files' content, but as with `FileData` where `content` tells it. 64 hex digits.
        """
        made = hashlib.sha256()
        for number, name in zip(self.category_ids, self.classes, strict=True):
            made.update(_encoded(f"class\t{number}\t{name}\n"))
        for name in sorted(self.splits):
            files = self.splits[name]
            there = Annotations.of(files.objects)
            counts = there.starts_n.diff().tolist()
            for file, count in zip(files.names, counts, strict=True):
                made.update(_encoded(f"{name}\t{file}\t{count if files.annotated else 'none'}\n"))
            for field in fields(Objects):
                values = getattr(there.every, field.name).contiguous().numpy()
                made.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
        if self.content is not None:
            made.update(_encoded(f"content\t{self.content}\n"))
        return made.hexdigest()

    def select(self, names: Sequence[str]) -> AnnotatedFiles:
        """Return several splits as one, in that order: ("2007/trainval", "2012/trainval").

        Args:
            names: Of `splits`; "trainval" is train and validation.

        Raises:
            DataError: There is no such split, or one is named twice.
        """
        wanted = list(itertools.chain.from_iterable(map(self._meant, names)))
        if not wanted or len(set(wanted)) < len(wanted):
            raise DataError(f"{self.name}: {', '.join(names) or 'nothing'}: name each split once")
        return join([self.splits[name] for name in wanted])

    def check(self) -> Report:
        """Read and decode every image, and return what is there and what is wrong with it."""
        return checking.check(
            [self._listed(name, files) for name, files in self.splits.items()],
            data=self.name,
            where=self.where,
            digest=self.digest,
            classes=self.classes,
        )

    def _meant(self, name: str) -> list[str]:
        year, slash, last = name.rpartition("/")
        both = [f"{year}{slash}{each}" for each in ("train", "validation")]
        meant = both if last == "trainval" and name not in self.splits else [name]
        for each in meant:
            if each not in self.splits:
                raise DataError(
                    errors.unknown("split", each, self.splits, f"resnets data check {self.where}")
                )
        return meant

    def _listed(self, name: str, files: AnnotatedFiles) -> Split:
        there = Annotations.of(files.objects)
        every = there.every
        sides_n2 = every.boxes_n4[:, 2:] - every.boxes_n4[:, :2]
        sizes_n2 = files.sizes_n2
        if sizes_n2 is None:
            sizes_n2 = torch.zeros(len(files), 2, dtype=torch.int64)
        return Split(
            name,
            files.names,
            every.classes_n,
            files.examine,
            cropped=False,
            boxed=Boxed(
                image_n=there.image_n.numpy(),
                side_px_n=sides_n2.prod(1).sqrt().numpy(),
                sizes_n2=sizes_n2.numpy(),
                flaws=files.flaws,
                annotated=files.annotated,
                flags={
                    boxed.DIFFICULT: int((every.ignored_n & ~every.crowd_n).sum()),
                    boxed.CROWD: int(every.crowd_n.sum()),
                },
            ),
        )


def of_one_class(files: AnnotatedFiles) -> tuple[AnnotatedFiles, Tensor]:
    """Return the images whose objects are all of one class, and that class of each: int64.

    Ignored objects say nothing of an image. One without any other, or with several classes, is
    left out.
    """
    there = Annotations.of(files.objects)
    counts_n = ~there.every.ignored_n
    image_n, classes_n = there.image_n[counts_n], there.every.classes_n[counts_n]
    none_n = torch.full((len(files),), -1)
    most_n = none_n.scatter_reduce(0, image_n, classes_n, "amax")
    least_n = none_n.scatter_reduce(0, image_n, classes_n, "amin", include_self=False)
    one_n = (most_n == least_n) & (most_n >= 0)
    if bool(one_n.all()):
        return files, most_n
    return files.take(one_n.nonzero().squeeze(1)), most_n[one_n]


def join(parts: Sequence[AnnotatedFiles]) -> AnnotatedFiles:
    """Return several splits as one, in that order.

    Raises:
        DataError: An image is in two of them, or only some of them are annotated.
    """
    if len(parts) == 1:
        return parts[0]
    names = tuple(itertools.chain.from_iterable(part.names for part in parts))
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise DataError(f"{name}: is in two of the splits to join; leave one of these out")
    if len({part.annotated for part in parts}) > 1:
        raise DataError("splits with and without annotations are no whole; leave the latter out")
    starts = [0, *itertools.accumulate(map(len, parts))]
    known = [part.sizes_n2 for part in parts if part.sizes_n2 is not None]
    return AnnotatedFiles(
        names,
        tuple(itertools.chain.from_iterable(part.ids for part in parts)),
        Annotations.of(itertools.chain.from_iterable(part.objects for part in parts)),
        partial(_joined, [part.read for part in parts], starts),
        parts[0].annotated,
        torch.cat(known) if len(known) == len(parts) else None,
        tuple(itertools.chain.from_iterable(part.flaws for part in parts)),
    )


def _encoded(text: str) -> bytes:
    """Encode any name: one on the disk may be any bytes, one in JSON any surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _taken(read: Callable[[int], bytes], index: Sequence[int], i: int) -> bytes:
    return read(index[i])


def _joined(reads: Sequence[Callable[[int], bytes]], starts: Sequence[int], index: int) -> bytes:
    part = bisect.bisect_right(starts, index) - 1
    return reads[part](index - starts[part])
