"""Packing a data set of image files, so that a kill at any point costs seconds and no byte.

What is on the disk stands in a journal, a line for some megabytes, written after them; where that
ends, packing continues. What lies in the shards depends on the images and the settings alone.
"""

import contextlib
import io
import json
import os
import sys
import zlib
from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core import artifacts, progress
from resnets.core.errors import CheckpointError, DataError, ImageError
from resnets.data import images, packed_boxes, packs, preprocess
from resnets.data.annotated import AnnotatedFiles, DetectionData
from resnets.data.files import FileData, ImageFiles
from resnets.data.packs import Index, LeftOut, Origin, Resize
from resnets.data.sets import DataSet

QUALITY: Final = 90
_QUALITIES: Final = range(1, 101)
_LONGEST_JPEG_PX: Final = 65_500  # what libjpeg writes
# All of ImageNet in 140 files, which can be open at a time; a file system of old takes four times
# as much. An image longer than this has a shard of its own.
_SHARD_BYTES = 1 << 30
_JOURNAL_BYTES = 32 << 20  # what a kill costs at most
_AHEAD = 4  # images decoded, for each thread, before they are asked for
_SHOWN = 10  # images left out that are named at once; the index names all
# A data set of image files.
Files = FileData | DetectionData

# What a journal raises that somebody has written in.
_DAMAGED: Final = (KeyError, TypeError, ValueError, IndexError, OverflowError)


def pack(
    data: DataSet | Files, out: Path, *, shorter_px: int | None = None, quality: int = QUALITY
) -> Index:
    """Write a pack of a data set, or continue where that was stopped; ended before, do nothing.

    Images that cannot be decoded are left out, counted, and named in the index.

    Args:
        data: Image files, with a class each or with boxes, which go with what is resized.
        out: A new or empty folder, or one where the same was begun.
        shorter_px: Images with a longer shorter side are resized to it, antialiased, and written
            as JPEG; by default, and of all others, the bytes stay as they are.
        quality: Of those JPEGs, from 1 to 100.

    Raises:
        DataError: The images are in memory; a setting is out of range; the folder holds something
            else, or a pack of other data or settings; or no image of a split can be decoded.
        BusyError: Another packs there.
        StorageError: It could not be written; the same again continues.
    """
    if isinstance(data, DataSet):
        raise DataError(f"{data.name}: lies in memory and needs no packing; name image files")
    origin = _origin(data, shorter_px, quality)
    folder = _usable(out, data)
    with artifacts.alone(folder, wait=False):
        if not (folder / packs.INDEX).exists():
            _write(folder, data, origin)
        else:
            _check_same(folder, packs.load(folder).origin, origin)
            packs.read(folder)  # no shard is missing
            sys.stderr.write(f"{folder}: this pack is finished; nothing was done\n")
        with artifacts.storing(folder):
            (folder / packs.JOURNAL).unlink(missing_ok=True)
    return packs.load(folder)


def _origin(data: Files, shorter_px: int | None, quality: int) -> Origin:
    if shorter_px is not None and shorter_px < 1:
        raise DataError(f"--shorter-px: a number of pixels, at least 1, got {shorter_px}")
    if quality not in _QUALITIES:
        raise DataError(f"--quality: from {_QUALITIES[0]} to {_QUALITIES[-1]}, got {quality}")
    resize = None if shorter_px is None else Resize(shorter_px, quality)
    return Origin(data.name, data.digest, data.content, resize)


def _usable(out: Path, data: Files) -> Path:
    """Return the folder to pack into, if it may be; nothing is written yet."""
    where = Path(data.where)
    if out.resolve().is_relative_to(where.resolve()):
        raise DataError(f"{out}: lies inside the data {where}; choose a folder outside of it")
    if not out.exists():
        return out
    if out.is_dir():
        # One look: between two, another that packs here may have begun its journal.
        found = {path.name for path in out.iterdir()}
        if found & {packs.INDEX, packs.JOURNAL} or all(_is_remains(name) for name in found):
            return out
    raise DataError(f"{out}: exists and is not empty, and not a pack; name a new folder")


