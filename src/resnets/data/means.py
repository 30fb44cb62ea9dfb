"""The per-pixel mean over a training set of image files, counted once and kept in the cache."""

import contextlib
import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core import artifacts, progress
from resnets.core.errors import CheckpointError, StorageError
from resnets.data import fetch, file_batches, preprocess
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess

_AT_ONCE: Final = 256
_SAMPLED: Final = 16  # files whose content tells sets apart that name their files alike


def central(files: ImageFiles, wanted: Preprocess) -> Tensor:
    """Return the mean over every image's central square: float32 in [0, 1], (crop, crop, 3).

    The sum is of whole numbers, so it is the same to the last bit whoever counts it. It is kept in
    the cache under a hash of what it was counted from: names, labels, a sample of the contents,
    and the size of the square.

    Args:
        files: The training set.
        wanted: Its `resize_px`, `crop_px` and `interpolation` say what the central square is.

    Raises:
        DataError: An image cannot be read or decoded.

    Source: He et al. 2015, sec. 3.4.

    Deviation: the paper does not say over which squares of the images it took the mean; here they
    are those that testing in a single view sees.
    """
    kept = _place(files, wanted)
    with contextlib.suppress(CheckpointError):  # not there, or damaged: count again
        return artifacts.load_tensors(kept)[0]["mean"]
    mean_hwc = _counted(files, wanted)
    # Where the cache cannot be written, the next run counts again, to the same bits.
    with contextlib.suppress(OSError, StorageError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        artifacts.save_tensors(kept, {"mean": mean_hwc}, {"kind": "mean", "images": len(files)})
    return mean_hwc


def _counted(files: ImageFiles, wanted: Preprocess) -> Tensor:
    total_hwc = np.zeros((wanted.crop_px, wanted.crop_px, 3), dtype=np.int64)
    view = partial(_view, files, wanted)
    with (
        progress.reporting("taking the mean", total=len(files), unit="images") as bar,
        ThreadPoolExecutor(file_batches.processors()) as pool,
    ):
        for first in range(0, len(files), _AT_ONCE):
            part = range(first, min(first + _AT_ONCE, len(files)))
            for pixels_hwc in pool.map(view, part):
                total_hwc += pixels_hwc
            bar.advance(len(part))
    return torch.from_numpy(total_hwc / (255 * len(files))).float()


def _view(files: ImageFiles, wanted: Preprocess, index: int) -> np.ndarray:
    return preprocess.central(file_batches.readable(files, index), wanted)


def _place(files: ImageFiles, wanted: Preprocess) -> Path:
    made = hashlib.sha256(f"{wanted.resize_px} {wanted.crop_px} {wanted.interpolation}\n".encode())
    for name, label in zip(files.names, files.labels_n.tolist(), strict=True):
        made.update(f"{name}\t{label}\n".encode())
    for index in range(0, len(files), max(1, len(files) // _SAMPLED)):
        made.update(hashlib.sha256(files.read(index)).digest())
    return fetch.cache_folder() / f"mean-{made.hexdigest()[:16]}.safetensors"
