"""`cifar10-scenes`: pictures of the built-in sample on coloured grounds, with a box around each.

Real pictures in made-up places: enough to train and to measure a detector where no data set with
boxes is. Every picture of the sample is in one scene, those to train on and those to test on apart.
"""

import io
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from PIL import Image

from resnets.core.random import generator, integers, uniforms
from resnets.data import sample
from resnets.data.annotated import AnnotatedFiles, Annotations, DetectionData, Objects
from resnets.data.sets import ImageSet

NAME: Final = "cifar10-scenes"
_COLUMNS, _ROWS = 3, 2  # of cells, in each of which a picture may stand
_CELL_PX: Final = 48
_SIZE: Final = (_COLUMNS * _CELL_PX, _ROWS * _CELL_PX)
_PICTURES: Final = (2, 6)  # in a scene, least and most
_SIDE_PX: Final = (28, 44)  # of a picture, least and most
_GROUND: Final = (4, 6, 3)  # rows and columns of colours that run into each other


def make() -> DetectionData:
    """Return 1,249 scenes to train on and 255 to test on, of ten classes.

    Raises:
        DataError: The installed sample is damaged.
    """
    whole = sample.load()
    return DetectionData(
        name=NAME,
        where=NAME,
        classes=whole.classes,
        category_ids=tuple(range(1, len(whole.classes) + 1)),
        splits={"train": _split("train", whole.train), "test": _split("test", whole.test)},
    )


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where the pictures of a split stand.

    Args:
        pictures_p: int64: which picture each is.
        boxes_p4: int64, shape (p, 4): left, top, right, bottom.
        starts: Where those of each scene begin, and the end.
    """

    pictures_p: np.ndarray
    boxes_p4: np.ndarray
    starts: tuple[int, ...]


def _split(name: str, pictures: ImageSet) -> AnnotatedFiles:
    placed = _place(name, len(pictures))
    images = len(placed.starts) - 1
    boxes_p4 = torch.from_numpy(placed.boxes_p4).float()
    no = torch.zeros(len(boxes_p4), dtype=torch.bool)
    every = Objects(
        boxes_p4,
        pictures.labels_n[torch.from_numpy(placed.pictures_p)],
        no,
        no,
        (boxes_p4[:, 2:] - boxes_p4[:, :2]).prod(1),
    )
    names = tuple(f"{name}/{index:04d}.png" for index in range(images))
    return AnnotatedFiles(
        names,
        names,
        Annotations(every, torch.tensor(placed.starts)),
        partial(_drawn, name, pictures.images_nhwc.numpy(), placed),
        sizes_n2=torch.tensor([_SIZE]).expand(images, 2),
    )


def _place(name: str, pictures: int) -> _Placed:
    """Deal the pictures out to scenes, and each to a place in a cell of its own."""
    least, most = _PICTURES
    index_n = np.arange(pictures)
    counts_n = least + integers(0, NAME, name, "pictures", index_n=index_n, below=most - least + 1)
    ends_n = counts_n.cumsum()
    scenes = int(np.searchsorted(ends_n, pictures)) + 1
    starts = (0, *ends_n[: scenes - 1].tolist(), pictures)
    order = torch.randperm(pictures, generator=generator(0, NAME, name, "order"))
    cells = _COLUMNS * _ROWS
    ranks_nc = uniforms(0, NAME, name, "cells", index_n=np.arange(scenes * cells))
    cells_nc = ranks_nc.reshape(scenes, cells).argsort(1, kind="stable")
    cell_p = np.concatenate([cells_nc[i, : starts[i + 1] - starts[i]] for i in range(scenes)])
    smallest, largest = _SIDE_PX
    side_p = smallest + integers(
        0, NAME, name, "side", index_n=index_n, below=largest - smallest + 1
    )
    corner_p2 = np.stack([cell_p % _COLUMNS, cell_p // _COLUMNS], 1) * _CELL_PX
    for axis, word in enumerate(("across", "down")):
        free_p = uniforms(0, NAME, name, word, index_n=index_n) * (_CELL_PX - side_p + 1)
        corner_p2[:, axis] += free_p.astype(np.int64)
    boxes_p4 = np.concatenate([corner_p2, corner_p2 + side_p[:, None]], 1)
    return _Placed(order.numpy(), boxes_p4, starts)


def _drawn(name: str, pictures_nhwc: np.ndarray, placed: _Placed, index: int) -> bytes:
    """Return a scene as a PNG."""
    colours = integers(
        0, NAME, name, "ground", index, index_n=np.arange(np.prod(_GROUND)), below=256
    )
    coarse = Image.fromarray(colours.astype(np.uint8).reshape(_GROUND))
    scene = coarse.resize(_SIZE, Image.Resampling.BICUBIC)
    for at in range(placed.starts[index], placed.starts[index + 1]):
        left, top, right, bottom = placed.boxes_p4[at].tolist()
        picture = Image.fromarray(pictures_nhwc[placed.pictures_p[at]])
        scaled = picture.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
        scene.paste(scaled, (left, top))
    made = io.BytesIO()
    scene.save(made, "PNG", compress_level=1)
    return made.getvalue()