def _is_remains(name: str) -> bool:
    """Tell what packing leaves that was killed before it had a journal."""
    return name == artifacts.LOCK or (name.startswith(".") and name.endswith(".partial"))


def _check_same(folder: Path, began: Origin, now: Origin) -> None:
    if (began.digest, began.content) != (now.digest, now.content):
        raise DataError(
            f"{folder}: a pack of other data ({began.name} {began.digest[:12]}, here {now.name} "
            f"{now.digest[:12]}); name a new folder"
        )
    if began.resize != now.resize:
        raise DataError(
            f"{folder}: a pack {_settings(began)}, not {_settings(now)}; name a new folder or the "
            "same settings"
        )


def _settings(origin: Origin) -> str:
    if origin.resize is None:
        return "without --shorter-px"
    return f"with --shorter-px {origin.resize.shorter_px} --quality {origin.resize.quality}"


def _write(folder: Path, data: Files, origin: Origin) -> None:
    total = sum(map(len, data.splits.values()))
    written = _resumed(folder, origin, packs.format_of(boxed=isinstance(data, DetectionData)))
    with (
        progress.reporting("packing", total=total, unit="images", done=written.seen) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        _Writer(folder, written, boxed=isinstance(data, DetectionData)) as writer,
    ):
        told = 0
        for made in _in_order(
            pool, partial(_made, data, origin.resize), range(written.seen, total)
        ):
            if isinstance(made, str):
                writer.leave_out(made)
                told += 1
                if told <= _SHOWN:
                    bar.say(made)
            else:
                writer.add(made)
            bar.advance(1)
        writer.keep()
        if written.left_out:
            bar.say(
                f"{len(written.left_out):,} of {total:,} images cannot be read or decoded and were "
                "left out; --json names them"
            )
    packs.save(folder, _index(data, origin, written))


@dataclass(frozen=True, slots=True)
class _Made:
    """An image as it goes into a shard; resized, with its width and height before and after."""

    content: bytes
    crc32: int
    scaled: tuple[int, int, int, int] | None


def _made(data: Files, resize: Resize | None, number: int) -> _Made | str:
    """Return the image of that number over all splits, or what is wrong with it."""
    _, files, index = _place(data, number)
    name = files.names[index]
    try:
        content = files.read(index)
        image = images.decode(content, name)
        scaled = None
        if resize is not None and min(image.size) > resize.shorter_px:
            smaller = preprocess.resize(image, resize.shorter_px, "bicubic")
            scaled = (*image.size, *smaller.size)
            content = _encoded(smaller, resize, name)
    except DataError as err:
        return str(err)
    return _Made(content, zlib.crc32(content), scaled)


def _encoded(image: Image.Image, resize: Resize, name: str) -> bytes:
    if max(image.size) > _LONGEST_JPEG_PX:
        raise ImageError(f"{name}: {image.width} x {image.height} pixels are too long for a JPEG")
    image.info.clear()  # Pillow would write the comment of the file that it was
    made = io.BytesIO()
    image.save(made, "JPEG", quality=resize.quality)
    return made.getvalue()


def _place(data: Files, number: int) -> tuple[str, ImageFiles | AnnotatedFiles, int]:
    """Return the split of an image, and its index there, from its number over all splits."""
    for name, files in data.splits.items():
        if number < len(files):
            return name, files, number
        number -= len(files)
    raise IndexError(number)


def _in_order(
    pool: ThreadPoolExecutor, work: partial[_Made | str], numbers: range
) -> Iterator[_Made | str]:
    """Yield what `work` returns, in order, with a few done ahead and no more in memory."""
    ahead = _AHEAD * (os.cpu_count() or 1)
    waiting: deque[Future[_Made | str]] = deque()
    try:
        for number in numbers:
            waiting.append(pool.submit(work, number))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for each in waiting:
            each.cancel()


