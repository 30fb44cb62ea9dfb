"""A pack: the image files of a data set in a few large files, for reading in any order.

It is a folder. `shard-00000.bin` and those that follow hold the images' files back to back, split
after split; `pack.safetensors` says of each where it lies, its name, label and CRC-32. The index
is written last, so a folder with `packing.jsonl` and without it is not finished.
"""

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, NewerFormatError
from resnets.data import packed_boxes
from resnets.data.annotated import DetectionData
from resnets.data.files import SPLITS, FileData, ImageFiles
from resnets.data.packed_boxes import PackedBoxes

INDEX: Final = "pack.safetensors"
JOURNAL: Final = "packing.jsonl"  # of data/packing.py, while it is at work
FORMAT: Final = 2  # of an index with boxes, else 1; a reader refuses a newer one
_KIND: Final = "pack"
_AGAIN: Final = "copy the pack again, or pack into a new folder"
# Of a number in an index, below: no file is as long, and no sum of two of them overflows.
_LIMITS: Final = {
    "labels_n": 1 << 31,
    "shard_n": 1 << 31,
    "start_n": 1 << 62,
    "bytes_n": 1 << 31,
    "crc32_n": 1 << 32,
}


@dataclass(frozen=True, slots=True)
class Resize:
    """Images with a longer shorter side are resized to `shorter_px`; JPEGs of that `quality`."""

    shorter_px: int  # at least 1
    quality: int  # 1 to 100


@dataclass(frozen=True, slots=True)
class Origin:
    """What a pack is made from, and how.

    Args:
        name: The data set's.
        digest: `FileData.digest` or `DetectionData.digest` of it.
        content: Its `content`.
        resize: None where every file is as it was.
    """

    name: str
    digest: str
    content: str | None
    resize: Resize | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image of the origin that could not be decoded."""

    split: str
    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Index:
    """What a pack holds, image by image as they lie: split after split, in the origin's order.

    Args:
        origin: What it is made from.
        classes: As of `FileData`.
        splits: Each with how many images it has; at least one.
        names: Of the n images.
        labels_n: int64, from 0; of images with boxes all 0.
        shard_n: int64: the number of the image's shard.
        start_n: int64: its first byte there.
        bytes_n: int64: its length, at least 1.
        crc32_n: int64: zlib's checksum of it.
        resized_images: How many are JPEGs of ours; the others are the origin's files.
        left_out: What the origin has and the pack has not.
        boxes: The annotations of data with boxes; None where an image has one class.
    """

    origin: Origin
    classes: tuple[str, ...] | None
    splits: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    labels_n: Tensor
    shard_n: Tensor
    start_n: Tensor
    bytes_n: Tensor
    crc32_n: Tensor
    resized_images: int
    left_out: tuple[LeftOut, ...]
    boxes: PackedBoxes | None = None

    @property
    def format(self) -> int:
        """Of this index: older versions read what they can."""
        return format_of(boxed=self.boxes is not None)

    @property
    def shards_bytes(self) -> list[int]:
        """The length of every shard."""
        longest = torch.zeros(int(self.shard_n.max()) + 1, dtype=torch.int64)
        end_n = self.start_n + self.bytes_n
        lengths: list[int] = longest.scatter_reduce_(0, self.shard_n, end_n, "amax").tolist()
        return lengths

    @property
    def content(self) -> str | None:
        """What identifies the bytes: the origin's where all are its own, else over checksums."""
        if not self.resized_images:
            return self.origin.content
        return artifacts.sha256_of({"bytes_n": self.bytes_n, "crc32_n": self.crc32_n})


def format_of(*, boxed: bool) -> int:
    """Return the format of an index, with boxes or without."""
    return FORMAT if boxed else 1


def shard_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number:05d}.bin"


def is_in(folder: Path) -> bool:
    """Tell whether a folder holds a pack, finished or not."""
    return any((folder / name).is_file() for name in (INDEX, JOURNAL))


