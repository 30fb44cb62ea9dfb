"""ImageNet (ILSVRC 2012) as it is published, read where it lies: nothing is unpacked.

ILSVRC2012_img_train.tar is a tar of 1000 tars, one a class; ILSVRC2012_img_val.tar holds 50,000
images whose labels are in the devkit, in the order of the images' numbers.

Source: Russakovsky et al. 2015, https://www.image-net.org/challenges/LSVRC/2012/
"""

import contextlib
import itertools
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from resnets.core import progress
from resnets.core.errors import DataError
from resnets.data import files, imagenet_classes, tars
from resnets.data.files import FileData, ImageFiles, SplitName

TRAIN_TAR: Final = "ILSVRC2012_img_train.tar"
VALIDATION_TAR: Final = "ILSVRC2012_img_val.tar"
DEVKIT: Final = "ILSVRC2012_devkit_t12"  # a folder, or with .tar.gz
_TRUTH: Final = f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt"
_TRUTH_BYTES: Final = 1 << 20  # the real one has a quarter of it
_IMAGE: Final = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
_CLASS: Final = re.compile(r"(n\d{8})\.tar")


def is_in(folder: Path) -> bool:
    """Tell whether a folder holds one of the published archives."""
    names = (TRAIN_TAR, VALIDATION_TAR)
    return any((folder / name).is_file() for name in names)


def is_flat(names: Sequence[str]) -> bool:
    """Tell whether these are names of ImageNet's validation images."""
    return bool(names) and all(_IMAGE.fullmatch(name) for name in names)


def read_folder(folder: Path) -> FileData:
    """Index the published archives in a folder; either of the two makes one split.

    Raises:
        DataError: An archive is cut off or not what it should be, or the devkit is missing.
    """
    splits: dict[SplitName, ImageFiles] = {}
    if (folder / TRAIN_TAR).is_file():
        splits["train"] = _train(folder / TRAIN_TAR)
    if (folder / VALIDATION_TAR).is_file():
        splits["validation"] = _validation(folder / VALIDATION_TAR)
    return _data(folder, splits)


def is_archive(path: Path) -> bool:
    """Tell whether a tar is one of the two archives by what it begins with."""
    with path.open("rb", buffering=0) as file, contextlib.suppress(DataError):
        first = [_base_name(member) for member in itertools.islice(tars.members(path, file, 0), 2)]
        return bool(first) and any(all(map(kind.fullmatch, first)) for kind in (_IMAGE, _CLASS))
    return False


def read_tar(path: Path) -> FileData:
    """Index one of the two archives, whatever its name is; the devkit has to lie beside it.

    Raises:
        DataError: It is cut off, or the devkit is missing.
    """
    with path.open("rb", buffering=0) as file:
        first = _base_name(next(tars.members(path, file, 0)))
    if _IMAGE.fullmatch(first):
        return _data(path, {"validation": _validation(path)})
    return _data(path, {"train": _train(path)})


def read_flat(folder: Path, names: Sequence[str]) -> FileData:
    """List validation images unpacked into a folder; the devkit has to lie in it or beside it.

    Raises:
        DataError: The devkit is missing, or has no label for an image.
    """
    truth, numbers = _truth(folder), [_number(name) for name in names]
    if max(numbers) > len(truth) or min(numbers) < 1:
        raise DataError(
            f"{folder}: images numbered {min(numbers):,} to {max(numbers):,}, but the devkit has "
            f"{len(truth):,} labels; fetch both again"
        )
    labels_n = torch.tensor([truth[number - 1] for number in numbers])
    read = files.reader(folder, names)
    return _data(folder, {"validation": ImageFiles(tuple(names), labels_n, read)})


def _data(where: Path, splits: dict[SplitName, ImageFiles]) -> FileData:
    return FileData("imagenet", str(where.resolve()), imagenet_classes.names(), splits)


def _validation(path: Path) -> ImageFiles:
    found = []
    about = path.stat().st_size
    with (
        path.open("rb", buffering=0) as file,
        progress.reporting(f"indexing {path.name}", total=about, unit="bytes") as bar,
    ):
        for member in tars.members(path, file, 0):
            name = _base_name(member)
            if not _IMAGE.fullmatch(name):
                raise DataError(f"{path}: {name[:80]} in it is no validation image of ImageNet")
            found.append((name, member.offset_data, member.size))
            bar.advance(member.size)
    found.sort()
    truth = _truth(path.parent)
    if [_number(name) for name, _, _ in found] != list(range(1, len(truth) + 1)):
        raise DataError(
            f"{path}: {len(found):,} images, but the devkit has {len(truth):,} labels; fetch both "
            "again"
        )
    labels_n = torch.tensor(truth)
    return _image_files(path, found, labels_n)


