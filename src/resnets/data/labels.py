"""Image files that a table beside them labels: a folder with labels.csv.

The first line names the columns: `file,class_index`, or `file,class` with a WordNet id of
ImageNet or any name of a class. A file stands in the folder, or in `images/` inside it.
"""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from resnets.core.errors import DataError
from resnets.data import files, imagenet_classes
from resnets.data.files import FileData, ImageFiles

TABLE: Final = "labels.csv"
_COLUMNS: Final = (("file", "class_index"), ("file", "class"))
_DIGITS: Final = 6  # of a class index: no data set has a million classes


def read(folder: Path) -> FileData:
    """Read the table; the set is called as the folder, and its one split "validation".

    Raises:
        DataError: The table is damaged, names a file twice or one that is missing or outside the
            folder, or a class index is not a whole number from 0.
    """
    table = folder / TABLE
    column, rows = _rows(table)
    names = tuple(name for name, _ in rows)
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise DataError(f"{table}: {twice[0]} stands there {names.count(twice[0])} times")
    given = [label for _, label in rows]
    if column == "class_index":
        labels, classes = [_index(table, *row) for row in rows], None
    else:
        labels, classes = _named(given)
    base = _base(folder, names)
    return FileData(
        name=folder.resolve().name,
        where=str(folder.resolve()),
        classes=classes,
        splits={
            "validation": ImageFiles(names, torch.tensor(labels), files.reader(base, names)),
        },
    )


def _rows(table: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return the name of the second column, and each file with what stands beside it."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as text:
            lines = csv.reader(text, strict=True)
            header = tuple(name.strip() for name in next(lines, []))
            if header not in _COLUMNS:
                raise DataError(
                    f"{table}: its first line must be file,class_index or file,class; it is "
                    f"{','.join(header)[:60]!r}"
                )
            rows = [(lines.line_num, row) for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as err:
        raise DataError(f"{table}: not a table of comma-separated values ({err})") from err
    except OSError as err:
        raise DataError(f"{table}: cannot be read ({err.strerror})") from err
    odd = next((number for number, row in rows if len(row) != 2 or not all(row)), None)
    if odd is not None:
        raise DataError(f"{table}: line {odd}: expected {','.join(header)}")
    if not rows:
        raise DataError(f"{table}: lists no files")
    return header[1], [(_inside(table, row[0]), row[1].strip()) for _, row in rows]


def _inside(table: Path, name: str) -> str:
    """Return a file's name with "/", refusing one that leaves the folder."""
    parts = name.strip().replace("\\", "/").split("/")
    if not parts[0] or ":" in parts[0] or ".." in parts or "\0" in name:
        raise DataError(f"{table}: {name[:80]!r} leads out of the folder; list files inside it")
    return "/".join(part for part in parts if part not in ("", "."))


def _index(table: Path, name: str, given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= _DIGITS):
        raise DataError(
            f"{table}: {name}: class_index must be a whole number from 0, got {given[:40]!r}"
        )
    return int(given)


def _named(given: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    wnids = imagenet_classes.index_by_wnid()
    if set(given) <= wnids.keys():
        return [wnids[wnid] for wnid in given], imagenet_classes.names()
    classes = tuple(sorted(set(given)))
    index_of = {name: index for index, name in enumerate(classes)}
    return [index_of[name] for name in given], classes


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
