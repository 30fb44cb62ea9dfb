"""Batches of image files: read and cut by threads, one batch ahead, made ready on the device.

Every choice is a function of (seed, epoch, index of the image), as for images in memory, so a batch
depends on its number alone: resuming restores nothing, and no thread can change the data.
"""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from resnets.core.division import WHOLE, Share
from resnets.data import batches, crops, images
from resnets.data.batches import Batch
from resnets.data.crops import Cut, ScaleCrop
from resnets.data.files import ImageFiles
from resnets.data.order import Order
from resnets.data.setting_aside import SettingAside


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
        aside: What keeps count of the images of `files` that cannot be read, and finds others.
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
        aside: SettingAside | None = None,
        shares: Sequence[Share] = (WHOLE,),
    ) -> None:
        self.images = len(files)
        self.batch_images = batch_images
        self.files = files
        self.augment = augment
        self.device = device
        self.aside = SettingAside(files) if aside is None else aside
        self.order = Order(self.images, batch_images, seed)
        self.mean_hwc = mean_hwc.to(device)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._shares = shares
        self._ahead: dict[tuple[int, Share], _Reading] = {}

    def __call__(self, number: int, share: Share = WHOLE) -> Batch:
        """Return a share of the batch of update `number`, counted from 1.

        In the place of an image that cannot be read stands another with its own label, cut and
        lit as the first would have been.

        Raises:
            DataError: More images cannot be read than training puts up with.
        """
        reading = self._ahead.pop((number, share), None) or self._begin(number, share)
        after = self._after(number, share)
        self._ahead = {after: self._begin(*after)}
        views, used = zip(*(view.result() for view in reading.views), strict=True)
        pixels_nhwc = np.stack(views)
        ready = batches.prepare(torch.from_numpy(pixels_nhwc).to(self.device), self.mean_hwc)
        ready += torch.from_numpy(reading.light_n3).to(self.device)[:, :, None, None]
        return Batch(ready, self.files.labels_n[list(used)].to(self.device))

    def _after(self, number: int, share: Share) -> tuple[int, Share]:
        """Return what will be asked for next."""
        later = (self._shares.index(share) + 1) if share in self._shares else len(self._shares)
        if later < len(self._shares):
            return number, self._shares[later]
        return number + 1, self._shares[0]

    def _begin(self, number: int, share: Share) -> "_Reading":
        """Choose what is done to each image of a share, and let the threads begin."""
        views, light = [], []
        for epoch, part in self.order(number, share):
            cuts, light_n3 = crops.choose(self.augment, self.order.seed, epoch, part)
            views += [
                self._pool.submit(
                    self.aside.readable, index, partial(_view, self.augment.crop_px, cut)
                )
                for index, cut in zip(part.tolist(), cuts, strict=True)
            ]
            light.append(light_n3)
        return _Reading(views, np.concatenate(light))


@dataclass(frozen=True, slots=True)
class _Reading:
    """A batch that is being read: views to come, of which images they are, what lights them."""

    views: list[Future[tuple[np.ndarray, int]]]
    light_n3: np.ndarray


def _view(crop_px: int, cut: Cut, content: bytes, name: str) -> np.ndarray:
    return crops.view(images.decode(content, name), crop_px, cut)
