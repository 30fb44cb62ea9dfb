"""A tiny data set made on the spot, for tests: learnable in seconds, no file needed."""

import torch

from resnets.core.random import generator
from resnets.data.sets import DataSet, ImageSet

_CLASSES = ("red", "green", "blue", "dark")


def make() -> DataSet:
    """Return 256 training and 64 test images of 32x32 in four classes.

    An image is noise with one colour channel brighter, or none in the class "dark".
    """
    return DataSet(
        name="synthetic",
        where="synthetic",
        classes=_CLASSES,
        train=_split("train", 256),
        test=_split("test", 64),
    )


def _split(name: str, images: int) -> ImageSet:
    draw = generator(0, "synthetic", name)
    noise = torch.randint(0, 120, (images, 32, 32, 3), generator=draw)
    labels_n = torch.arange(images) % len(_CLASSES)
    bright = torch.nn.functional.one_hot(labels_n, len(_CLASSES))[:, :3] * 90
    return ImageSet((noise + bright[:, None, None, :]).to(torch.uint8), labels_n)
