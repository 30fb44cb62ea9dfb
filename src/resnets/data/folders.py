"""Image files in one folder a class: DIR/CLASS/..., or DIR/train/CLASS/... beside DIR/val."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from resnets.core.errors import DataError
from resnets.data import files, imagenet_classes, splits
from resnets.data.files import FileData, ImageFiles, SplitName

# What torchvision's ImageFolder takes for an image, in any case of letters.
EXTENSIONS: Final = (
    ".jpg",
    ".jpeg",
    ".png",
    ".ppm",
    ".bmp",
    ".pgm",
    ".tif",
    ".tiff",
    ".webp",
)
_SHOWN: Final = 3  # names in a message


def holds_classes(folder: Path) -> bool:
    """Tell whether there is any folder with an image in it, at whatever depth."""
    return any(next(_images(folder / name), None) is not None for name in _folders(folder))


def read(folder: Path) -> FileData:
    """List the images of every class folder; files and folders that begin with a dot are left out.

    Class names are the folders'. Where all of them are WordNet ids of ImageNet's 1000 classes,
    the labels and names are ImageNet's, even when only some of the classes are there. A folder
    without splits is one split, "validation"; "train" where that is the folder's name.

    Raises:
        DataError: No class of a split has images, or the splits don't have the same class folders.
    """
    folder_of = _splits(folder)
    found = {name: _classes(at) for name, at in folder_of.items()}
    every = sorted({class_name for classes in found.values() for class_name in classes})
    if set(every) <= imagenet_classes.index_by_wnid().keys():
        index_of, names = imagenet_classes.index_by_wnid(), imagenet_classes.names()
        whole = len(every) == imagenet_classes.CLASSES
    else:
        _check_same(folder, found)
        index_of, names = {name: index for index, name in enumerate(every)}, tuple(every)
        whole = False
    return FileData(
        name="imagenet" if whole else folder.resolve().name,
        where=str(folder.resolve()),
        classes=names,
        splits={
            name: _files(folder_of[name], classes, index_of) for name, classes in found.items()
        },
    )


def image_names(folder: Path) -> list[str]:
    """Return the names of the images that lie in a folder itself, sorted."""
    return sorted(
        entry.name for entry in os.scandir(folder) if is_image(entry.name) and entry.is_file()
    )


def images_below(folder: Path) -> Iterator[str]:
    """Yield the images in a folder and in those below: their names, relative to it, with "/"."""
    return (name.removeprefix("/") for name in _images(folder))


def _splits(folder: Path) -> dict[SplitName, Path]:
    """Tell split folders from class folders: "train" and another, or nothing but split folders."""
    names = {name.lower(): name for name in _folders(folder)}
    held = [word for word in splits.MEASURED if word in names]
    both = splits.TRAIN in names and bool(held)
    dated = [each for name, each in names.items() if splits.is_dated(name)]
    if dated and {*names.values()} <= {*dated, names.get("annotations")}:
        raise DataError(
            f"{folder}: {_some(sorted(dated))} are COCO's names of splits, and there is no "
            "annotations/instances_*.json beside them; put it there, or call splits with one "
            "folder a class train/ and val/"
        )
    if not both and not names.keys() <= set(splits.WORDS):
        return {splits.alone(folder): folder}
    return splits.choose(
        folder, {word: folder / names[word] for word in splits.WORDS if word in names}
    )


def _classes(folder: Path) -> dict[str, list[str]]:
    """Return the names of the images of each class, relative to the folder, sorted.

    A class may have none: `resnets data check` says so.
    """
    found = {name: sorted(_images(folder / name, name)) for name in _folders(folder)}
    if not found:
        raise DataError(f"{folder}: no class folders are here; put images in one folder a class")
    if not any(found.values()):
        raise DataError(
            f"{folder}: no image in class folder{'s' * (len(found) > 1)} {_some(list(found))}; an "
            f"image ends in {', '.join(EXTENSIONS)}"
        )
    return found


def _check_same(folder: Path, found: Mapping[SplitName, Mapping[str, object]]) -> None:
    if len(found) < 2:
        return
    train, held = (set(found[name]) for name in ("train", "validation"))
    if train != held:
        where = "train" if train - held else "validation"
        raise DataError(
            f"{folder}: {_some(sorted(train - held or held - train))} only in {where}; both splits "
            "need the same class folders"
        )


def _files(
    folder: Path, classes: Mapping[str, Sequence[str]], index_of: Mapping[str, int]
) -> ImageFiles:
    names = tuple(name for inside in classes.values() for name in inside)
    labels = [index_of[each] for each, inside in classes.items() for _ in inside]
    return ImageFiles(names, torch.tensor(labels), files.reader(folder, names))


def _folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())


def _images(
    folder: Path, called: str = "", above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Yield the images in a folder and in those below; a link to a folder above leads nowhere."""
    about = folder.stat()
    here = (about.st_dev, about.st_ino)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_image(entry.name) and entry.is_file():
                yield f"{called}/{entry.name}"
            elif not entry.name.startswith(".") and entry.is_dir():
                below = f"{called}/{entry.name}"
                yield from _images(folder / entry.name, below, above | {here})


def is_image(name: str) -> bool:
    """Tell an image by its name, as torchvision's `ImageFolder` does; hidden files are none."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