@dataclass(slots=True)
class _Written:
    """What is on the disk: of each image its number over all splits, and what the index says."""

    seen: int = 0  # images that were packed or left out
    number_n: "array[int]" = field(default_factory=lambda: array("q"))
    shard_n: "array[int]" = field(default_factory=lambda: array("q"))
    start_n: "array[int]" = field(default_factory=lambda: array("q"))
    bytes_n: "array[int]" = field(default_factory=lambda: array("q"))
    crc32_n: "array[int]" = field(default_factory=lambda: array("q"))
    resized_images: int = 0
    scaled_s5: "array[int]" = field(default_factory=lambda: array("q"))  # where there are boxes
    left_out: list[tuple[int, str]] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add what a line of the journal says."""
        for number, start, length, crc32 in record["images"]:
            self.number_n.append(number)
            self.shard_n.append(record["shard"])
            self.start_n.append(start)
            self.bytes_n.append(length)
            self.crc32_n.append(crc32)
        self.resized_images += record["resized"]
        for number, *sides in record.get("scaled", ()):
            width, height, to_width, to_height = sides
            self.scaled_s5.extend((number, width, height, to_width, to_height))
        self.left_out += [(number, why) for number, why in record["left_out"]]
        self.seen = record["seen"]

    @property
    def end(self) -> tuple[int, int]:
        """The last shard's number and length."""
        return (self.shard_n[-1], self.start_n[-1] + self.bytes_n[-1]) if self.shard_n else (0, 0)


class _Writer:
    """Appends images to shards, and to the journal what of them is on the disk."""

    def __init__(self, folder: Path, written: _Written, *, boxed: bool) -> None:
        self.folder, self.written, self.boxed = folder, written, boxed
        self.shard, self.at = written.end
        self.seen = written.seen
        self.file: BinaryIO | None = None
        self._begin_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        if self.file is not None:
            with contextlib.suppress(OSError):  # a full disk has been told of
                self.file.close()

    def _begin_line(self) -> None:
        self.images: list[tuple[int, int, int, int]] = []
        self.left_out: list[tuple[int, str]] = []
        self.scaled: list[tuple[int, ...]] = []
        self.resized = self.pending_bytes = 0

    def add(self, made: _Made) -> None:
        """Append the next image."""
        if self.at and self.at + len(made.content) > _SHARD_BYTES:
            self._next_shard()
        path = self.folder / packs.shard_name(self.shard)
        with artifacts.storing(path):
            if self.file is None:
                self.file = path.open("r+b" if self.at else "wb")
                self.file.truncate(self.at)
                self.file.seek(self.at)
            self.file.write(made.content)
        self.images.append((self.seen, self.at, len(made.content), made.crc32))
        if made.scaled is not None:
            self.resized += 1
            if self.boxed:
                self.scaled.append((self.seen, *made.scaled))
        self.seen += 1
        self.at += len(made.content)
        self.pending_bytes += len(made.content)
        if self.pending_bytes >= _JOURNAL_BYTES:
            self.keep()

    def leave_out(self, why: str) -> None:
        """Pass over the next image."""
        self.left_out.append((self.seen, why))
        self.seen += 1

    def keep(self) -> None:
        """Put everything on the disk, then say so in the journal."""
        if not (self.images or self.left_out):
            return
        if self.file is not None:
            with artifacts.storing(self.folder / packs.shard_name(self.shard)):
                self.file.flush()
                os.fsync(self.file.fileno())
        line = {
            "seen": self.seen,
            "shard": self.shard,
            "images": self.images,
            "resized": self.resized,
            "left_out": self.left_out,
            **({"scaled": self.scaled} if self.boxed else {}),
        }
        journal = self.folder / packs.JOURNAL
        with artifacts.storing(journal), journal.open("ab") as file:
            file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.written.add(line)
        self._begin_line()

    def _next_shard(self) -> None:
        self.keep()
        if self.file is not None:
            self.file.close()
        self.file, self.shard, self.at = None, self.shard + 1, 0


