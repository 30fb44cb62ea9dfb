"""Training crops of images with boxes: cut, flipped and lit as for classification, boxes too."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core import random
from resnets.core.division import WHOLE, Share
from resnets.data import batches, crops, cutting, scenes
from resnets.data.ahead import Ahead
from resnets.data.annotated import AnnotatedFiles, Objects
from resnets.data.crops import Cut, ScaleCrop
from resnets.data.file_batches import processors
from resnets.data.jpeg import Box
from resnets.data.order import Order
from resnets.data.preprocess import Interpolation, Preprocess
from resnets.data.setting_aside import SettingAside

_KEYS: Final = 2**16


@dataclass(frozen=True, slots=True)
class BoxCrops:
    """Crops ready for a network, and what of their objects is in them.

    Args:
        images_nchw: float32.
        labels_n: int64, the class of each image.
        objects: Of each, in pixels of the crop; perhaps none.
        keys: A number for each image to draw with what is drawn for it, so that this does not
            depend on the images it is computed together with.
    """

    images_nchw: Tensor
    labels_n: Tensor
    objects: tuple[Objects, ...]
    keys: tuple[int, ...]


class BoxCropBatches:
    """The batches of a localizer's training run, by update number, in the order of `Order`.

    All that is drawn for an image is a function of (seed, epoch, index), so a batch depends on its
    number alone. While one is computed with, the next ones are read.

    Args:
        files: The training set, with objects of one class in each image.
        labels_n: int64, that class.
        augment: How images are cut.
        view: What is subtracted from RGB in [0, 1], and divided by.
        seed: The run's seed.
        batch_images: Images in a batch.
        device: Where the batches are wanted.
        shares: What will be asked for of every batch, in this order; by default all of it at once.
        workers: How many threads read; one a processor unless said otherwise.

    Source: He et al. 2015, appendix C, for crops as in sec. 3.4.
    """

    def __init__(
        self,
        files: AnnotatedFiles,
        labels_n: Tensor,
        augment: ScaleCrop,
        view: Preprocess,
        *,
        seed: int,
        batch_images: int,
        device: torch.device,
        shares: Sequence[Share] = (WHOLE,),
        workers: int | None = None,
    ) -> None:
        assert view.mean is not None
        self.images = len(files)
        self.batch_images = batch_images
        self.files = files
        self.labels_n = labels_n
        self.augment = augment
        self.device = device
        self.order = Order(self.images, batch_images, seed)
        self.aside = SettingAside(files)
        self._mean, self._std = (
            torch.tensor(three, device=device).view(1, 1, 3) for three in (view.mean, view.std)
        )
        self._pool = ThreadPoolExecutor(workers or processors(), "decoding")
        self._ahead = Ahead(shares, self._begin, _give_up)

    def __call__(self, number: int, share: Share = WHOLE) -> BoxCrops:
        """Return a share of the batch of update `number`, counted from 1.

        In the place of an image that cannot be read stands another with its own objects.

        Raises:
            DataError: More images cannot be read than training puts up with.
        """
        reading = self._ahead.take(number, share)
        read = [task.result() for task in reading.tasks]
        self.aside.count({index: why for each in read for index, why in each.wrong.items()})
        pixels_nhwc = torch.from_numpy(np.stack([each.pixels_hwc for each in read]))
        images_nchw = batches.prepare(pixels_nhwc.to(self.device), self._mean, self._std)
        if reading.lights_n3 is not None:
            lights_n3 = torch.from_numpy(reading.lights_n3).to(self.device) / self._std[0, 0]
            images_nchw = images_nchw + lights_n3[:, :, None, None]
        labels_n = self.labels_n[[each.index for each in read]].to(self.device)
        objects = tuple(scenes.moved(each.objects, self.device) for each in read)
        return BoxCrops(images_nchw, labels_n, objects, reading.keys)

    def _begin(self, number: int, share: Share) -> "_Reading":
        tasks, lights, keys = [], [], []
        seed = self.order.seed
        for epoch, index_n in self.order(number, share):
            cuts, light_n3 = crops.choose(self.augment, seed, epoch, index_n)
            for index, cut in zip(index_n.tolist(), cuts, strict=True):
                tasks.append(self._pool.submit(self._read, index, cut))
            lights += [] if light_n3 is None else [light_n3]
            drawn_n = random.integers(seed, "anchors", epoch, index_n=index_n, below=_KEYS)
            keys += drawn_n.tolist()
        return _Reading(tasks, np.concatenate(lights) if lights else None, tuple(keys))

    def _read(self, index: int, cut: Cut) -> "_Crop":
        side_px, how = self.augment.crop_px, self.augment.interpolation
        read, found, wrong = self.aside.readable(index, partial(_cut, cut, side_px, how))
        pixels_hwc, size, box = read
        objects = inside(self.files.objects[found].within(*size), box, side_px)
        if cut.flip:
            pixels_hwc, objects = pixels_hwc[:, ::-1], scenes.flipped(objects, side_px)
        return _Crop(pixels_hwc, objects, found, wrong)


def inside(objects: Objects, box: Box, side_px: int) -> Objects:
    """Return what of some objects is in a box of their image that becomes a square of a side.

    Args:
        objects: In pixels of the image.
        box: Left, top, right, bottom of what is cut out.
        side_px: Of the square that it becomes.
    """
    left, top, right, bottom = box
    corner_4 = torch.tensor([left, top, left, top])
    cut = replace(objects, boxes_n4=(objects.boxes_n4 - corner_4).clamp(min=0))
    whole = cut.within(right - left, bottom - top)
    kept_n = (whole.boxes_n4[:, 2:] > whole.boxes_n4[:, :2]).all(1)
    return scenes.scaled(whole.take(kept_n), side_px / (right - left), side_px / (bottom - top))


@dataclass(frozen=True, slots=True)
class _Crop:
    """A crop, uint8 (side, side, 3).

    Args:
        pixels_hwc: It.
        objects: In pixels of it.
        index: Of which image it is.
        wrong: The images that could not be read and are not in its place, and why.
    """

    pixels_hwc: np.ndarray
    objects: Objects
    index: int
    wrong: dict[int, str]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Crops that are being read, what is added to the colours of each, and their keys."""

    tasks: list[Future[_Crop]]
    lights_n3: np.ndarray | None
    keys: tuple[int, ...]


def _give_up(reading: _Reading) -> None:
    for task in reading.tasks:
        task.cancel()


def _cut(
    cut: Cut, side_px: int, how: Interpolation, content: bytes, name: str
) -> tuple[np.ndarray, tuple[int, int], Box]:
    """Return a crop, the width and height of its image, and which box of that it was."""
    size, box = (0, 0), (0, 0, 0, 0)

    def box_of(width: int, height: int) -> Box:
        nonlocal size, box
        size, box = (width, height), cut.box(width, height)
        return box

    return cutting.cut(content, name, box_of, side_px, how), size, box
