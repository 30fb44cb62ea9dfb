"""Batches of image files: read and cut by threads, some batches ahead, made ready on the device.

Every choice is a function of (seed, epoch, index of the image), as for images in memory, so a batch
depends on its number alone: resuming restores nothing, and no thread can change the data.
"""

import os
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core.errors import DataError
from resnets.data import crops, cutting
from resnets.data.batches import Batch
from resnets.data.crops import Cut, ResizedCrop, ScaleCrop
from resnets.data.files import ImageFiles
from resnets.data.order import Order

_BATCHES_AHEAD: Final = 3
_IMAGES_A_TASK: Final = 8  # handing an image of its own to a thread costs as much as resizing it
_IMAGES_AT_ONCE: Final = 8  # so many, as float32, are still in the cache at the second operation


class FileBatches:
    """The batches of a training run on image files, by update number, in the order of `Order`.

    A batch is uint8 until it is on the device. While it is computed with, the next ones are read.

    Args:
        files: The training set.
        mean_hwc: What is subtracted from RGB in [0, 1]: from `means.central`, for crops of the same
            size, or of shape (3,).
        augment: How to cut and light the images.
        seed: The run's seed.
        batch_images: Images in a batch.
        device: Where the batches are wanted.
        std: What each channel is then divided by.
        workers: How many threads read and cut; `processors()` of them unless said otherwise.
    """

    def __init__(
        self,
        files: ImageFiles,
        mean_hwc: Tensor,
        augment: ScaleCrop | ResizedCrop,
        *,
        seed: int,
        batch_images: int,
        device: torch.device,
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        workers: int | None = None,
    ) -> None:
        self.images = len(files)
        self.batch_images = batch_images
        self.files = files
        self.augment = augment
        self.device = device
        self.order = Order(self.images, batch_images, seed)
        self._labels_n = files.labels_n.to(device)
        self._std = torch.tensor(std)
        # Of whole rows: broadcasting over the three numbers of a pixel takes four times as long.
        row = (*mean_hwc.shape[:-2], augment.crop_px, 3)
        self._scale_x = (1 / (255 * self._std)).expand(row[-2:]).flatten().to(device)
        self._shift_yx = (-mean_hwc / self._std).expand(row).flatten(-2).to(device)
        self._shape = (batch_images, augment.crop_px, augment.crop_px, 3)
        self._pixels, self._ready = _Memory(self._shape, np.uint8), _Memory(self._shape, np.float32)
        self._pool = ThreadPoolExecutor(workers or processors(), "decoding")
        self._ahead: dict[int, _Reading] = {}

    def __call__(self, number: int) -> Batch:
        """Return the batch of update `number`, counted from 1.

        Raises:
            DataError: An image of it cannot be read or decoded.
        """
        reading = self._read(number)
        ready_nhwc = self._prepared(reading)
        index_n = torch.from_numpy(reading.index_n).to(self.device, non_blocking=True)
        return Batch(ready_nhwc.permute(0, 3, 1, 2), self._labels_n[index_n])

    def read(self, number: int) -> Tensor:
        """Return what the device is sent for that batch: uint8, (n, side, side, 3), on the CPU.

        It is neither flipped nor lit yet.

        Raises:
            DataError: As when called.
        """
        return self._read(number).pixels_nhwc

    def wait(self) -> None:
        """Wait until every batch that was begun ahead is read, as one does who takes the time."""
        for reading in self._ahead.values():
            reading.wait()

    def _read(self, number: int) -> "_Reading":
        """Begin what is wanted soon, give up what is not, and wait for one batch."""
        wanted = range(number, number + 1 + _BATCHES_AHEAD)
        for given_up in set(self._ahead).difference(wanted):
            self._ahead.pop(given_up).cancel()
        for each in wanted:
            if each not in self._ahead:
                self._ahead[each] = self._begin(each)
        reading = self._ahead.pop(number)
        reading.wait()
        return reading

    def _begin(self, number: int) -> "_Reading":
        """Choose what is done to each image of a batch, and let the threads begin."""
        pixels_nhwc = (
            torch.empty(self._shape, dtype=torch.uint8, pin_memory=True)
            if self.device.type == "cuda"
            else self._pixels.lend()
        )
        parts = self.order(number)
        chosen = [crops.choose(self.augment, self.order.seed, *part) for part in parts]
        cuts = [cut for cuts_of_part, _ in chosen for cut in cuts_of_part]
        lights = [light_n3 for _, light_n3 in chosen if light_n3 is not None]
        index_n = np.concatenate([index_n for _, index_n in parts])
        tasks = [
            self._pool.submit(
                self._fill,
                pixels_nhwc.numpy()[at : at + _IMAGES_A_TASK],
                index_n[at : at + _IMAGES_A_TASK].tolist(),
                cuts[at : at + _IMAGES_A_TASK],
            )
            for at in range(0, self.batch_images, _IMAGES_A_TASK)
        ]
        light_n3 = np.concatenate(lights) if lights else None
        flipped = [place for place, cut in enumerate(cuts) if cut.flip]
        return _Reading(index_n, pixels_nhwc, tasks, flipped, light_n3)

    def _fill(self, pixels_nhwc: np.ndarray, index: list[int], cuts: list[Cut]) -> None:
        for pixels_hwc, i, cut in zip(pixels_nhwc, index, cuts, strict=True):
            try:
                pixels_hwc[:] = cutting.cut(
                    self.files.read(i),
                    self.files.names[i],
                    cut.box,
                    self.augment.crop_px,
                    self.augment.interpolation,
                )
            except DataError as err:
                raise unreadable(err) from err

    def _prepared(self, reading: "_Reading") -> Tensor:
        """Flip, scale and light on the device: float32, (n, side, side, 3)."""
        pixels_nhwc = reading.pixels_nhwc.to(self.device, non_blocking=True)
        pixels_nchw = pixels_nhwc.permute(0, 3, 1, 2)
        for flipped in reading.flipped:
            pixels_nchw[flipped] = pixels_nchw[flipped].flip(2)
        if self.device.type == "cuda":
            ready_nhwc, at_once = (
                torch.empty_like(pixels_nhwc, dtype=torch.float32),
                len(pixels_nhwc),
            )
        else:
            ready_nhwc, at_once = self._ready.lend(), _IMAGES_AT_ONCE
        for pixels, ready in zip(
            pixels_nhwc.flatten(2).split(at_once), ready_nhwc.flatten(2).split(at_once), strict=True
        ):
            ready.copy_(pixels)
            torch.addcmul(self._shift_yx, ready, self._scale_x, out=ready)
        if reading.light_n3 is not None:
            light_n3 = (torch.from_numpy(reading.light_n3) / self._std).to(self.device)
            ready_nhwc.flatten(2).add_(light_n3.repeat(1, self.augment.crop_px)[:, None])
        return ready_nhwc