def _resumed(folder: Path, origin: Origin, made_as: int) -> _Written:
    """Return what is packed already, with a journal that says that and no more.

    A line counts where the shards have what it and all before it speak of: the name of a new shard
    may come to the disk later than the journal.
    """
    journal = folder / packs.JOURNAL
    written = _Written()
    try:
        head, *lines = artifacts.read_lines(journal) or [_head(origin, made_as)]
        _check_begun(folder, head, origin, made_as)
        counting = list(takewhile(partial(_is_backed, folder), lines))
        for line in counting:
            written.add(line)
    except (CheckpointError, *_DAMAGED) as err:
        raise DataError(f"{journal}: damaged; remove {folder} and pack again") from err
    artifacts.write_lines(journal, [head, *counting])
    _remove_shards_after(folder, written)
    return written


def _head(origin: Origin, made_as: int) -> dict[str, Any]:
    return {"pack_format": made_as, "origin": asdict(origin)}


def _check_begun(folder: Path, head: Mapping[str, Any], origin: Origin, made_as: int) -> None:
    if head["pack_format"] not in (packs.format_of(boxed=False), packs.FORMAT):
        raise DataError(
            f"{folder}: packing was begun by another version of resnets (format "
            f"{head['pack_format']}, here {made_as}); continue with that, or name a new folder"
        )
    _check_same(folder, packs.origin_of(head["origin"]), origin)


def _is_backed(folder: Path, line: Mapping[str, Any]) -> bool:
    if not line["images"]:
        return True
    _, start, length, _ = line["images"][-1]
    path = folder / packs.shard_name(line["shard"])
    return path.is_file() and path.stat().st_size >= start + length


def _remove_shards_after(folder: Path, written: _Written) -> None:
    last, length = written.end
    kept = {packs.shard_name(number) for number in range(last + (length > 0))}
    for path in folder.glob("shard-*.bin"):
        if path.name not in kept:
            with artifacts.storing(path):
                path.unlink()


def _index(data: Files, origin: Origin, written: _Written) -> Index:
    number_n = _column(written.number_n)
    splits: list[tuple[str, int]] = []
    first = 0
    for name, files in data.splits.items():
        packed = int(((number_n >= first) & (number_n < first + len(files))).sum())
        if not packed:
            raise DataError(
                f"{data.name}: no image of its split {name} can be decoded ({len(files):,} files); "
                "mend or remove them"
            )
        splits.append((name, packed))
        first += len(files)
    every = list(chain.from_iterable(files.names for files in data.splits.values()))
    if isinstance(data, DetectionData):
        labels_n = torch.zeros(len(number_n), dtype=torch.int64)
        boxes = packed_boxes.of(data, number_n, _column(written.scaled_s5).view(-1, 5))
    else:
        labels_n = torch.cat([files.labels_n for files in data.splits.values()])[number_n]
        boxes = None
    return Index(
        origin=origin,
        classes=data.classes,
        splits=tuple(splits),
        names=tuple(every[number] for number in written.number_n),
        labels_n=labels_n,
        shard_n=_column(written.shard_n),
        start_n=_column(written.start_n),
        bytes_n=_column(written.bytes_n),
        crc32_n=_column(written.crc32_n),
        resized_images=written.resized_images,
        left_out=tuple(_left_out(data, *each) for each in written.left_out),
        boxes=boxes,
    )


def _column(numbers: "array[int]") -> Tensor:
    return torch.from_numpy(np.array(numbers))


def _left_out(data: Files, number: int, why: str) -> LeftOut:
    split, files, index = _place(data, number)
    return LeftOut(split, files.names[index], why)
