"""Tar shards in WebDataset's layout: the members of a sample share a key and differ in extension.

A member's key is its path up to the first dot of its base name, the rest its extension. A sample
has one image (KEY.jpg, say) and its class index in KEY.cls, or in KEY.json as "label" or "class",
where it may be a class's name. `classes.txt` beside the shards names the classes, one a line.

Source: https://github.com/webdataset/webdataset
"""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import torch

from resnets.core import progress
from resnets.core.errors import DataError
from resnets.core.progress import Bar
from resnets.data import folders, labels, splits, tars
from resnets.data.files import FileData, ImageFiles, SplitName

CLASSES: Final = "classes.txt"
_KEPT_FROM: Final = 20_000  # samples, which take some seconds to find
_LOOKED_AT: Final = 100  # members, to see whether there is a sample
_LABEL_BYTES: Final = 1 << 20  # of a .cls or .json; real ones have a hundred


class _Sample(NamedTuple):
    """An image in a shard, and what its label is said to be."""

    shard: int
    name: str
    start: int
    size: int
    label: int | str


# Extension -> where its content begins, and how long it is.
_Members = dict[str, tuple[int, int]]


def is_in(folder: Path) -> bool:
    """Tell whether there are tars in a folder, in data/, or in folders for splits."""
    return bool(splits.paths_in(folder, ".tar"))


def begin_in(folder: Path) -> bool:
    """Tell whether one of the tars of a folder begins with samples, damaged or not."""
    return any(_begins(path) for _, path in splits.paths_in(folder, ".tar"))


def read_folder(folder: Path) -> FileData:
    """Index the shards of a folder, or of folders in it that are called as splits.

    Raises:
        DataError: A shard is damaged or compressed, a sample lacks its image or label, or a label
            is no class index and of no known class.
    """
    return _read(folder, folder.resolve().name, folder, splits.files_in(folder, ".tar"))


def read_tar(path: Path) -> FileData:
    """Index one shard, which is a split by itself.

    Raises:
        DataError: As `read_folder`.
    """
    return _read(path, path.stem, path.parent, {splits.of_file(path): [path]})


def _begins(path: Path) -> bool:
    kinds: dict[str, set[str]] = {}
    with path.open("rb", buffering=0) as file, contextlib.suppress(DataError):
        for member in itertools.islice(tars.members(path, file, 0), _LOOKED_AT):
            key, extension = _parted(member.name)
            kinds.setdefault(key, set()).add(extension.rpartition(".")[2].lower())
    return any(
        key and inside & {"cls", "json"} and any(map(_is_image, inside))
        for key, inside in kinds.items()
    )


def _read(where: Path, name: str, folder: Path, shards_of: dict[SplitName, list[Path]]) -> FileData:
    paths = [path for inside in shards_of.values() for path in inside]
    samples = _indexed(paths)
    listed = _classes(folder, paths[0].parent)
    called = [path.relative_to(folder).as_posix() for path in paths]
    try:
        numbers, classes = labels.of([each.label for each in samples], listed)
    except DataError as err:
        raise DataError(f"{where}: {err}") from err
    read = tars.Parts(
        paths,
        np.array([each.shard for each in samples]),
        np.array([each.start for each in samples]),
        np.array([each.size for each in samples]),
    )
    names = tuple(f"{called[each.shard]}/{each.name}" for each in samples)
    split_of = [split for split, inside in shards_of.items() for _ in inside]
    images_of = Counter(split_of[each.shard] for each in samples)
    for split in shards_of:
        if not images_of[split]:
            raise DataError(
                f"{where}: no image with its class in the {split} tars; a shard has KEY.jpg and "
                "KEY.cls for each"
            )
    whole = ImageFiles(names, torch.tensor(numbers), read)
    return FileData(name, str(where.resolve()), classes, splits.cut(whole, images_of))