def _train(path: Path) -> ImageFiles:
    """Index the tars in the tar. Minutes of seeking on a disk, so the index is kept."""
    kept = tars.index_file("imagenet-train", [path])
    found = _load_index(kept)
    if found is None:
        found = sorted(_scan_train(path, path.stat().st_size))
        if not found:
            raise DataError(f"{path}: holds no images; fetch it again")
        _keep_index(kept, found)
    label_of = imagenet_classes.index_by_wnid()
    labels_n = torch.tensor([label_of[name.partition("/")[0]] for name, _, _ in found])
    return _image_files(path, found, labels_n)


def _scan_train(path: Path, total_bytes: int) -> Iterator[tuple[str, int, int]]:
    with (
        path.open("rb", buffering=0) as file,
        progress.reporting(f"indexing {path.name}", total=total_bytes, unit="bytes") as bar,
    ):
        for inner in tars.members(path, file, 0):
            match = _CLASS.fullmatch(_base_name(inner))
            if not match or match[1] not in imagenet_classes.index_by_wnid():
                raise DataError(f"{path}: {inner.name[:80]} in it is no class of ImageNet")
            end = inner.offset_data + inner.size
            for member in tars.members(path, file, inner.offset_data, end):
                yield f"{match[1]}/{_base_name(member)}", member.offset_data, member.size
            bar.advance(inner.size)


def _image_files(
    path: Path, found: Sequence[tuple[str, int, int]], labels_n: torch.Tensor
) -> ImageFiles:
    start_n = np.array([start for _, start, _ in found])
    bytes_n = np.array([size for _, _, size in found])
    return ImageFiles(
        tuple(name for name, _, _ in found),
        labels_n,
        tars.Parts([path], np.zeros_like(start_n), start_n, bytes_n),
    )


def _load_index(kept: Path) -> list[tuple[str, int, int]] | None:
    tensors = tars.load_index(kept)
    if tensors is None:
        return None
    names = tensors["names"].numpy().tobytes().decode().split("\n")
    starts, sizes = tensors["start_n"].tolist(), tensors["bytes_n"].tolist()
    return list(zip(names, starts, sizes, strict=True))


def _keep_index(kept: Path, found: Sequence[tuple[str, int, int]]) -> None:
    names = "\n".join(name for name, _, _ in found).encode()
    tensors = {
        "names": torch.frombuffer(bytearray(names), dtype=torch.uint8),
        "start_n": torch.tensor([start for _, start, _ in found]),
        "bytes_n": torch.tensor([size for _, _, size in found]),
    }
    tars.keep_index(kept, tensors)


def _truth(beside: Path) -> list[int]:
    """Return the label of each validation image from the devkit in a folder or the one above."""
    for folder in (beside, beside.resolve().parent):
        if (folder / _TRUTH).is_file():
            return _parsed(folder / _TRUTH, (folder / _TRUTH).read_bytes())
        archive = folder / f"{DEVKIT}.tar.gz"
        if archive.is_file():
            return _parsed(archive, _unpacked(archive))
    raise DataError(
        f"{beside}: {DEVKIT}.tar.gz is missing, and it has the labels of the validation images; "
        "put it here"
    )


def _unpacked(archive: Path) -> bytes:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                if member.name.removeprefix("./") == _TRUTH and member.size <= _TRUTH_BYTES:
                    inside = tar.extractfile(member)
                    return inside.read() if inside is not None else b""
    except (tarfile.TarError, OSError, EOFError, ValueError) as err:
        raise DataError(f"{archive}: damaged or cut off ({err}); fetch it again") from err
    raise DataError(f"{archive}: has no {_TRUTH}; fetch it again")


def _parsed(path: Path, content: bytes) -> list[int]:
    label_of = imagenet_classes.index_by_devkit_id()
    try:
        return [label_of[int(line)] for line in content.decode("ascii").split()]
    except (ValueError, KeyError) as err:
        raise DataError(
            f"{path}: the labels of the validation images are not numbers from 1 to "
            f"{imagenet_classes.CLASSES}; fetch it again"
        ) from err


def _number(name: str) -> int:
    return int(name[len("ILSVRC2012_val_") :][:8])


def _base_name(member: tarfile.TarInfo) -> str:
    return member.name.rpartition("/")[2]