def read(folder: Path) -> FileData | DetectionData:
    """Open a pack. Every image is compared with its checksum when it is read.

    Raises:
        DataError: It is not finished or damaged, or a shard is missing or not as long as it was.
    """
    if not (folder / INDEX).is_file():
        raise DataError(
            f"{folder}: packing was not finished; the same `resnets data pack` again continues it"
        )
    index = load(folder)
    shards = _Shards(folder.resolve(), index.shards_bytes)
    parts: dict[str, tuple[slice, _Reader]] = {}
    first = 0
    for name, count in index.splits:
        part = slice(first, first + count)
        where = (index.shard_n, index.start_n, index.bytes_n, index.crc32_n)
        columns = (each_n[part].numpy() for each_n in where)
        parts[name] = part, _Reader(shards, index.names[part], *columns)
        first += count
    return _data(index, str(folder.resolve()), parts)


def _data(
    index: Index, where: str, parts: Mapping[str, tuple[slice, "_Reader"]]
) -> FileData | DetectionData:
    name, boxes = index.origin.name, index.boxes
    if boxes is None:
        labelled = {
            SPLITS[SPLITS.index(split)]: ImageFiles(reader.names, index.labels_n[part], reader)
            for split, (part, reader) in parts.items()
        }
        return FileData(name, where, index.classes, labelled, content=index.content)
    assert index.classes is not None
    annotated = {
        split: boxes.part(number, part, reader.names, reader)
        for number, (split, (part, reader)) in enumerate(parts.items())
    }
    ids = boxes.category_ids
    return DetectionData(name, where, index.classes, ids, annotated, content=index.content)


def save(folder: Path, index: Index) -> None:
    """Write the index of a pack whose shards are on the disk: with it, the pack is finished."""
    names = json.dumps(index.names).encode()
    tensors = {name: getattr(index, name) for name in _LIMITS}
    about: dict[str, Any] = {
        "kind": _KIND,
        "pack_format": index.format,
        "origin": asdict(index.origin),
        "classes": index.classes,
        "splits": index.splits,
        "resized_images": index.resized_images,
        "left_out": [asdict(each) for each in index.left_out],
    }
    tensors["names"] = torch.frombuffer(bytearray(names), dtype=torch.uint8)
    if index.boxes is not None:
        tensors |= packed_boxes.tensors(index.boxes)
        about |= packed_boxes.about(index.boxes)
    artifacts.save_tensors(folder / INDEX, tensors, about)


def load(folder: Path) -> Index:
    """Read the index of a finished pack.

    Raises:
        DataError: It is damaged, of a newer version, or no index of a pack.
    """
    path = folder / INDEX
    try:
        tensors, about = artifacts.load_tensors(path)
    except NewerFormatError as err:
        raise DataError(str(err)) from err
    except CheckpointError as err:
        raise DataError(f"{path}: this index of a pack is damaged or cut short; {_AGAIN}") from err
    if about.get("kind") != _KIND:
        raise DataError(f"{path}: not the index of a pack; {_AGAIN}")
    version = about.get("pack_format")
    if type(version) is int and version > FORMAT:
        raise DataError(
            f"{path}: a pack of a newer resnets (format {version}, this one reads up to {FORMAT}); "
            "upgrade resnets"
        )
    try:
        index = _parsed(tensors, about)
    except (KeyError, TypeError, ValueError, RecursionError) as err:
        raise DataError(f"{path}: this index of a pack is damaged; {_AGAIN}") from err
    wrong = _wrong(index)
    if wrong is not None:
        raise DataError(f"{path}: this index of a pack is damaged: {wrong}; {_AGAIN}")
    return index


def origin_of(tree: Any) -> Origin:
    """Return the origin that `asdict` took apart.

    Raises:
        KeyError: Something is missing.
        TypeError: Something is not what it should be.
    """
    content, resize = tree["content"], tree["resize"]
    return Origin(
        name=_text(tree["name"]),
        digest=_text(tree["digest"]),
        content=None if content is None else _text(content),
        resize=(
            None
            if resize is None
            else Resize(_count(resize["shorter_px"]), _count(resize["quality"]))
        ),
    )


