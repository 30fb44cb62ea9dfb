"""COCO's layout: annotations/instances_train2017.json beside train2017/, or one JSON with images.

Source: https://cocodataset.org
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resnets.core.errors import DataError
from resnets.data import drawn, folders, labels, splits
from resnets.data.annotated import DetectionData
from resnets.data.drawn import Category, Gathered
from resnets.data.flaws import Flaw

SUFFIX: Final = ".json"
_OFFICIAL: Final = "annotations"
# COCO numbers its 80 categories from 1 to 90 and leaves these out.
_UNUSED: Final = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_IDS: Final = tuple(number for number in range(1, 91) if number not in _UNUSED)
# Words that a file's name has beside the split's.
_WORDS: Final = {"instances", "annotations", "coco", "labels", "image", "info"}
_OTHERS: Final = ("captions_", "person_keypoints_", "panoptic_", "stuff_")
_INSTANCES: Final = "instances_"
_UNANNOTATED: Final = "image_info_"
_PEEKED_BYTES: Final = 1 << 20
_KEYS: Final = (b'"images"', b'"annotations"', b'"categories"')
# Of an annotation, and of no use here: left out while reading, as they are most of the file.
_HEAVY: Final = ("segmentation", "keypoints")


def is_in(folder: Path) -> bool:
    """Tell whether a folder has COCO's JSON."""
    return bool(_found(folder))


def read(folder: Path) -> DetectionData:
    """Read every split; a file's name tells which it is: instances_val2017.json, "validation".

    Splits are named as by `splits.by_year`. A JSON none of whose images are there is passed over
    where another's are. What has no "annotations" is a split without annotations. Crowds are
    ignored objects too. Classes are in the order of the categories' numbers.

    Raises:
        DataError: A JSON is damaged or not COCO's, two have a category of one number and different
            names, two categories or images have one name, or no image is there.
    """
    return _read(folder, _found(folder))


def read_file(path: Path) -> DetectionData:
    """Read one JSON, as a data set of one split; its images are looked for beside it.

    Raises:
        DataError: As from `read`.
    """
    above = path.parent.parent if path.parent.name == _OFFICIAL else path.parent
    made = _read(above, {_split_in(path): path})
    return DetectionData(
        made.name, str(path.resolve()), made.classes, made.category_ids, made.splits
    )


def looks_like(path: Path) -> bool:
    """Tell whether a file may be COCO's JSON, by its beginning."""
    with path.open("rb") as file:
        begin = file.read(_PEEKED_BYTES)
    return begin.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") and any(k in begin for k in _KEYS)


def _found(folder: Path) -> dict[str, Path]:
    """Return the JSON of each split, by the split's name in the file's or the folder's."""
    inside = [path for path in _jsons(folder / _OFFICIAL) if not path.name.startswith(_OTHERS)]
    instances = [path for path in inside if path.name.startswith(_INSTANCES)]
    tests = [path for path in inside if path.name.startswith(_UNANNOTATED)]
    for paths in (
        [*tests, *instances] if instances else inside,
        [path for path in _jsons(folder) if _WORDS.intersection(_parts(path))],
    ):
        if paths:
            return {_split_in(path): path for path in paths}
    return {
        at.name: path
        for at in (folder / word for word in (splits.TRAIN, *splits.HELD, "test"))
        for path in _jsons(at)
        if _WORDS.issuperset(_parts(path))
    }


