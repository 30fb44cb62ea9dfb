"""Labels as people write them, and image files that a table beside them labels: labels.csv.

The table's first line names the columns, in any order: `file`; `class_index`, or `class` with a
WordNet id of ImageNet or any name of a class; and where there are splits `split`. A file stands in
the folder, or in `images/` inside it.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from resnets.core.errors import DataError
from resnets.data import files, imagenet_classes, splits
from resnets.data.files import FileData, ImageFiles

TABLE: Final = "labels.csv"
HIGHEST: Final = 999_999  # class index: no data set has a million classes
_COLUMNS: Final = ({"file", "class_index"}, {"file", "class"})


def is_in(folder: Path) -> bool:
    """Tell whether a folder has the table."""
    return (folder / TABLE).is_file()


def read(folder: Path) -> FileData:
    """Read the table; the set is called as the folder. Without splits it is one, "validation".

    Raises:
        DataError: The table is damaged, names a file twice or one that is missing or outside the
            folder, a class index is not a whole number from 0, or a split has an unknown name.
    """
    table = folder / TABLE
    rows = list(_rows(table))
    if not rows:
        raise DataError(f"{table}: lists no files")
    first: dict[str, int] = {}
    for row in rows:
        if first.setdefault(row.file, row.line) != row.line:
            raise DataError(
                f"{table}: lines {first[row.file]} and {row.line} both list {row.file}; leave one"
            )
    labels, classes = of([row.label for row in rows])
    base = _base(folder, list(first))
    parts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        parts.setdefault(row.split, []).append(index)

    def part(indices: Sequence[int]) -> ImageFiles:
        names = tuple(rows[i].file for i in indices)
        labels_n = torch.tensor([labels[i] for i in indices])
        return ImageFiles(names, labels_n, files.reader(base, names))

    return FileData(
        name=folder.resolve().name,
        where=str(folder.resolve()),
        classes=classes,
        splits={name: part(indices) for name, indices in splits.choose(table, parts).items()},
    )


def index(text: str) -> int | None:
    """Return the class index that a text is, from 0 to `HIGHEST`; None where it is none."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(HIGHEST))):
        return None
    return int(text)


def of(
    given: Sequence[int | str], listed: Sequence[str] | None = None
) -> tuple[list[int], tuple[str, ...] | None]:
    """Return the labels and class names of a data set that gives class indices, or classes' names.

    Args:
        given: For each image, all indices or all names.
        listed: The names of the classes in the order of the labels, where the data lists them.

    Returns:
        The labels, and the names of the classes: those listed, or ImageNet's where it is known to
        be. Names without a list are ImageNet's where all are its WordNet ids, and else numbered in
        their order; indices without a list have no names.

    Raises:
        DataError: Indices and names are mixed, one is not of the list, or the list has a name
            twice. The message doesn't say where.
    """
    names = {each for each in given if isinstance(each, str)}
    indices = [each for each in given if not isinstance(each, str)]
    if names and indices:
        raise DataError(
            f"both class indices ({indices[0]}) and names of classes ({min(names)[:40]!r}) are "
            "here; use one kind"
        )
    if names and listed is None and names <= imagenet_classes.index_by_wnid().keys():
        listed = imagenet_classes.wnids()
    elif names and listed is None:
        listed = sorted(names)
    classes = None if listed is None else _checked(listed)
    if names and listed is not None:
        index_of = {name: number for number, name in enumerate(listed)}
        if unknown := names - index_of.keys():
            raise DataError(f"{min(unknown)[:40]!r} is none of the {len(listed)} classes listed")
        return [index_of[str(each)] for each in given], classes
    if classes is not None and max(indices, default=0) >= len(classes):
        raise DataError(
            f"a class index of {max(indices)}, but a list of {len(classes)} classes; list them all"
        )
    return indices, classes


def inside(at: str, name: str) -> str:
    """Return a file's name with "/", refusing one that leaves the folder.

    Args:
        at: What a message begins with.
        name: As the data has it, relative to the folder.

    Raises:
        DataError: It leaves the folder.
    """
    parts = name.strip().replace("\\", "/").split("/")
    if not parts[0] or ":" in parts[0] or ".." in parts or "\0" in name:
        raise DataError(f"{at}{name[:80]!r} leads out of the folder; list files inside it")
    return "/".join(part for part in parts if part not in ("", "."))


def _checked(listed: Sequence[str]) -> tuple[str, ...]:
    if imagenet_classes.are(listed):
        return imagenet_classes.names()
    if not listed or not all(listed):
        raise DataError("the list of classes is empty, or has an empty name; each class needs one")
    name, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise DataError(f"the list of classes has {name[:40]!r} {times} times; each needs its own")
    return tuple(listed)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table."""

    line: int
    file: str
    label: int | str
    split: str


def _rows(table: Path) -> Iterator[_Row]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            header = [name.strip() for name in next(lines, [])]
            if len(set(header)) < len(header) or set(header) - {"split"} not in _COLUMNS:
                raise DataError(
                    f"{table}: its first line must be file,class_index or file,class, with ,split "
                    f"where wanted; it is {','.join(header)[:60]!r}"
                )
            for row in lines:
                if row:
                    at = f"{table}: line {lines.line_num}: "
                    if len(row) != len(header) or not all(map(str.strip, row)):
                        raise DataError(f"{at}expected {','.join(header)}")
                    yield _row(lines.line_num, at, dict(zip(header, row, strict=True)))
    except (UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{table}: not a table of comma-separated values ({err})") from err
    except OSError as err:
        raise DataError(f"{table}: cannot be read ({err.strerror})") from err


def _row(line: int, at: str, given: dict[str, str]) -> _Row:
    file = inside(at, given["file"])
    label = index(given["class_index"]) if "class_index" in given else given["class"].strip()
    if label is None:
        raise DataError(
            f"{at}{file}: class_index must be a whole number from 0 to {HIGHEST:,}, got "
            f"{given['class_index'].strip()[:40]!r}"
        )
    split = given.get("split", splits.MEASURED[0]).strip().lower()
    if split not in splits.WORDS:
        raise DataError(
            f"{at}{file}: split must be one of {', '.join(splits.WORDS)}, got {split[:40]!r}"
        )
    return _Row(line, file, label, split)


def _base(folder: Path, names: Sequence[str]) -> Path:
    """Return the folder that holds the files: `folder`, or `images/` inside it."""
    bases = (folder, folder / "images")
    missing = [_missing(base, names) for base in bases]
    least = min(range(len(bases)), key=lambda i: len(missing[i]))
    if missing[least]:
        first, more = missing[least][0], len(missing[least]) - 1
        others = f" and {more:,} more of its files are" if more else " is"
        raise DataError(
            f"{folder / TABLE}: {first}{others} missing, here and in images/; put back or take off "
            "the list"
        )
    return bases[least]


def _missing(base: Path, names: Sequence[str]) -> list[str]:
    """Return the names of which there is no file, listing each folder once."""
    here: dict[str, set[str]] = {}
    for name in names:
        parent = name.rpartition("/")[0]
        if parent not in here:
            at = base / parent
            here[parent] = {e.name for e in os.scandir(at) if e.is_file()} if at.is_dir() else set()
    return [name for name in names if name.rpartition("/")[2] not in here[name.rpartition("/")[0]]]
