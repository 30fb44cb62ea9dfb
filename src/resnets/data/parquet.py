"""Images in Parquet files, as Hugging Face's `datasets` lays them out.

One row an image: a column of encoded images (bytes, or a struct of `bytes` and `path`) and one of
class indices or classes' names. What the columns are and the classes are called stands in the
schema's metadata, if `datasets` wrote it, and else in the columns' types and names.

Rows can be read by whole row groups only, so each file's are read when one of them is asked for,
and the last few are kept.

Source: https://huggingface.co/docs/hub/datasets-image
"""

import contextlib
import importlib.util
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from resnets.core import progress
from resnets.core.errors import DataError
from resnets.data import files, labels, splits
from resnets.data.files import FileData, ImageFiles, SplitName

SUFFIX: Final = ".parquet"
_KEPT_BYTES: Final = 256 << 20  # of row groups beside those that threads are reading
_GROUP_BYTES: Final = 1 << 30  # the largest row group that is read; `datasets` writes a hundredth
_IMAGES: Final = ("image", "img")
_LABELS: Final = ("label", "class", "class_index")


def is_in(folder: Path) -> bool:
    """Tell whether there are Parquet files in a folder, in data/, or in folders for splits."""
    return bool(splits.paths_in(folder, SUFFIX))


def read_folder(folder: Path) -> FileData:
    """List the images of a folder's files, whose names, or whose folders', tell their splits.

    Raises:
        DataError: A file is damaged, has no column of images or labels or several of them, lacks
            a label, or differs from the others; or pyarrow is not installed.
    """
    return _read(folder, folder.resolve().name, folder, splits.files_in(folder, SUFFIX))


def read_file(path: Path) -> FileData:
    """List the images of one file, which is a split by itself.

    Raises:
        DataError: As `read_folder`.
    """
    return _read(path, path.stem, path.parent, {splits.of_file(path): [path]})


@dataclass(frozen=True, slots=True)
class _File:
    """One file, its rows counted and labelled.

    Args:
        path: Where it is.
        state: What tells it from a later one in its place.
        metadata: Its footer, as pyarrow reads it.
        image: The leaf column with the bytes: "image.bytes", or "image".
        group_rows: How many rows each row group has.
        names: Of the images.
        given: Their labels.
        classes: Names of the classes, where it has them.
    """

    path: Path
    state: tuple[int, int]
    metadata: Any
    image: str
    group_rows: tuple[int, ...]
    names: tuple[str, ...]
    given: tuple[int | str, ...]
    classes: tuple[str, ...] | None


def _read(where: Path, name: str, folder: Path, paths_of: dict[SplitName, list[Path]]) -> FileData:
    if importlib.util.find_spec("pyarrow") is None:
        raise DataError(f'{where}: reading Parquet needs pyarrow: pip install "resnets[parquet]"')
    opened: dict[SplitName, list[_File]] = {split: [] for split in paths_of}
    total = sum(map(len, paths_of.values()))
    with progress.reporting("listing", total=total, unit="files") as bar:
        for split, paths in paths_of.items():
            for path in paths:
                opened[split].append(_open(path, path.relative_to(folder).as_posix()))
                bar.advance(1)
    every = [file for inside in opened.values() for file in inside]
    for file in every:
        if file.classes != every[0].classes:
            raise DataError(
                f"{file.path}: has other names of classes than {every[0].path.name}; put data sets "
                "in folders of their own"
            )
    try:
        numbers, classes = labels.of(
            [each for file in every for each in file.given], every[0].classes
        )
    except DataError as err:
        raise DataError(f"{where}: {err}") from err
    images_of = {split: sum(len(file.names) for file in opened[split]) for split in opened}
    for split, images in images_of.items():
        if not images:
            raise DataError(f"{where}: no rows in the {split} files; fetch them again")
    names = tuple(each for file in every for each in file.names)
    whole = ImageFiles(names, torch.tensor(numbers), _Images(every))
    return FileData(name, str(where.resolve()), classes, splits.cut(whole, images_of))


