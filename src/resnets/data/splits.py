"""Which split a folder, a file or a line of a table belongs to, by the words for it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import torch

from resnets.core.errors import DataError
from resnets.data.files import ImageFiles, SplitName

T = TypeVar("T")

TRAIN: Final = "train"
# What a split to measure on is called; a test split is taken only where there is no other.
MEASURED: Final = ("validation", "val", "test")
WORDS: Final = (TRAIN, *MEASURED)
# What the split to validate on is called in data sets for detection.
HELD: Final = ("validation", "val", "valid")
# `train-00012-of-00040`: nothing but the word before the numbers is the split.
_NUMBERED: Final = re.compile(r"(?:.*-)?([^-]+)-\d+-of-\d+\..*")

_DATED: Final = re.compile(r"(.+?)[-_ ]?((?:19|20)\d\d)")


def choose(where: Path, found: Mapping[str, T]) -> dict[SplitName, T]:
    """Return the splits of a data set by our names for them, train first.

    Args:
        where: The data set, for the message.
        found: By `WORDS`.

    Raises:
        DataError: One split has two names.
    """
    if {"validation", "val"} <= found.keys():
        raise DataError(f"{where}: both validation and val are here; leave one")
    chosen: dict[SplitName, T] = {}
    if TRAIN in found:
        chosen[TRAIN] = found[TRAIN]
    measured = next((word for word in MEASURED if word in found), None)
    if measured is not None:
        chosen["validation"] = found[measured]
    return chosen


def by_year(where: Path, found: Mapping[str, T]) -> dict[str, T]:
    """Return the splits of a data set for detection by our names for them: by year, train first.

    What is called "train2017" is "train", and "2017/train" where there are several years. A name
    without a word for a split stays as it is; a single such one is `alone`.

    Args:
        where: The data set, for the message and for `alone`.
        found: By the data's own names.

    Raises:
        DataError: One split has two names.
    """
    dated = {name: _dated(name) for name in found}
    several = len({year for year, _ in dated.values() if year}) > 1
    only = len(found) == 1
    ranks = {"train": 0, "validation": 1, "test": 2}
    chosen: dict[str, T] = {}
    for name, (year, word) in sorted(
        dated.items(), key=lambda each: (each[1][0], ranks.get(each[1][1], 3), each)
    ):
        called = f"{year}/{word}" if several and year else word
        called = alone(where) if only and word not in ranks else called
        if called in chosen:
            raise DataError(f"{where}: two splits would be called {called[:40]!r}; rename one")
        chosen[called] = found[name]
    return chosen


def alone(where: Path) -> SplitName:
    """Return what the split of a data set without splits is called, by its folder's name."""
    return TRAIN if where.resolve().name.lower() == TRAIN else "validation"


def of_file(path: Path) -> SplitName:
    """Return the split that a file by itself is, by its name."""
    return TRAIN if word_in(path.name) == TRAIN else "validation"


def word_in(file_name: str) -> str | None:
    """Return the one split that a file's name speaks of, e.g. `photos-train-000012.tar`."""
    name = file_name.lower()
    numbered = _NUMBERED.fullmatch(name)
    parts = [numbered[1]] if numbered else re.split(r"[-_. ]", name)
    words = {part for part in parts if part in WORDS}
    return words.pop() if len(words) == 1 else None


def paths_in(folder: Path, suffix: str) -> list[tuple[str | None, Path]]:
    """Return the files of a kind in a folder, each with the word for its split or None.

    They stand in the folder, in `data/` inside it, or in folders called as splits in either; of
    each of these sorted by name. A file's split is its folder's, or the one its name speaks of.
    """
    found: list[tuple[str | None, Path]] = []
    for path in (*_listed(folder), *_listed(folder / "data")):
        if path.suffix.lower() == suffix and path.is_file():
            found.append((word_in(path.name), path))
        elif path.name.lower() in WORDS:
            inside = [each for each in _listed(path) if each.suffix.lower() == suffix]
            found += [(path.name.lower(), each) for each in inside]
    return found


def files_in(folder: Path, suffix: str) -> dict[SplitName, list[Path]]:
    """Return the files of `paths_in` by split; where none tells its split, all are one.

    Raises:
        DataError: Only some of the files tell their split.
    """
    found: dict[str, list[Path]] = {}
    untold = []
    for word, path in paths_in(folder, suffix):
        if word is None:
            untold.append(path)
        else:
            found.setdefault(word, []).append(path)
    if untold and found:
        raise DataError(
            f"{untold[0]}: its name tells no split ({', '.join(WORDS)}), as others here do; rename "
            "it or move it away"
        )
    return {alone(folder): untold} if untold else choose(folder, found)


def cut(whole: ImageFiles, images_of: Mapping[SplitName, int]) -> dict[SplitName, ImageFiles]:
    """Return the splits that follow each other in a whole, each of so many images."""
    found: dict[SplitName, ImageFiles] = {}
    first = 0
    for name, images in images_of.items():
        found[name] = whole.take(torch.arange(first, first + images))
        first += images
    return found


def is_dated(name: str) -> bool:
    """Tell whether something is called as a split of some year, e.g. "train2017"."""
    year, word = _dated(name)
    return bool(year) and word in ("train", "validation", "test", "unlabeled")


def _dated(name: str) -> tuple[str, str]:
    """Return the year at the end of a split's name, if any, and our name for the split."""
    match = _DATED.fullmatch(name)
    year, word = (match[2], match[1]) if match else ("", name)
    plain = word.lower()
    return year, "validation" if plain in HELD else plain if plain in WORDS else word


def _listed(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted; names that begin with a dot are left out."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(e.name for e in entries) if name[0] != "."]