def _parsed(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Index:
    """Take an index apart; what is not what it should be is a KeyError, TypeError or ValueError."""
    boxed = about["pack_format"] == FORMAT
    if not boxed and about["pack_format"] != format_of(boxed=False):
        raise ValueError
    classes = about["classes"]
    return Index(
        origin=origin_of(about["origin"]),
        classes=None if classes is None else tuple(map(_text, _list(classes))),
        splits=tuple(
            (_text(n) if boxed else SPLITS[SPLITS.index(n)], _count(k))
            for n, k in _list(about["splits"])
        ),
        names=tuple(map(_text, _list(json.loads(tensors["names"].numpy().tobytes())))),
        **{name: tensors[name] for name in _LIMITS},
        resized_images=_count(about["resized_images"]),
        left_out=tuple(
            LeftOut(*(_text(each[key]) for key in ("split", "file", "why")))
            for each in _list(about["left_out"])
        ),
        boxes=packed_boxes.parsed(tensors, about) if boxed else None,
    )


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _count(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError
    return value


def _wrong(index: Index) -> str | None:
    """Say what of an index cannot be; its own checksum lets only a made-up one come here."""
    n = len(index.names)
    counts = [count for _, count in index.splits]
    if not counts or min(counts) < 1 or sum(counts) != n or len(dict(index.splits)) != len(counts):
        return "the splits do not add up"
    for name, limit in _LIMITS.items():
        column_n = getattr(index, name)
        if column_n.dtype != torch.int64 or column_n.shape != (n,):
            return f"{name} is not of {n:,} numbers"
        if int(column_n.min()) < (name == "bytes_n") or int(column_n.max()) >= limit:
            return f"{name} is out of range"
    if index.classes is not None and int(index.labels_n.max()) >= len(index.classes):
        return "there are labels of no class"
    if int(index.shard_n.max()) >= n or min(index.shards_bytes) == 0:
        return "there are shards without images"
    if not 0 <= index.resized_images <= n:
        return "more images are resized than there are"
    return _wrong_boxes(index)


def _wrong_boxes(index: Index) -> str | None:
    if index.boxes is None:
        return None
    if index.classes is None:
        return "its classes have no names"
    return packed_boxes.wrong(index.boxes, len(index.names), len(index.splits), len(index.classes))


class _Shards:
    """The open shards of a pack, for any thread, and for processes forked or sent a copy.

    They are read at a place and have no position that readers would share. Not mapped: a page of
    a mapped file that cannot be read ends the process (docs/adr/0013-packs.md).
    """

    def __init__(self, folder: Path, lengths: Sequence[int]) -> None:
        self.folder, self.lengths = folder, lengths
        self.descriptors: list[int] = []
        for number, wanted in enumerate(lengths):
            self.descriptors.append(_opened(folder / shard_name(number)))
            found = os.fstat(self.descriptors[-1]).st_size
            if found != wanted:
                raise DataError(
                    f"{folder / shard_name(number)}: has {found:,} bytes, should have {wanted:,}; "
                    f"{_AGAIN}"
                )

    def __reduce__(self) -> tuple[Callable[..., "_Shards"], tuple[Path, Sequence[int]]]:
        return _Shards, (self.folder, self.lengths)

    def __del__(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as err:
        raise DataError(f"{path}: this shard of the pack is missing; {_AGAIN}") from err
    except OSError as err:
        raise DataError(f"{path}: cannot be read ({err.strerror})") from err


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the images of one split by their number there."""

    shards: _Shards
    names: tuple[str, ...]
    shard_n: np.ndarray
    start_n: np.ndarray
    bytes_n: np.ndarray
    crc32_n: np.ndarray

    def __call__(self, index: int) -> bytes:
        number, start = int(self.shard_n[index]), int(self.start_n[index])
        wanted = int(self.bytes_n[index])
        path = self.shards.folder / shard_name(number)
        try:
            content = os.pread(self.shards.descriptors[number], wanted, start)
        except OSError as err:
            raise DataError(f"{path}: {self.names[index]} cannot be read ({err.strerror})") from err
        if len(content) != wanted or zlib.crc32(content) != int(self.crc32_n[index]):
            raise DataError(
                f"{path}: {self.names[index]} in it (byte {start:,} on) is damaged: it does not "
                f"match its checksum; {_AGAIN}"
            )
        return content
