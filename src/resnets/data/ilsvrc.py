"""ILSVRC's layout for localization: Annotations/CLS-LOC/SPLIT/.../NAME.xml beside the images.

These are in Data/CLS-LOC/SPLIT or in SPLIT itself, each in a folder of its class or in none; a
split is train or val. All of that may stand in a folder ILSVRC, as it is published.

Source: Russakovsky et al. 2015, https://www.image-net.org/challenges/LSVRC/2012/
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

from resnets.core import progress
from resnets.core.errors import DataError
from resnets.data import folders, imagenet_classes, voc
from resnets.data.annotated import DetectionData
from resnets.data.drawn import Category, Gathered
from resnets.data.files import FileData
from resnets.data.flaws import Flaw

_ABOVE: Final = "ILSVRC"
_ANNOTATIONS: Final = "Annotations/CLS-LOC"
_IMAGES: Final = "Data/CLS-LOC"
_SPLITS: Final = {"train": "train", "val": "validation"}
_VALIDATION: Final = re.compile(r"ILSVRC2012_val_(\d{8})")
_DISCARDED: Final = "ILSVRC20[0-9][0-9]_clsloc_validation_blacklist.txt"
_DEVKIT: Final = "devkit/data"


def is_in(folder: Path) -> bool:
    """Tell whether a folder has annotations of this layout."""
    return _base(folder) is not None


def read(folder: Path) -> DetectionData:
    """Read the images that have an annotation; the others, most of ILSVRC's, are not looked at.

    Where all names of classes are WordNet ids of ImageNet's 1000, the classes are those, even when
    only some of them are here. Pixels count from 0, and both corners of a box are inside.

    Images to validate on that the devkit discards, for the bad quality of their boxes, are left
    out where its list lies in the folder or in `devkit/data`.

    Raises:
        DataError: An annotation is damaged or has a document type, or a split has no image.

    Source: Russakovsky et al. 2015, and the development kit of ILSVRC2015, sec. 3.2.
    """
    base = _base(folder)
    assert base is not None
    at = base / _IMAGES if (base / _IMAGES).is_dir() else base
    discarded = _discarded([folder, folder / _DEVKIT, base / _DEVKIT])
    found = {
        name: _read_split(base / _ANNOTATIONS / word, at, word, discarded)
        for word, name in _SPLITS.items()
        if (base / _ANNOTATIONS / word).is_dir()
    }
    names = {str(name) for split in found.values() for name in split.boxes.categories if name}
    every, label_of = _classes(names)
    ours = every == imagenet_classes.names()
    name = "imagenet" if len(names) == imagenet_classes.CLASSES and ours else _name(folder)
    number_of = {label: n for n, label in imagenet_classes.index_by_devkit_id().items()}
    numbers = range(len(every))
    return DetectionData(
        name=name,
        where=str(folder.resolve()),
        classes=every,
        category_ids=tuple(number_of[label] if ours else label + 1 for label in numbers),
        splits={name: split.finished(at, label_of) for name, split in found.items()},
        labelled=cache(partial(_labelled, at, name, str(folder.resolve()))),
    )


def _base(folder: Path) -> Path | None:
    """Return what holds the annotations: the folder, or the one that is published in it."""
    for base in (folder, folder / _ABOVE):
        if any((base / _ANNOTATIONS / word).is_dir() for word in _SPLITS):
            return base
    return None


def _name(folder: Path) -> str:
    return folder.resolve().name


def _classes(names: set[str]) -> tuple[tuple[str, ...], dict[Category, int]]:
    whole = names <= imagenet_classes.index_by_wnid().keys()
    every = imagenet_classes.wnids() if whole else tuple(sorted(names))
    label_of: dict[Category, int] = {name: label for label, name in enumerate(every)}
    return (imagenet_classes.names() if whole else every), label_of


def _labelled(at: Path, name: str, where: str) -> FileData:
    return replace(folders.read(at), name=name, where=where)


def _read_split(folder: Path, images: Path, word: str, discarded: set[int]) -> Gathered:
    """Return a split's images that have an annotation, in the order of their names."""
    paths = sorted(folder.rglob("*.xml"))
    file_of = _files(images / word, word) if (images / word).is_dir() else {}
    split = Gathered()
    with progress.reporting(f"reading {word}", total=len(paths), unit="annotations") as bar:
        for path in paths:
            bar.advance(1)
            if _number(path.stem) in discarded:
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            file = file_of.get(name)
            if file is None:
                split.flaws.append(Flaw("missing-image", f"{word}/{name}"))
            else:
                _put(split, file, path)
    if not len(split):
        raise DataError(
            f"{folder}: none of the {len(paths):,} images of its annotations is in "
            f"{images / word}; put them there"
        )
    return split


def _files(folder: Path, word: str) -> dict[str, str]:
    """Return the image for each annotation, whose folders it need not have.

    Names are those of the files within their split, without the extension, and, where no other
    file is called so, without the folder.
    """
    named = {name.rpartition(".")[0]: f"{word}/{name}" for name in folders.images_below(folder)}
    bare: dict[str, str | None] = {}
    for name, file in named.items():
        last = name.rpartition("/")[2]
        bare[last] = None if last in bare else file
    return {last: file for last, file in bare.items() if file is not None} | named


def _put(split: Gathered, file: str, path: Path) -> None:
    root = voc.annotation(path)
    width, height = voc.size(root)
    image = split.add(file, path.stem, (width, height))
    for category, (left, top, right, bottom), difficult in voc.objects(root):
        box = (left, top, _end(right, width), _end(bottom, height))
        split.boxes.put(image, box, category, ignored=difficult)


def _end(last: float, side: int) -> float:
    """Return where a box ends whose last pixel is told; some tell the image's side for it."""
    return last if last == side else last + 1


def _number(name: str) -> int:
    """Return the number of an image to validate on; 0 of any other."""
    match = _VALIDATION.fullmatch(name)
    return int(match[1]) if match else 0


def _discarded(where: Iterable[Path]) -> set[int]:
    """Return the numbers of the images to validate on that nobody is measured on."""
    for folder in where:
        for path in sorted(folder.glob(_DISCARDED)):
            try:
                return {int(line) for line in path.read_text(encoding="ascii").split()}
            except ValueError as err:
                raise DataError(f"{path}: not a list of numbers of images, one a line") from err
    return set()