def _jsons(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            named = path.name.startswith(_INSTANCES) and folder.name == _OFFICIAL
            if not path.name.startswith(".") and path.is_file() and (named or looks_like(path)):
                yield path


def _parts(path: Path) -> list[str]:
    return [part for part in re.split("[-_. ]", path.stem) if part]


def _split_in(path: Path) -> str:
    """Return what a file's name says beside `_WORDS`: "train2017" of instances_train2017.json."""
    return "-".join(part for part in _parts(path) if part not in _WORDS) or "all"


@dataclass(frozen=True, slots=True)
class _Listing:
    """A JSON's images with the folder in which most of them are.

    Args:
        images: What the JSON has of each.
        names: Of their files, relative to that folder.
        base: The folder.
        there: What is in it.
    """

    images: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    base: Path
    there: set[str]


def _read(folder: Path, paths: Mapping[str, Path]) -> DetectionData:
    categories: dict[int, str] = {}
    found: dict[str, Gathered] = {}
    missing: list[str] = []
    for name, path in paths.items():
        tree = _parsed(path)
        for number, category in _categories(tree, path).items():
            if categories.setdefault(number, category) != category:
                raise DataError(
                    f"{path}: category {number} is {category[:40]!r} here and "
                    f"{categories[number][:40]!r} in another file; give each its own number"
                )
        split = _gathered(tree, path, folder, name)
        if len(split):
            found[name] = split
        else:
            missing.append(f"{path}: none of its {len(split.flaws):,} images is here")
    if not found:
        raise DataError(f"{missing[0]}; put them beside {_OFFICIAL}/, or in images/")
    numbers = sorted(categories)
    _check_classes(folder, [categories[number] for number in numbers])
    label_of: dict[Category, int] = {number: label for label, number in enumerate(numbers)}
    return DetectionData(
        name="coco" if tuple(numbers) == _IDS else folder.resolve().name,
        where=str(folder.resolve()),
        classes=tuple(categories[number] for number in numbers),
        category_ids=tuple(numbers),
        splits={
            name: split.finished(folder, label_of)
            for name, split in splits.by_year(folder, found).items()
        },
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_bytes(), object_hook=_lightened)
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: not whole JSON ({str(err)[:80]})") from err
    if not isinstance(tree, dict) or not isinstance(tree.get("images"), list):
        raise DataError(f'{path}: not COCO\'s JSON, which has a list of "images"')
    return tree


def _lightened(tree: dict[str, Any]) -> dict[str, Any]:
    for key in _HEAVY:
        tree.pop(key, None)
    return tree


def _categories(tree: Mapping[str, Any], path: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for each in _list(tree, "categories", path):
        number, name = each.get("id"), each.get("name")
        if not isinstance(number, int) or isinstance(number, bool) or abs(number) >= 1 << 62:
            raise DataError(f"{path}: a category's id must be a whole number, got {_shown(number)}")
        if not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {number} must have a name, got {_shown(name)}")
        if found.setdefault(number, name) != name:
            raise DataError(f"{path}: two categories have the id {number}; give each its own")
    return found


def _check_classes(folder: Path, classes: Sequence[str]) -> None:
    if not classes:
        raise DataError(f'{folder}: its JSON lists no "categories"; name the classes there')
    for name in classes:
        if classes.count(name) > 1:
            raise DataError(f"{folder}: two categories are called {name[:40]!r}; rename one")


def _gathered(tree: Mapping[str, Any], path: Path, folder: Path, name: str) -> Gathered:
    split = Gathered()
    listing = _listing(tree, path, folder, name)
    index_of: dict[int | str, int] = {}
    prefix = listing.base.relative_to(folder).as_posix()
    for each, file in zip(listing.images, listing.names, strict=True):
        key = _key(each.get("id"))
        if key is None or key in index_of:
            why = "has no id" if key is None else f"has the id {_shown(key)} of another"
            raise DataError(f"{path}: the image {file[:80]!r} {why}; give each its own")
        if file not in listing.there:
            split.flaws.append(Flaw("missing-image", file))
            index_of[key] = -1
            continue
        said = drawn.side(each.get("width")), drawn.side(each.get("height"))
        index_of[key] = split.add(file if prefix == "." else f"{prefix}/{file}", key, said)
    split.annotated = "annotations" in tree
    for each in _list(tree, "annotations", path):
        _put(split, each, index_of, path)
    return split


def _listing(tree: Mapping[str, Any], path: Path, folder: Path, name: str) -> _Listing:
    images = _list(tree, "images", path)
    names = []
    for each in images:
        file = each.get("file_name")
        if not isinstance(file, str) or not file:
            raise DataError(f"{path}: an image must have a file_name, got {_shown(file)}")
        names.append(labels.inside(f"{path}: ", file))
    if not names:
        raise DataError(f"{path}: lists no images")
    twice, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path}: lists {twice[:80]!r} {times} times; leave one")
    listings = []
    for base in (folder / inside for inside in (name, f"images/{name}", "images", "data", "")):
        if base.is_dir():
            there = set(folders.images_below(base))
            listings.append(_Listing(images, names, base, there))
            if there.issuperset(names):
                break
    return max(listings, key=lambda each: len(each.there.intersection(names)))


def _put(
    split: Gathered, each: Mapping[str, Any], index_of: Mapping[int | str, int], path: Path
) -> None:
    """Add the box of an annotation, whatever it is."""
    key = _key(each.get("image_id"))
    image = None if key is None else index_of.get(key)
    if image is None:
        why = f"image_id {_shown(each.get('image_id'))}, annotation {_shown(each.get('id'))}"
        split.flaws.append(Flaw("unlisted-image", path.name, why))
    elif image >= 0:
        category = _key(each.get("category_id"))
        split.boxes.put(
            image,
            _box(each.get("bbox")),
            "" if category is None else category,
            crowd=each.get("iscrowd") in (1, True),
            area=_number(each.get("area")),
        )


def _box(said: object) -> tuple[float, float, float, float]:
    if not isinstance(said, list) or len(said) != 4:
        return (math.nan,) * 4
    left, top, width, height = map(_number, said)
    return left, top, left + width, top + height


def _number(said: object) -> float:
    if not isinstance(said, int | float) or isinstance(said, bool):
        return math.nan
    try:
        return float(said)
    except OverflowError:
        return math.nan


def _key(said: object) -> int | str | None:
    return said if isinstance(said, int | str) and not isinstance(said, bool) else None


def _list(tree: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    found = tree.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise DataError(f'{path}: "{key}" must be a list of objects')
    return found


def _shown(said: object) -> str:
    return type(said).__name__ if isinstance(said, list | dict) else repr(said)[:40]
