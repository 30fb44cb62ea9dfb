"""YOLO's layout: images/train/NAME.jpg beside labels/train/NAME.txt, and data.yaml or classes.txt.

A line of a label file is a class index and the box's middle, width and height as shares of the
image's, or an outline of pairs x y, of which the box around it is taken.

Source: https://docs.ultralytics.com/datasets/detect
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from resnets.core.errors import DataError
from resnets.data import folders, plain_yaml, splits
from resnets.data.annotated import DetectionData
from resnets.data.drawn import Category, Gathered
from resnets.data.flaws import Flaw

SUFFIXES: Final = (".yaml", ".yml")
_YAMLS: Final = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_CLASSES: Final = "classes.txt"
_IMAGES: Final = "images"
_LABELS: Final = "labels"
_KEYS: Final = ("path", "names", splits.TRAIN, *splits.HELD, "test")
_BOX: Final = 4  # numbers
_OUTLINE: Final = 6  # numbers: three corners


def is_in(folder: Path) -> bool:
    """Tell whether a folder has labels in this layout, or a data.yaml that names classes."""
    return _yaml_in(folder) is not None or bool(_places(folder))


def read(folder: Path) -> DetectionData:
    """Read every split that data.yaml names, or that the folders are.

    An image without a label file has no objects; a split in which no image has one is without
    annotations. Splits are named as by `splits.by_year`.

    Raises:
        DataError: data.yaml is written as `plain_yaml` does not read it, or names what is not in
            the folder; there are no class names; or a label file has something else in it.
    """
    return _read(folder, _yaml_in(folder))


def read_file(path: Path) -> DetectionData:
    """Read a data set by its data.yaml, whatever it is called.

    Raises:
        DataError: As from `read`.
    """
    made = _read(path.parent, path)
    return DetectionData(
        made.name, str(path.resolve()), made.classes, made.category_ids, made.splits
    )


def _read(folder: Path, yaml: Path | None) -> DetectionData:
    values: dict[str, plain_yaml.Value] = {}
    if yaml is not None:
        values = plain_yaml.read(_text(yaml), _KEYS, str(yaml))
    images = dict(_named(folder, yaml, values)) if yaml is not None else {}
    for name, place in _places(folder).items() if not images else ():
        images[name] = _below(folder, place)
    classes = _classes(folder, yaml, values.get("names"))
    label_of: dict[Category, int] = {label: label for label in range(len(classes))}
    found = splits.by_year(folder, {name: _gathered(folder, images[name]) for name in images})
    if not any(split.annotated for split in found.values()):
        raise DataError(
            f"{folder}: no label file is there; that of images/a.jpg is labels/a.txt, and each "
            "line of it `class_index x y width height`"
        )
    return DetectionData(
        name=folder.resolve().name,
        where=str(folder.resolve()),
        classes=classes,
        category_ids=tuple(range(1, len(classes) + 1)),
        splits={name: split.finished(folder, label_of) for name, split in found.items()},
    )


def _yaml_in(folder: Path) -> Path | None:
    """Return the folder's data.yaml: one that names classes and a split."""
    for name in _YAMLS:
        path = folder / name
        if path.is_file():
            keys = {line.partition(b":")[0].strip() for line in path.read_bytes().splitlines()}
            if b"names" in keys and keys & {b"train", b"val"}:
                return path
    return None


def _places(folder: Path) -> dict[str, Path]:
    """Return the folder with the images of each split, by its name; "all" where there are none."""
    images, texts = folder / _IMAGES, folder / _LABELS
    if images.is_dir() and _has_text(texts):
        inside = [] if folders.image_names(images) else _folders(images)
        return {at.name: at for at in inside if _any(at)} or {"all": images}
    found = {
        at.name: at / _IMAGES
        for at in (folder / word for word in (splits.TRAIN, *splits.HELD, "test"))
        if (at / _IMAGES).is_dir()
    }
    if any(_has_text(at.parent / _LABELS) for at in found.values()):
        return found
    if (folder / _CLASSES).is_file():
        labelled = (_label_name(name) for name in folders.image_names(folder))
        if any((folder / name).is_file() for name in labelled):
            return {"all": folder}
    return {}


def _any(folder: Path) -> bool:
    return next(folders.images_below(folder), None) is not None


def _has_text(folder: Path) -> bool:
    return folder.is_dir() and next(folder.rglob("*.txt"), None) is not None


def _folders(folder: Path) -> list[Path]:
    return sorted(at for at in folder.iterdir() if at.is_dir() and not at.name.startswith("."))


def _below(folder: Path, place: Path) -> list[str]:
    inside = place.relative_to(folder).as_posix()
    names = sorted(folders.images_below(place))
    return names if inside == "." else [f"{inside}/{name}" for name in names]


