"""Files of detections as others want them: COCO's results, VOC's and ILSVRC's test servers.

Every number is written as it was measured, so that who reads a file measures the same. A score or
a box that is not a finite number is refused: none of the formats knows such a thing.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from resnets.core import artifacts
from resnets.core.errors import DataError, StorageError
from resnets.detection.detections import Detections

_LARGEST: Final = 1e30  # of the numbers that are read: float32 holds them
_WORD: Final = re.compile(r"[^\s/\\]+")
_Box = tuple[float, float, float, float]


def write_coco(
    path: Path,
    ids: Sequence[int | str],
    found: Sequence[Detections],
    category_ids: Sequence[int],
) -> None:
    """Write COCO's results: a JSON array of image_id, category_id, bbox and score.

    Args:
        path: Where; conventionally ends in `.json`.
        ids: What the data set calls each image.
        found: In each.
        category_ids: COCO's number of each class, in the order of the labels.

    Raises:
        DataError: A score or a box is not a finite number.
        StorageError: It could not be written; what stood at `path` before still does.

    Source: https://cocodataset.org/#format-results
    """
    lines = [
        json.dumps(
            {
                "image_id": image_id,
                "category_id": category_ids[label],
                "bbox": [left, top, right - left, bottom - top],
                "score": score,
            }
        )
        for image_id, label, score, (left, top, right, bottom) in _each(ids, found)
    ]
    artifacts.write_bytes(path, ("[" + ",\n".join(lines) + "]\n").encode())


def read_coco(
    path: Path, ids: Sequence[int | str], category_ids: Sequence[int]
) -> tuple[Detections, ...]:
    """Read COCO's results: what was found in each image, in the order of `ids`.

    Args:
        path: A file of `write_coco` or of anyone else.
        ids: What the data set calls each image.
        category_ids: COCO's number of each class, in the order of the labels.

    Raises:
        DataError: It is missing or damaged, or speaks of other images or classes.
        StorageError: It may not be read.
    """
    entries = _entries(path)
    place_of = {image_id: place for place, image_id in enumerate(ids)}
    label_of = {number: label for label, number in enumerate(category_ids)}
    rows: list[list[tuple[_Box, float, int]]] = [[] for _ in ids]
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: result {number}"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected a JSON object, got {type(entry).__name__}")
        place = _known(where, "image_id", entry, place_of, "an image of this split")
        label = _known(where, "category_id", entry, label_of, "a category of this data set")
        rows[place].append((_box(where, entry), _number(where, "score", entry.get("score")), label))
    return tuple(map(_detections, rows))


def write_voc(
    folder: Path,
    ids: Sequence[int | str],
    found: Sequence[Detections],
    classes: Sequence[str],
    *,
    image_set: str = "test",
) -> None:
    """Write the files that VOC's test server and development kit take, one for each class.

    `comp4_det_test_CLASS.txt` has a line for each detection: image, score, left, top, right,
    bottom; pixels count from 1, both ends included. comp4 is the competition that allows training
    on other data too, which weights from ImageNet are.

    Args:
        folder: Where; it is made where it is missing. Each file is written whole or not at all.
        ids: VOC's name of each image, without its extension.
        found: In each.
        classes: The names, in the order of the labels.
        image_set: What the images are, in the files' names.

    Raises:
        DataError: A score or a box is not a finite number, or a name does not fit the format.
        StorageError: A file could not be written.

    Source: Everingham et al. 2010, sec. 4.1, and the development kits' description of results.
    """
    check_voc(ids, classes, image_set=image_set)
    lines: list[list[str]] = [[] for _ in classes]
    for image_id, label, score, (left, top, right, bottom) in _each(ids, found):
        lines[label].append(f"{image_id} {score} {left + 1} {top + 1} {right} {bottom}\n")
    for name, of_class in zip(classes, lines, strict=True):
        path = folder / f"comp4_det_{image_set}_{name}.txt"
        artifacts.write_bytes(path, "".join(of_class).encode())


def check_voc(ids: Sequence[int | str], classes: Sequence[str], *, image_set: str) -> None:
    """Check that VOC's files can name images and classes; arguments as of `write_voc`.

    Raises:
        DataError: A name does not fit the format.
    """
    for name in (image_set, *map(str, ids), *classes):
        if not _WORD.fullmatch(name):
            raise DataError(
                f"{name!r}: VOC's result files take names without spaces and slashes; COCO's take "
                "any: name a .json"
            )


def write_ilsvrc(
    path: Path,
    indices: Sequence[int],
    found: Sequence[Detections],
    category_ids: Sequence[int],
) -> None:
    """Write the file that ILSVRC's detection task takes.

    A line for each detection: image, class, score, left, top, right, bottom; pixels count from 0,
    as in ILSVRC's annotations, both ends included.

    Args:
        path: Where; conventionally ends in `.txt`.
        indices: The number of each image in ILSVRC's list of the split, from 1.
        found: In each.
        category_ids: ILSVRC's number of each class, from 1 to 200, in the order of the labels.

    Raises:
        DataError: A score or a box is not a finite number.
        StorageError: It could not be written; what stood at `path` before still does.

    Source: Russakovsky et al. 2015, and the development kit of ILSVRC2015, sec. 2.4.
    """
    lines = [
        f"{index} {category_ids[label]} {score} {left} {top} {right - 1} {bottom - 1}\n"
        for index, label, score, (left, top, right, bottom) in _each(indices, found)
    ]
    artifacts.write_bytes(path, "".join(lines).encode())


def _each(
    ids: Sequence[Any], found: Sequence[Detections]
) -> Iterator[tuple[Any, int, float, _Box]]:
    """Yield every detection: what its image is called, its label, its score, its box."""
    for image_id, of_image in zip(ids, found, strict=True):
        if not (of_image.scores_n.isfinite().all() and of_image.boxes_n4.isfinite().all()):
            raise DataError(
                f"image {image_id}: a score or a box is not a finite number, which no format of "
                "results takes; the network has diverged: train it again, at a lower rate"
            )
        rows = zip(
            of_image.classes_n.tolist(),
            of_image.scores_n.tolist(),
            of_image.boxes_n4.tolist(),
            strict=True,
        )
        for label, score, (left, top, right, bottom) in rows:
            yield image_id, label, score, (left, top, right, bottom)


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise DataError(f"{path}: there is no such file") from err
    except PermissionError as err:
        raise StorageError(f"{path}: may not be read; check its permissions") from err
    except (ValueError, OSError, RecursionError) as err:
        what = " ".join(str(err).split())[:120]
        raise DataError(f"{path}: not readable as JSON ({what})") from err
    if not isinstance(entries, list):
        raise DataError(
            f"{path}: expected COCO's results, a JSON array of objects with image_id, "
            f"category_id, bbox and score; got {type(entries).__name__}"
        )
    return entries


def _known(
    where: str, key: str, entry: Mapping[str, Any], known: Mapping[Any, int], what: str
) -> int:
    given = entry.get(key)
    # 1.0 and True would be found as 1.
    if type(given) not in (int, str) or given not in known:
        raise DataError(f"{where}: {key}: must be {what}, got {_shown(given)}")
    return known[given]


def _box(where: str, entry: Mapping[str, Any]) -> _Box:
    given = entry.get("bbox")
    if not isinstance(given, list) or len(given) != 4:
        raise DataError(f"{where}: bbox: must be left, top, width and height, got {_shown(given)}")
    left, top, width, height = (_number(where, "bbox", each) for each in given)
    if width < 0 or height < 0:
        raise DataError(f"{where}: bbox: width and height must not be negative, got {given}")
    return left, top, left + width, top + height


def _number(where: str, key: str, given: Any) -> float:
    if type(given) not in (int, float) or not abs(given) < _LARGEST:  # `not`: a NaN is refused
        raise DataError(f"{where}: {key}: must be a finite number, got {_shown(given)}")
    return float(given)


def _shown(given: Any) -> str:
    return repr(given)[:40]


def _detections(rows: Sequence[tuple[_Box, float, int]]) -> Detections:
    return Detections.of(
        torch.tensor([box for box, _, _ in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in rows], dtype=torch.float32),
        torch.tensor([label for _, _, label in rows], dtype=torch.int64),
    )