class _Images:
    """Returns the bytes of an image by its row, from any thread, keeping the last row groups.

    Reading a row group takes as long as reading all of its images: cheap where images are asked
    for in their order, dear where at random, unless all of them can be kept.
    """

    def __init__(self, opened: Sequence[_File]) -> None:
        self.files = opened
        self.groups = [
            (number, group)
            for number, file in enumerate(opened)
            for group in range(len(file.group_rows))
        ]
        rows = [opened[number].group_rows[group] for number, group in self.groups]
        self.end_n = np.cumsum(rows, dtype=np.int64)
        self._begin()

    def _begin(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.reading: OrderedDict[int, Future[Any]] = OrderedDict()
        self.bytes_of: dict[int, int] = {}

    def __reduce__(self) -> tuple[type["_Images"], tuple[Sequence[_File]]]:
        return _Images, (self.files,)

    def __call__(self, index: int) -> bytes:
        group = int(np.searchsorted(self.end_n, index, side="right"))
        number, inside = self.groups[group]
        file = self.files[number]
        rows = file.group_rows[inside]
        with _reading(file.path):
            value = self._group(group)[index - int(self.end_n[group]) + rows].as_py()
        content = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(
                f"{file.path}: row {index:,} holds no image; `datasets` can embed those it only "
                "names the path of"
            )
        return content

    def _group(self, group: int) -> Any:
        """Return a row group's images, waiting where another thread is reading it."""
        if self.process != os.getpid():  # forked, perhaps while another thread held the lock
            self._begin()
        with self.lock:
            found = self.reading.get(group)
            mine = found is None
            if found is None:
                found = self.reading[group] = Future()
            self.reading.move_to_end(group)
        if mine:
            self._fill(group, found)
        return found.result()

    def _fill(self, group: int, wanted: "Future[Any]") -> None:
        number, inside = self.groups[group]
        try:
            column = _column(self.files[number], inside)
        except BaseException as err:
            with self.lock:
                del self.reading[group]
            wanted.set_exception(err)
            return
        wanted.set_result(column)
        with self.lock:
            self.bytes_of[group] = column.nbytes
            oldest = [each for each in self.reading if each in self.bytes_of and each != group]
            for each in oldest:
                if sum(self.bytes_of.values()) <= _KEPT_BYTES:
                    break
                del self.reading[each], self.bytes_of[each]


def _column(file: _File, group: int) -> Any:
    import pyarrow.parquet as pq  # only these files need it

    if files.state(file.path) != file.state:
        raise DataError(f"{file.path}: has changed since it was opened; run the same command again")
    with _reading(file.path), pq.ParquetFile(file.path, metadata=file.metadata) as opened:
        # One thread: whoever asks has threads of their own.
        column = opened.read_row_group(group, columns=[file.image], use_threads=False).column(0)
        if len(column) != file.group_rows[group]:
            raise DataError(f"{file.path}: damaged: a row group lacks rows; fetch it again")
        return column


def _open(path: Path, called: str) -> _File:
    import pyarrow.parquet as pq

    with _reading(path), pq.ParquetFile(path) as opened:
        schema, metadata = opened.schema_arrow, opened.metadata
        features = _features(schema)
        image = _image_column(path, schema, features)
        label = _label_column(path, schema, features)
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        # Not `group.column(i)`: over some damage it ends the process (docs/lab-log.md).
        largest = max((group.total_byte_size for group in groups), default=0)
        if largest > _GROUP_BYTES:
            raise DataError(
                f"{path}: has a row group of {largest / 1e9:.1f} GB, which has to be read as a "
                "whole; write it with row_group_size=100"
            )
        rows, size = tuple(group.num_rows for group in groups), path.stat().st_size
        if not 0 <= metadata.num_rows <= size:  # a run of equal labels takes a few bytes
            raise DataError(f"{path}: damaged: {metadata.num_rows:,} rows in {size:,} bytes")
        table = opened.read(columns=[label, *_path_column(schema, image)], use_threads=False)
        given = table.column(label).to_pylist()
        if min(rows, default=0) < 0 or not len(given) == metadata.num_rows == sum(rows):
            raise DataError(f"{path}: damaged: columns of different lengths; fetch it again")
        return _File(
            path=path,
            state=files.state(path),
            metadata=metadata,
            image=image,
            group_rows=rows,
            names=_names(called, table, image),
            given=tuple(_label(path, row, value) for row, value in enumerate(given)),
            classes=_class_names(path, features.get(label)),
        )


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Return what `datasets` wrote of the columns; nothing where it did not write the file."""
    about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        found = about["info"]["features"].items()
        return {name: feature for name, feature in found if isinstance(feature, dict)}
    return {}


def _image_column(path: Path, schema: Any, features: dict[str, dict[str, Any]]) -> str:
    leaves = {field.name: leaf for field in schema if (leaf := _leaf(field)) is not None}
    told = [name for name in leaves if features.get(name, {}).get("_type") == "Image"]
    chosen = _only(path, schema, "encoded images (bytes)", told or list(leaves), _IMAGES)
    return leaves[chosen]


def _leaf(field: Any) -> str | None:
    """Return the name under which a column's bytes are read; None where it holds none."""
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    if is_bytes(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type):
        inside = {each.name: each.type for each in field.type}
        if "bytes" in inside and is_bytes(inside["bytes"]):
            return f"{field.name}.bytes"
    return None


def _path_column(schema: Any, image: str) -> list[str]:
    """Return the leaf column with the images' own names, if there is one."""
    column, dot, _ = image.rpartition(".bytes")
    has_paths = dot and any(each.name == "path" for each in schema.field(column).type)
    return [f"{column}.path"] if has_paths else []


def _label_column(path: Path, schema: Any, features: dict[str, dict[str, Any]]) -> str:
    told = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    named = [name for name in schema.names if name in _LABELS]
    return _only(path, schema, f"labels ({', '.join(_LABELS)})", told or named, _LABELS)


def _only(
    path: Path, schema: Any, what: str, found: Sequence[str], preferred: Sequence[str]
) -> str:
    for name in preferred:
        if name in found:
            return name
    if len(found) == 1:
        return found[0]
    raise DataError(
        f"{path}: {'several columns' if found else 'no column'} of {what} among "
        f"{', '.join(schema.names)[:200]}; write it with one, called {preferred[0]}"
    )


def _names(called: str, table: Any, image: str) -> tuple[str, ...]:
    """Return what the images are called: their own names in the file, or else their rows."""
    if image.endswith(".bytes") and image.removesuffix(".bytes") in table.column_names:
        values = table.column(image.removesuffix(".bytes")).to_pylist()
        paths = [value["path"] if value else None for value in values]
        if all(path and path.isprintable() for path in paths) and len(set(paths)) == len(paths):
            return tuple(f"{called}/{path}" for path in paths)
    return tuple(f"{called}/{row}" for row in range(len(table)))


def _class_names(path: Path, feature: dict[str, Any] | None) -> tuple[str, ...] | None:
    names = feature.get("names") if feature else None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: damaged: its list of classes has other things than names")
    return tuple(names)


def _label(path: Path, row: int, value: object) -> int | str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if type(value) is int and 0 <= value <= labels.HIGHEST:
        return value
    if value is None or value in (-1, ""):
        raise DataError(f"{path}: row {row:,} has no label; leave such files or rows out")
    raise DataError(
        f"{path}: row {row:,}: a label must be a class index from 0 to {labels.HIGHEST:,} or a "
        f"name, got {str(value)[:40]!r}"
    )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever pyarrow meets in a damaged file into one clear line."""
    try:
        yield
    except DataError:
        raise
    except Exception as err:
        if isinstance(err, OSError) and err.strerror:  # the system's; pyarrow's own have no number
            raise DataError(f"{path}: cannot be read ({err.strerror})") from err
        said = " ".join(str(err).split())[:120]
        raise DataError(
            f"{path}: not a whole Parquet file ({type(err).__name__}: {said}); fetch it again"
        ) from err
