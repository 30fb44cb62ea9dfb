"""The per-pixel mean over a training set of image files, counted once and kept in the cache."""

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core import artifacts, progress
from resnets.core.errors import CheckpointError, DataError, StorageError
from resnets.core.processes import ALONE, Team
from resnets.data import fetch, images, preprocess
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.data.setting_aside import SettingAside

_AT_ONCE: Final = 256
_SAMPLED: Final = 16  # files whose content tells sets apart that name their files alike


def central(
    files: ImageFiles,
    wanted: Preprocess,
    aside: SettingAside | None = None,
    team: Team = ALONE,
) -> Tensor:
    """Return the mean over every image's central square: float32 in [0, 1], (crop, crop, 3).

    The sum is of whole numbers, so it is the same to the last bit whoever counts it. It is kept in
    the cache under a hash of what it was counted from: names, labels, a sample of the contents,
    and the size of the square.

    An image that cannot be read is left out. Then the mean is not kept, for with a good file in
    the bad one's place it is another.

    Args:
        files: The training set.
        wanted: Its `resize_px`, `crop_px` and `interpolation` say what the central square is.
        aside: Is told of images that cannot be read; by default nobody is.
        team: Who counts; the cache is the leader's.

    Raises:
        DataError: More images cannot be read than training puts up with.

    Source: He et al. 2015, sec. 3.4.

    Deviation: the paper does not say over which squares of the images it took the mean; here they
    are those that testing in a single view sees.
    """
    kept = _place(files, wanted)
    found = _cached(kept) if team.leads else None
    if team.led(lambda: found is not None):
        return team.share_tensors(None if found is None else {"mean": found})["mean"]
    aside = SettingAside(files) if aside is None else aside
    mean_hwc, counted = _counted(aside, wanted, team)
    if team.leads and counted == len(files):
        # Where the cache cannot be written, the next run counts again, to the same bits.
        with contextlib.suppress(OSError, StorageError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            artifacts.save_tensors(kept, {"mean": mean_hwc}, {"kind": "mean", "images": len(files)})
    return mean_hwc


def _cached(kept: Path) -> Tensor | None:
    with contextlib.suppress(CheckpointError):  # not there, or damaged: count again
        return artifacts.load_tensors(kept)[0]["mean"]
    return None


def _counted(aside: SettingAside, wanted: Preprocess, team: Team) -> tuple[Tensor, int]:
    """Return the mean, and over how many images it was taken."""
    total_hwc, counted = np.zeros((wanted.crop_px, wanted.crop_px, 3), dtype=np.int64), 0
    view = partial(aside.attempt, decode=partial(_view, wanted))
    own = range(team.rank, len(aside.files.names), team.size)
    with (
        progress.reporting(
            "taking the mean", total=len(own), unit="images", shown=team.leads
        ) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        for first in range(0, len(own), _AT_ONCE):
            part = own[first : first + _AT_ONCE]
            for pixels_hwc in pool.map(view, part):
                if pixels_hwc is not None:
                    total_hwc += pixels_hwc
                    counted += 1
            bar.advance(len(part))
    team.sum_([torch.from_numpy(total_hwc)])  # in place, in the array's own memory
    (counted,) = team.sum_integers([counted])
    aside.share(team)
    if not counted:
        raise DataError(f"{aside.report()}; there is nothing to train on")
    return torch.from_numpy(total_hwc / (255 * counted)).float(), counted


def _view(wanted: Preprocess, content: bytes, name: str) -> np.ndarray:
    return preprocess.central(images.decode(content, name), wanted)


def _place(files: ImageFiles, wanted: Preprocess) -> Path:
    made = hashlib.sha256(f"{wanted.resize_px} {wanted.crop_px} {wanted.interpolation}\n".encode())
    for name, label in zip(files.names, files.labels_n.tolist(), strict=True):
        made.update(f"{name}\t{label}\n".encode("utf-8", "surrogateescape"))
    for index in range(0, len(files), max(1, len(files) // _SAMPLED)):
        with contextlib.suppress(DataError):  # counting will say that it cannot be read
            made.update(hashlib.sha256(files.read(index)).digest())
    return fetch.cache_folder() / f"mean-{made.hexdigest()[:16]}.safetensors"