def _classes(*beside: Path) -> list[str] | None:
    """Return the names of the classes where there is a list of them in one of these folders."""
    for path in (folder / CLASSES for folder in beside):
        if path.is_file():
            try:
                return [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
            except UnicodeDecodeError as err:
                raise DataError(f"{path}: not a text ({err}); write a class a line") from err
    return None


def _indexed(paths: Sequence[Path]) -> list[_Sample]:
    """Return the samples of all shards in their order, from the index of a large set if kept."""
    kept = tars.index_file("shards-1", paths)
    found = _load_index(kept)
    if found is None:
        total = sum(path.stat().st_size for path in paths)
        with progress.reporting(f"indexing {len(paths)} tars", total=total, unit="bytes") as bar:
            found = [
                sample for shard, path in enumerate(paths) for sample in _scan(shard, path, bar)
            ]
        if len(found) >= _KEPT_FROM:
            _keep_index(kept, found)
    return found


def _scan(shard: int, path: Path, bar: Bar) -> Iterator[_Sample]:
    of_key: dict[str, _Members] = {}
    with path.open("rb", buffering=0) as file:
        for member in tars.members(path, file, 0):
            key, extension = _parted(member.name)
            bar.advance(member.size)
            if not key:
                continue
            inside = of_key.setdefault(key, {})
            if extension in inside:
                raise DataError(f"{path}: {key}.{extension} is in it twice; make it again")
            inside[extension] = (member.offset_data, member.size)
        for key, inside in of_key.items():
            image = _only(path, key, inside, [each for each in inside if _is_image(each)])
            label = _label(path, file, key, inside)
            if image is not None and label is not None:
                yield _Sample(shard, f"{key}.{image}", *inside[image], label)
            elif image is not None:
                raise DataError(
                    f"{path}: {key}.{image} has no class: no {key}.cls, and no label in a "
                    f"{key}.json; put one beside each image, or unpack a tar of class folders"
                )
            elif label is not None:
                raise DataError(
                    f"{path}: {key} has a class and no image; an image ends in "
                    f"{', '.join(folders.EXTENSIONS)}"
                )


def _parted(name: str) -> tuple[str, str]:
    """Return a member's key and extension; no key for hidden members and such without a dot."""
    name = name.removeprefix("./")
    if not name.isprintable():
        name = ascii(name)[1:-1]  # names stand in messages of one line
    above, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    is_sample = stem and dot and not (stem.startswith("__") and base.endswith("__"))
    return (f"{above}{slash}{stem}", extension) if is_sample else ("", "")


def _is_image(extension: str) -> bool:
    return f".{extension}".lower().endswith(folders.EXTENSIONS)


def _only(path: Path, key: str, inside: _Members, several: Sequence[str]) -> str | None:
    """Return the one extension of several that a sample has; a plain one before a longer one."""
    plain = [each for each in several if "." not in each] or several
    if len(plain) > 1:
        raise DataError(
            f"{path}: {key} has {' and '.join(plain[:3])}; a key, which ends at the first dot of a "
            "name, has one image and one label: rename them"
        )
    return plain[0] if plain else None


def _label(path: Path, file: BinaryIO, key: str, inside: _Members) -> int | str | None:
    """Return a sample's class index or class; None where it says neither."""

    def content(kind: str) -> tuple[str, bytes] | None:
        several = [each for each in inside if f".{each}".lower().endswith(f".{kind}")]
        extension = _only(path, key, inside, several)
        if extension is None:
            return None
        start, size = inside[extension]
        if size > _LABEL_BYTES:
            raise DataError(f"{path}: {key}.{extension} is no label: it has {size:,} bytes")
        file.seek(start)
        return f"{key}.{extension}", file.read(size)

    if (found := content("cls")) is not None:
        label: Any = labels.index(found[1].decode("ascii", "replace"))
        return _checked(path, found[0], label, found[1][:40])
    if (found := content("json")) is not None:
        try:
            about = json.loads(found[1])
        except (ValueError, RecursionError) as err:
            raise DataError(f"{path}: {found[0]} is not JSON; make it again") from err
        about = about if isinstance(about, dict) else {}
        if (given := about.get("label", about.get("class"))) is not None:
            if isinstance(given, str):  # half a pair of surrogates can be written in JSON alone
                label = given.strip().encode("utf-8", "replace").decode()
            else:
                label = labels.index(json.dumps(given))
            return _checked(path, found[0], label, given)
    return None


def _checked(path: Path, name: str, label: int | str | None, given: object) -> int | str:
    if label is None or label == "":
        raise DataError(
            f"{path}: {name}: a class index must be a whole number from 0 to {labels.HIGHEST:,}, "
            f"got {str(given)[:40]!r}"
        )
    return label


def _load_index(kept: Path) -> list[_Sample] | None:
    tensors = tars.load_index(kept)
    if tensors is None:
        return None
    names, given = json.loads(tensors["names"].numpy().tobytes())
    numbers = tensors["shard_start_size_n3"].tolist()
    return [
        _Sample(shard, name, start, size, label)
        for (shard, start, size), name, label in zip(numbers, names, given, strict=True)
    ]


def _keep_index(kept: Path, found: Sequence[_Sample]) -> None:
    names = json.dumps([[each.name for each in found], [each.label for each in found]]).encode()
    tensors = {
        "names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
        "shard_start_size_n3": torch.tensor([[e.shard, e.start, e.size] for e in found]),
    }
    tars.keep_index(kept, tensors)
