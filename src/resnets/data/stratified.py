"""Some images of every class held out: what a data set with one split is validated on."""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from resnets.core.errors import DataError
from resnets.data.files import ImageFiles


def held_out(names: Sequence[str], labels_n: Tensor, share: float, *, seed: int = 0) -> Tensor:
    """Return the indices of the images to hold out, int64 and rising.

    In each class they are those whose names hash lowest, so the choice depends neither on the
    order of the images nor on a run's seed. A file more or less changes it for no other class, and
    in its own for one image at most, besides itself. A larger share holds out the same images and
    more.

    Args:
        names: Of the images; unique.
        labels_n: int64, shape (n,).
        share: Of each class, above 0 and below 1: rounded to whole images, but at least one is
            held out and one stays. A class of one image stays.
        seed: For another choice.

    Raises:
        DataError: The share is out of its range.
    """
    if not 0 < share < 1:
        raise DataError(f"held-out share: must be above 0 and below 1, got {share}")
    of_class: dict[int, list[int]] = {}
    for index, label in enumerate(labels_n.tolist()):
        of_class.setdefault(label, []).append(index)
    chosen: list[int] = []
    for inside in of_class.values():
        if len(inside) > 1:
            wanted = math.floor(len(inside) * share + 0.5)
            inside.sort(key=lambda index: _rank(names[index], seed))
            chosen += inside[: min(max(1, wanted), len(inside) - 1)]
    return torch.tensor(sorted(chosen), dtype=torch.int64)


def split(files: ImageFiles, share: float, *, seed: int = 0) -> tuple[ImageFiles, ImageFiles]:
    """Return the files to train on and those to validate on, both in their order.

    Args:
        files: The set to split.
        share: As `held_out` takes it.
        seed: As `held_out` takes it.

    Raises:
        DataError: The share is out of its range, or no class has two images.
    """
    held_n = held_out(files.names, files.labels_n, share, seed=seed)
    if not len(held_n):
        raise DataError(
            f"held-out share: no class of these {len(files):,} images has two, so none can be held "
            "out; add images"
        )
    stays = torch.ones(len(files), dtype=torch.bool)
    stays[held_n] = False
    return files.take(stays.nonzero().flatten()), files.take(held_n)


def _rank(name: str, seed: int) -> tuple[bytes, str]:
    about = f"hold-out {seed} {name}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(about, digest_size=8).digest(), name