def processors() -> int:
    """Return how many processors this process may use."""
    # Only where processes can be held to some of the processors does Python ask the system.
    allowed = getattr(os, "sched_getaffinity", None)
    return (len(allowed(0)) if allowed else os.cpu_count()) or 1


def readable(files: ImageFiles, index: int) -> Image.Image:
    """Return an image of a training set, every one of which is needed.

    Raises:
        DataError: It cannot be read or decoded; the message says what to do.
    """
    try:
        return files.image(index)
    except DataError as err:
        raise unreadable(err) from err


def unreadable(err: DataError) -> DataError:
    """Return what to raise where an image of a training set is not to be had."""
    return DataError(
        f"{err}; training needs every image: put a good one in its place "
        "(`resnets data check` names all that cannot be read)"
    )


class _Memory:
    """Memory for batches on a CPU, lent again once nobody has a tensor in it any more.

    To map new memory takes the system a third of the time that an image takes in all, and 38 MB or
    more are new every time (docs/lab-log.md).
    """

    def __init__(self, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        self._shape, self._dtype = shape, dtype
        self._free: list[np.ndarray] = []

    def lend(self) -> Tensor:
        """Return a tensor of that shape with anything in it."""
        memory = self._free.pop() if self._free else np.empty(self._shape, self._dtype)
        lent = memory.view()  # lives as long as a tensor that was made of it
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A batch that is being read: which images, the pixels to come, what is then done to them."""

    index_n: np.ndarray
    pixels_nhwc: Tensor
    tasks: list[Future[None]]
    flipped: list[int]
    light_n3: np.ndarray | None

    def wait(self) -> None:
        """Wait for the pixels; raise what went wrong with the first image that went wrong."""
        for task in self.tasks:
            task.result()

    def cancel(self) -> None:
        """Begin nothing more of it."""
        for task in self.tasks:
            task.cancel()
