"""Batches of image files: read and cut by threads, one batch ahead, made ready on the device.

Every choice is a function of (seed, epoch, index of the image), as for images in memory, so a batch
depends on its number alone: resuming restores nothing, and no thread can change the data.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core.division import WHOLE, Share
from resnets.core.errors import DataError
from resnets.data import batches, crops
from resnets.data.batches import Batch
from resnets.data.crops import Cut, ScaleCrop
from resnets.data.files import ImageFiles
from resnets.data.order import Order


class FileBatches:
    """The batches of a training run on image files, by update number, in the order of `Order`.

    A batch is uint8 until it is on the device. While it is computed with, the next one is read.

    Args:
        files: The training set.
        mean_hwc: From `means.central`, for crops of the same size.
        augment: How to cut and light the images.
        seed: The run's seed.
        batch_images: Images in a batch.
        device: Where the batches are wanted.
        shares: What will be asked for of every batch, in this order; by default all of it at once.
    """

    def __init__(
        self,
        files: ImageFiles,
        mean_hwc: Tensor,
        augment: ScaleCrop,
        *,
        seed: int,
        batch_images: int,
        device: torch.device,
        shares: Sequence[Share] = (WHOLE,),
    ) -> None:
        self.images = len(files)
        self.batch_images = batch_images
        self.files = files
        self.augment = augment
        self.device = device
        self.order = Order(self.images, batch_images, seed)
        self.mean_hwc = mean_hwc.to(device)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._shares = shares
        self._ahead: dict[tuple[int, Share], _Reading] = {}

    def __call__(self, number: int, share: Share = WHOLE) -> Batch:
        """Return a share of the batch of update `number`, counted from 1.

        Raises:
            DataError: An image of it cannot be read or decoded.
        """
        reading = self._ahead.pop((number, share), None) or self._begin(number, share)
        after = self._after(number, share)
        self._ahead = {after: self._begin(*after)}
        pixels_nhwc = np.stack([view.result() for view in reading.views])
        ready = batches.prepare(torch.from_numpy(pixels_nhwc).to(self.device), self.mean_hwc)
        ready += torch.from_numpy(reading.light_n3).to(self.device)[:, :, None, None]
        return Batch(ready, self.files.labels_n[reading.index_n].to(self.device))

    def _after(self, number: int, share: Share) -> tuple[int, Share]:
        """Return what will be asked for next."""
        later = (self._shares.index(share) + 1) if share in self._shares else len(self._shares)
        if later < len(self._shares):
            return number, self._shares[later]
        return number + 1, self._shares[0]

    def _begin(self, number: int, share: Share) -> "_Reading":
        """Choose what is done to each image of a share, and let the threads begin."""
        index_n, views, light = [], [], []
        for epoch, part in self.order(number, share):
            cuts, light_n3 = crops.choose(self.augment, self.order.seed, epoch, part)
            views += [
                self._pool.submit(_view, self.files, index, self.augment.crop_px, cut)
                for index, cut in zip(part.tolist(), cuts, strict=True)
            ]
            index_n.append(part)
            light.append(light_n3)
        return _Reading(np.concatenate(index_n), views, np.concatenate(light))


def readable(files: ImageFiles, index: int) -> Image.Image:
    """Return an image of a training set, every one of which is needed.

    Raises:
        DataError: It cannot be read or decoded; the message says what to do.
    """
    try:
        return files.image(index)
    except DataError as err:
        raise DataError(
            f"{err}; training needs every image: put a good one in its place "
            "(`resnets data check` names all that cannot be read)"
        ) from err


@dataclass(frozen=True, slots=True)
class _Reading:
    """A batch that is being read: which images, their views to come, what lights them."""

    index_n: np.ndarray
    views: list[Future[np.ndarray]]
    light_n3: np.ndarray


def _view(files: ImageFiles, index: int, crop_px: int, cut: Cut) -> np.ndarray:
    return crops.view(readable(files, index), crop_px, cut)