def _named(
    folder: Path, yaml: Path, values: Mapping[str, plain_yaml.Value]
) -> Iterator[tuple[str, list[str]]]:
    """Yield the splits that data.yaml names, and the names of their images."""
    above = values.get("path")
    for key in (splits.TRAIN, *splits.HELD, "test"):
        said = values.get(key)
        if said is None:
            continue
        if not isinstance(said, str) or not isinstance(above, str | None):
            raise DataError(f"{yaml}: {key}: name one folder, or one .txt with a list of images")
        parts = [*_parts(above or ""), *_parts(said)]
        place = folder / "/".join(parts[_left_out(folder, parts) :])
        if not place.exists():
            raise DataError(f"{yaml}: {key}: {said[:80]!r} is not in {folder}; put it there")
        if place.is_dir():
            yield key, _below(folder, place)
        else:
            yield key, _listed(folder, place)


def _parts(path: str) -> list[str]:
    """Return the folders of a path, without what leads out of ours."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _left_out(folder: Path, parts: Sequence[str]) -> int:
    """Return how many leading folders of a path are not to be looked for in our folder.

    People move data sets, so what data.yaml says of where it lies is seldom true.
    """
    for count in range(len(parts)):
        if (folder / "/".join(parts[count:])).exists():
            return count
    return 0


def _listed(folder: Path, path: Path) -> list[str]:
    """Return the names of the images that a text lists, one a line."""
    lines = [_parts(line.strip()) for line in _text(path).splitlines() if line.strip()]
    count = _left_out(folder, lines[0]) if lines else 0
    return ["/".join(parts[count:]) for parts in lines]


def _classes(folder: Path, yaml: Path | None, said: plain_yaml.Value) -> tuple[str, ...]:
    where = yaml
    names: list[str] = []
    if isinstance(said, dict):
        numbers = [str(number) for number in range(len(said))]
        if set(numbers) != said.keys():
            raise DataError(f"{yaml}: names: number the classes from 0 on, leaving none out")
        names = [said[number] for number in numbers]
    elif isinstance(said, list):
        names = said
    else:
        for path in (folder / _CLASSES, folder / _LABELS / _CLASSES):
            if path.is_file():
                where, names = path, [line.strip() for line in _text(path).splitlines()]
                while names and not names[-1]:
                    names.pop()
                break
    if not names:
        raise DataError(f"{folder}: nothing names the classes; list them in {_CLASSES}, one a line")
    if not all(names) or len(set(names)) < len(names):
        raise DataError(f"{where}: a class has no name, or that of another; give each its own")
    return tuple(names)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as err:
        raise DataError(f"{path}: not a text ({err.reason})") from err


def _gathered(folder: Path, names: Sequence[str]) -> Gathered:
    split = Gathered(shares=True)
    split.annotated = False
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times != 1:
        why = f"lists {name[:80]!r} {times} times; leave one" if times else "no image is in a split"
        raise DataError(f"{folder}: {why}")
    for name in names:
        if not (folder / name).is_file():
            split.flaws.append(Flaw("missing-image", name))
            continue
        image = split.add(name, name.rpartition(".")[0])
        path = folder / _label_name(name)
        if path.is_file():
            split.annotated = True
            for label, box in _boxes(path):
                split.boxes.put(image, box, label)
    if not len(split):
        raise DataError(f"{folder}: none of {len(names):,} images is there, as {names[0][:80]!r}")
    return split


def _label_name(image: str) -> str:
    """Return where the labels of an image are: in labels/ for images/, or beside it."""
    parts = image.rpartition(".")[0].split("/")
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == _IMAGES:
            parts[at] = _LABELS
            break
    return "/".join(parts) + ".txt"


def _boxes(path: Path) -> Iterator[tuple[int, tuple[float, float, float, float]]]:
    """Yield the label of each line and its corners as shares of the image's sides."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            values = [float(each) for each in line.split()]
        except ValueError:
            values = [math.nan]
        if not values:
            continue
        label, rest = values[0], values[1:]
        if not label.is_integer() or (
            len(rest) != _BOX and (len(rest) < _OUTLINE or len(rest) % 2)
        ):
            raise DataError(
                f"{path}: line {number}: expected class_index x y width height, or class_index and "
                f"pairs of an outline, got {line.strip()[:40]!r}"
            )
        yield int(label), _box(rest) if len(rest) == _BOX else _around(rest)


def _box(said: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = said
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _around(said: Sequence[float]) -> tuple[float, float, float, float]:
    """Return the box around an outline."""
    if not all(map(math.isfinite, said)):
        return (math.nan,) * 4
    return min(said[::2]), min(said[1::2]), max(said[::2]), max(said[1::2])
