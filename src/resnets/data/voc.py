"""PASCAL VOC's layout: Annotations/NAME.xml, JPEGImages/NAME.jpg, ImageSets/Main/SPLIT.txt.

A folder is one year of it, or holds several: VOC2007, VOC2012.

Source: Everingham et al. 2010, sec. 2.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from resnets.core.errors import DataError
from resnets.data import drawn, folders, splits
from resnets.data.annotated import DetectionData
from resnets.data.drawn import Category, Gathered
from resnets.data.flaws import Flaw

# In alphabetical order, in which VOC numbers them.
CLASSES: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_LISTS: Final = "ImageSets/Main"
_IMAGES: Final = "JPEGImages"
_ANNOTATIONS: Final = "Annotations"
_YEAR: Final = re.compile(r"VOC((?:19|20)\d\d)")
_TOGETHER: Final = "trainval"  # train and validation; counts where these are not told apart
# VOC2012's test images have XML where they are in the test of person layout, without the objects.
_LEAST_ANNOTATED: Final = 0.5


def is_in(folder: Path) -> bool:
    """Tell whether a folder is a year of VOC, or has some."""
    return bool(_years(folder))


def read(folder: Path) -> DetectionData:
    """Read every split; "difficult" objects are ignored ones.

    Splits are "train", "validation" and "test", of a folder with years "2007/train" and so on.
    "trainval" is read, as "train", where neither train nor validation has a list of its own.
    Without lists all images with an annotation are one split. A split of which less than half of
    the images have an annotation is one without annotations. The classes are VOC's 20 where all
    names are among them, and else the names in their order.

    Raises:
        DataError: A list or an annotation is damaged, an annotation has a document type, which may
            make it expand without end or read files, or no image of a split is there.
    """
    years = _years(folder)
    found: dict[str, Gathered] = {}
    for year, at in years.items():
        for name, split in _read_year(at, f"{at.name}/" if year else "").items():
            found[f"{year}/{name}" if year else name] = split
    names = {name for split in found.values() for name in split.boxes.categories if name}
    every = set(CLASSES)
    classes = CLASSES if names <= every else tuple(sorted(map(str, names)))
    label_of: dict[Category, int] = {name: label for label, name in enumerate(classes)}
    base = folder if "" in years else next(iter(years.values())).parent
    return DetectionData(
        name="voc" if names == every else folder.resolve().name,
        where=str(folder.resolve()),
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        splits={name: split.finished(base, label_of) for name, split in found.items()},
    )


def _years(folder: Path) -> dict[str, Path]:
    """Return the folders that are a year, by the year; "" where the folder itself is one."""
    if _is_year(folder):
        return {"": folder}
    for base in (folder, folder / "VOCdevkit"):
        if base.is_dir():
            found = {
                match[1]: at
                for at in sorted(base.iterdir())
                if (match := _YEAR.fullmatch(at.name)) and _is_year(at)
            }
            if found:
                return found
    return {}


def _is_year(folder: Path) -> bool:
    beside = (folder / _ANNOTATIONS, folder / _LISTS)
    return (folder / _IMAGES).is_dir() and any(path.is_dir() for path in beside)


def _read_year(folder: Path, prefix: str) -> dict[str, Gathered]:
    images = sorted(folders.images_below(folder / _IMAGES))
    file_of = {name.rpartition(".")[0]: f"{prefix}{_IMAGES}/{name}" for name in images}
    at = folder / _ANNOTATIONS
    annotated = {path.relative_to(at).with_suffix("").as_posix() for path in at.rglob("*.xml")}
    lists = _lists(folder) or {splits.alone(folder): [n for n in file_of if n in annotated]}
    found = {}
    for split, listed in lists.items():
        if not any(name in file_of for name in listed):
            raise DataError(
                f"{folder}: none of the {len(listed):,} images of {split} is in {_IMAGES}/; put "
                "them there"
            )
        found[split] = _read_split(at, listed, file_of, annotated)
    return found


def _read_split(
    folder: Path, listed: Sequence[str], file_of: Mapping[str, str], annotated: set[str]
) -> Gathered:
    here = [name for name in listed if name in file_of]
    split = Gathered()
    split.annotated = len(annotated & set(here)) >= _LEAST_ANNOTATED * len(here)
    split.flaws += [Flaw("missing-image", name) for name in listed if name not in file_of]
    for name in here:
        if not split.annotated:
            split.add(file_of[name], name)
        elif name not in annotated:
            split.flaws.append(Flaw("unannotated", file_of[name]))
        else:
            _put(split, file_of[name], name, annotation(folder / f"{name}.xml"))
    return split


def _lists(folder: Path) -> dict[str, list[str]]:
    """Return the names that each split lists."""
    at = folder / _LISTS
    paths = {path.stem.lower(): path for path in sorted(at.glob("*.txt"))} if at.is_dir() else {}
    words = [word for word in (splits.TRAIN, *splits.HELD, "test") if word in paths]
    chosen = splits.by_year(at, {word: paths[word] for word in words})
    if _TOGETHER in paths and not chosen.keys() & {"train", "validation"}:
        chosen = {"train": paths[_TOGETHER], **chosen}
    return {name: _listed(path) for name, path in chosen.items()}


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not a list of images, one name a line ({err.reason})") from err
    names = [line.strip() for line in lines if line.strip()]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise DataError(f"{path}: lists {name[:80]!r} {times} times; leave one")
    if not names:
        raise DataError(f"{path}: lists no images; name one a line, without .jpg")
    return names


def annotation(path: Path) -> Element:
    """Return the annotation of one image.

    Raises:
        DataError: It is damaged, is none of VOC's, or has a document type.
    """
    root = _parsed(path.read_bytes(), path)
    if root.tag != "annotation":
        raise DataError(f"{path}: begins with <{root.tag[:40]}>, not with VOC's <annotation>")
    return root


def _parsed(content: bytes, path: Path) -> Element:
    """Parse XML that has no document type: only there entities and other files can be named."""

    def refuse(*_: object) -> None:
        raise DataError(f"{path}: has a document type (<!DOCTYPE), which annotations have not")

    parser, builder = expat.ParserCreate(), TreeBuilder()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as err:  # the latter of odd encodings
        raise DataError(f"{path}: not an annotation in XML ({err})") from err
    return builder.close()


def _put(split: Gathered, file: str, name: str, root: Element) -> None:
    """Add an image with the size and the objects that its annotation tells."""
    image = split.add(file, name, size(root))
    for category, (left, top, right, bottom), difficult in objects(root):
        box = (left - 1, top - 1, right, bottom)
        split.boxes.put(image, box, category, ignored=difficult)


def size(root: Element) -> tuple[int, int]:
    """Return the width and height that an annotation says; 0 for what is none."""
    width, height = (drawn.side(_number(root, f"size/{side}")) for side in ("width", "height"))
    return width, height


def objects(root: Element) -> Iterator[tuple[str, tuple[float, float, float, float], bool]]:
    """Yield the name of each object, its box as it is written, and whether it is difficult.

    A corner that is no number is NaN.
    """
    for each in root.findall("object"):
        left, top, right, bottom = (
            _number(each, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")
        )
        name = (each.findtext("name") or "").strip()
        yield name, (left, top, right, bottom), _number(each, "difficult") == 1


def _number(within: Element, path: str) -> float:
    """Return a number by its path, or not a number."""
    try:
        return float(within.findtext(path) or "")
    except ValueError:
        return math.nan
