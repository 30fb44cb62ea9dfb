"""CIFAR-10 as it is published: the python and the binary archive, and one PNG sheet a batch.

Whatever form it is read from, the decoded arrays have one content hash.

Source: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from PIL import Image

from resnets.core.errors import DataError
from resnets.data.sets import DataSet, ImageSet, content_hash

CLASSES: Final = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Of the decoded arrays: `sets.content_hash(train, test)`.
CONTENT_SHA256: Final = "6b3883dca6c867f1e58def548c063d1865569b8575fcbce06b3e468a89f9895a"

_BATCH_IMAGES: Final = 10_000
_IMAGE_BYTES: Final = 3 * 32 * 32
PYTHON: Final = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
BINARY: Final = tuple(f"{name}.bin" for name in PYTHON)
PNG: Final = tuple(f"{name}.png" for name in PYTHON)
PNG_LABELS: Final = ("train_lables.json", "test_lables.json")  # spelled so in the package
_FOLDERS: Final = (".", "cifar-10-batches-py", "cifar-10-batches-bin", "package")


def is_in(folder: Path) -> bool:
    """Tell whether a folder holds any file of a published form, whole or not."""
    names = (*PYTHON, *BINARY, *PNG, *PNG_LABELS)
    return any((folder / at / name).is_file() for at in _FOLDERS for name in names)


def read_folder(folder: Path) -> DataSet:
    """Read CIFAR-10 from a folder that holds one of its published forms, or holds such a folder.

    Nothing in the files is executed: the pickled form is read by `_Inert` alone.

    Raises:
        DataError: The folder holds no such form, a file is missing or damaged, or the images are
            not those of CIFAR-10.
    """
    readers: tuple[tuple[tuple[str, ...], Callable[[Path], list[ImageSet]]], ...] = (
        (PYTHON, lambda at: [_read_pickled(at / name) for name in PYTHON]),
        (BINARY, lambda at: [_read_binary(at / name) for name in BINARY]),
        ((*PNG, *PNG_LABELS), _read_png),
    )
    for at in (folder / name for name in _FOLDERS):
        for names, read in readers:
            present = [name for name in names if (at / name).is_file()]
            if not present:
                continue
            missing = sorted(set(names) - set(present))
            if missing:
                raise DataError(
                    f"{at}: CIFAR-10 with {', '.join(missing)} missing; fetch it again: "
                    "resnets data fetch cifar10"
                )
            return _whole(read(at), folder)
    raise DataError(
        f"{folder}: neither form of CIFAR-10 is here (data_batch_1 .. 5 and test_batch, or the "
        "same with .bin); `resnets data fetch cifar10` gets it"
    )


def _whole(batches: list[ImageSet], folder: Path) -> DataSet:
    *train, test = batches
    whole = DataSet(
        name="cifar10",
        where=str(folder.resolve()),
        classes=CLASSES,
        train=ImageSet(
            torch.cat([batch.images_nhwc for batch in train]),
            torch.cat([batch.labels_n for batch in train]),
        ),
        test=test,
    )
    found = content_hash(whole.train, whole.test)
    if found != CONTENT_SHA256:
        raise DataError(
            f"{folder}: the form of CIFAR-10, but not its images and labels (content hash "
            f"{found[:12]}, expected {CONTENT_SHA256[:12]}); fetch it: resnets data fetch cifar10"
        )
    return whole


def _read_binary(path: Path) -> ImageSet:
    """Read 10,000 records of one label byte and 3,072 pixel bytes, channel by channel."""
    content = path.read_bytes()
    expected = _BATCH_IMAGES * (1 + _IMAGE_BYTES)
    if len(content) != expected:
        raise DataError(f"{path}: {len(content):,} bytes, expected {expected:,}; fetch it again")
    records = np.frombuffer(content, np.uint8).reshape(_BATCH_IMAGES, 1 + _IMAGE_BYTES)
    return _batch(path, records[:, 1:], records[:, 0])


def _read_png(folder: Path) -> list[ImageSet]:
    batches = []
    labels = [label for name in PNG_LABELS for label in _read_labels(folder / name)]
    for number, name in enumerate(PNG):
        try:
            with Image.open(folder / name) as sheet:
                pixels = np.asarray(sheet.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
            raise DataError(f"{folder / name}: not a readable PNG ({err})") from err
        if pixels.size != _BATCH_IMAGES * _IMAGE_BYTES:
            raise DataError(f"{folder / name}: expected 10,000 images of 32x32, got {pixels.shape}")
        channels = pixels.reshape(_BATCH_IMAGES, -1, 3).transpose(0, 2, 1)
        here = labels[number * _BATCH_IMAGES : (number + 1) * _BATCH_IMAGES]
        batches.append(_batch(folder / name, channels.reshape(_BATCH_IMAGES, -1), here))
    return batches


def _read_labels(path: Path) -> list[Any]:
    try:
        labels = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as err:
        raise DataError(f"{path}: not JSON; fetch it again: resnets data fetch cifar10") from err
    if not isinstance(labels, list):
        raise DataError(f"{path}: expected a list of labels")
    return labels


def _read_pickled(path: Path) -> ImageSet:
    damaged = f"{path}: not a batch of CIFAR-10 (python form), or damaged; fetch it again"
    try:
        with path.open("rb") as file:
            batch = _Unpickler(file, encoding="bytes").load()
        data, labels = batch[b"data"], batch[b"labels"]
        pixels = data.as_array() if isinstance(data, _Inert) else None
    except _RefusedError as err:
        raise DataError(f"{path}: {err}") from err
    # Whatever a damaged pickle makes the reader trip over, it is a damaged pickle.
    except Exception as err:
        raise DataError(damaged) from err
    if pixels is None or pixels.shape != (_BATCH_IMAGES, _IMAGE_BYTES):
        raise DataError(damaged)
    return _batch(path, pixels, labels)


def _batch(path: Path, pixels: np.ndarray, labels: Any) -> ImageSet:
    """Turn rows of 3,072 bytes, channel by channel, and labels into images."""
    try:
        labels_n = np.asarray(labels, dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as err:
        raise DataError(f"{path}: its labels are not numbers") from err
    if labels_n.shape != (len(pixels),) or labels_n.min() < 0 or labels_n.max() > 9:
        raise DataError(f"{path}: expected {len(pixels):,} labels from 0 to 9")
    images_nhwc = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return ImageSet(torch.from_numpy(np.ascontiguousarray(images_nhwc)), torch.from_numpy(labels_n))


class _RefusedError(Exception):
    """A pickle asked for something to be imported."""


class _Inert:
    """Stands for numpy's classes while a pickle is read: keeps what it is given, runs nothing."""

    def __init__(self, *given: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def as_array(self) -> np.ndarray:
        """Return a pickled array of bytes: its state is (version, shape, type, order, bytes)."""
        _, shape, _, fortran, content = self.state
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Unpickler(pickle._Unpickler):
    """Reads the three numpy names that CIFAR-10's batches use as `_Inert`, and refuses others.

    In Python: the unpickler in C makes room for as many objects as a damaged file says there are.
    """

    def __init__(self, file: BinaryIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> type[_Inert]:
        if module.startswith("numpy") and name in ("_reconstruct", "ndarray", "dtype"):
            return _Inert
        raise _RefusedError(
            f"a pickle that asks for {module}.{name}: not a batch of CIFAR-10; nothing was run"
        )
