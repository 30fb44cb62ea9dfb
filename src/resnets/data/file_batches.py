"""Batches of image files: read and cut by threads, some batches ahead, made ready on the device.

Every choice is a function of (seed, epoch, index of the image), as for images in memory, so a batch
depends on its number alone: resuming restores nothing, and no thread can change the data.
"""

import os
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core.division import WHOLE, Share
from resnets.data import crops, cutting, erasing, mixing, operations, policies, preprocess
from resnets.data.ahead import Ahead
from resnets.data.batches import Batch, Mixed
from resnets.data.crops import Cut, ResizedCrop, ScaleCrop
from resnets.data.erasing import RandomErasing
from resnets.data.files import ImageFiles
from resnets.data.mixing import Mixing
from resnets.data.operations import Operation
from resnets.data.order import Order
from resnets.data.policies import RandAugment, TrivialAugment
from resnets.data.setting_aside import SettingAside

_IMAGES_A_TASK: Final = 8  # handing an image of its own to a thread costs as much as resizing it
_IMAGES_AT_ONCE: Final = 8  # so many, as float32, are still in the cache at the second operation


@dataclass(frozen=True, slots=True)
class Augmentation:
    """All that is done to the images of a training set, in this order.

    Args:
        cut: How each is cut out, flipped and lit.
        policy: What then happens to its pixels.
        erasing: What is erased once it is normalised.
        mixing: How the images of a part of a batch are mixed.
        repeats: How many views of an image an epoch holds.
    """

    cut: ScaleCrop | ResizedCrop
    policy: TrivialAugment | RandAugment | None = None
    erasing: RandomErasing | None = None
    mixing: Mixing | None = None
    repeats: int = 1


class FileBatches:
    """The batches of a training run on image files, by update number, in the order of `Order`.

    A batch is uint8 until it is on the device. While it is computed with, the next ones are read.

    Args:
        files: The training set.
        mean_hwc: What is subtracted from RGB in [0, 1]: from `means.central`, for crops of the same
            size, or of shape (1, 1, 3).
        augmentation: What is done to the images.
        seed: The run's seed.
        batch_images: Images in a batch.
        device: Where the batches are wanted.
        std: What each channel is then divided by.
        channels: Of an image, as the network takes it.
        aside: What keeps count of the images of `files` that cannot be read, and finds others.
        shares: What will be asked for of every batch, in this order; by default all of it at once.
        workers: How many threads read and cut; `processors()` of them unless said otherwise.
    """

    def __init__(
        self,
        files: ImageFiles,
        mean_hwc: Tensor,
        augmentation: Augmentation,
        *,
        seed: int,
        batch_images: int,
        device: torch.device,
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        channels: int = 3,
        aside: SettingAside | None = None,
        shares: Sequence[Share] = (WHOLE,),
        workers: int | None = None,
    ) -> None:
        self.images = len(files)
        self.batch_images = batch_images
        self.augmentation = augmentation
        self.side_px = augmentation.cut.crop_px
        self.device = device
        self.channels = channels
        self.order = Order(self.images, batch_images, seed, augmentation.repeats)
        self.aside = SettingAside(files) if aside is None else aside
        self._labels_n = files.labels_n
        self._std = torch.tensor(std)
        # Of whole rows: broadcasting over the three numbers of a pixel takes four times as long.
        row = (*(mean_hwc.shape[:1] if mean_hwc.shape[0] > 1 else ()), self.side_px, 3)
        self._scale_x = (1 / (255 * self._std)).expand(row[-2:]).flatten().to(device)
        shift = -mean_hwc / self._std
        self._shift_yx = (shift if len(row) == 3 else shift[0]).expand(row).flatten(-2).to(device)
        self._pixels, self._prepared = _Memory(np.uint8), _Memory(np.float32)
        self._pool = ThreadPoolExecutor(workers or processors(), "decoding")
        self._ahead = Ahead(shares, self._begin, _Reading.cancel)

    def __call__(self, number: int, share: Share = WHOLE) -> Batch:
        """Return a share of the batch of update `number`, counted from 1.

        In the place of an image that cannot be read stands another with its own label, cut and
        lit as the first would have been.

        Raises:
            DataError: More images cannot be read than training puts up with.
        """
        reading, used = self._read(number, share)
        images_nchw = self._ready(reading)
        labels_n = self._labels_n[used].to(self.device)
        return self._mixed(images_nchw, labels_n, number, share)

    def read(self, number: int, share: Share = WHOLE) -> Tensor:
        """Return what the device is sent for a share: uint8, (n, side, side, 3), on the CPU.

        It is not flipped, lit, erased or mixed yet.

        Raises:
            DataError: As when called.
        """
        return self._read(number, share)[0].pixels_nhwc

    def wait(self) -> None:
        """Wait until everything that was begun ahead is read, as one does who takes the time."""
        for reading in self._ahead.begun:
            reading.wait()

    def _read(self, number: int, share: Share) -> tuple["_Reading", list[int]]:
        """Wait for a share, while the next ones are read."""
        reading = self._ahead.take(number, share)
        used, wrong = reading.wait()
        self.aside.count(wrong)
        return reading, used

    def _begin(self, number: int, share: Share) -> "_Reading":
        """Choose what is done to each image of a share, and let the threads begin."""
        done, seed, side_px = self.augmentation, self.order.seed, self.side_px
        todo: list[tuple[int, Cut, tuple[Operation, ...]]] = []
        lights, boxes = [], []
        for epoch, view_n in self.order(number, share, before=self._needs_before(share)):
            cuts, light_n3 = crops.choose(done.cut, seed, epoch, view_n)
            chosen: Sequence[tuple[Operation, ...]] = [()] * len(view_n)
            if done.policy is not None:
                chosen = policies.choose(done.policy, seed, epoch, view_n, image_px=side_px)
            if done.erasing is not None:
                boxes.append(erasing.choose(done.erasing, seed, epoch, view_n, image_px=side_px))
            if light_n3 is not None:
                lights.append(light_n3)
            todo += zip((view_n % self.images).tolist(), cuts, chosen, strict=True)
        shape = (len(todo), side_px, side_px, 3)
        pixels_nhwc = (
            torch.empty(shape, dtype=torch.uint8, pin_memory=True)
            if self.device.type == "cuda"
            else self._pixels.lend(shape)
        )
        tasks = [
            self._pool.submit(self._fill, pixels_nhwc.numpy()[at:end], todo[at:end])
            for at in range(0, len(todo), _IMAGES_A_TASK)
            for end in [at + _IMAGES_A_TASK]
        ]
        flipped = [] if done.policy else [at for at, (_, cut, _) in enumerate(todo) if cut.flip]
        return _Reading(
            pixels_nhwc,
            tasks,
            flipped,
            np.concatenate(lights) if lights else None,
            np.concatenate(boxes) if boxes else None,
        )

    def _fill(
        self, pixels_nhwc: np.ndarray, todo: list[tuple[int, Cut, tuple[Operation, ...]]]
    ) -> tuple[list[int], dict[int, str]]:
        """Read and cut some images; return which they were in the end, and which were bad."""
        used: list[int] = []
        wrong: dict[int, str] = {}
        for pixels_hwc, (index, cut, chosen) in zip(pixels_nhwc, todo, strict=True):
            view_hwc, found, bad = self.aside.readable(index, partial(self._view, cut))
            if self.augmentation.policy is not None:  # which sees the image flipped
                view_hwc = operations.apply(view_hwc[:, ::-1] if cut.flip else view_hwc, chosen)
            pixels_hwc[:] = view_hwc
            used.append(found)
            wrong |= bad
        return used, wrong

    def _view(self, cut: Cut, content: bytes, name: str) -> np.ndarray:
        how = self.augmentation.cut.interpolation
        return cutting.cut(content, name, cut.box, self.side_px, how)

    def _ready(self, reading: "_Reading") -> Tensor:
        """Flip, scale, light and erase on the device: float32, (n, channels, side, side)."""
        pixels_nhwc = reading.pixels_nhwc.to(self.device, non_blocking=True)
        pixels_nchw = pixels_nhwc.permute(0, 3, 1, 2)
        _flip(pixels_nchw, reading.flipped)
        if self.device.type == "cuda":
            ready_nhwc = torch.empty_like(pixels_nhwc, dtype=torch.float32)
            at_once = len(pixels_nhwc)
        else:
            ready_nhwc, at_once = self._prepared.lend(tuple(pixels_nhwc.shape)), _IMAGES_AT_ONCE
        for pixels, ready in zip(
            pixels_nhwc.flatten(2).split(at_once), ready_nhwc.flatten(2).split(at_once), strict=True
        ):
            ready.copy_(pixels)
            torch.addcmul(self._shift_yx, ready, self._scale_x, out=ready)
        if reading.light_n3 is not None:
            light_n3 = (torch.from_numpy(reading.light_n3) / self._std).to(self.device)
            ready_nhwc.flatten(2).add_(light_n3.repeat(1, self.side_px)[:, None])
        images_nchw = ready_nhwc.permute(0, 3, 1, 2)
        if reading.erased_n4 is not None:
            boxes_n4 = torch.from_numpy(reading.erased_n4).to(self.device)
            images_nchw = erasing.erase(images_nchw, boxes_n4)
        return preprocess.as_channels(images_nchw, self.channels)

    def _needs_before(self, share: Share) -> bool:
        """Tell whether the image before a share's first one is mixed into that."""
        return self.augmentation.mixing is not None and share.slices > share.parts

    def _mixed(self, images_nchw: Tensor, labels_n: Tensor, number: int, share: Share) -> Batch:
        """Mix the images of a part, each with the one before it."""
        if self.augmentation.mixing is None:
            return Batch(images_nchw, labels_n)
        how = mixing.choose(
            self.augmentation.mixing, self.order.seed, number, share.part, image_px=self.side_px
        )
        # Of a slice the first is the image before it, which is there to be mixed in alone.
        own = slice(1 if self._needs_before(share) else 0, None)
        partner_labels_n = mixing.partners(labels_n)[own]
        mixed = Mixed(partner_labels_n, how.share)
        return Batch(mixing.mix(images_nchw, how)[own], labels_n[own], mixed)


def _flip(images_nchw: Tensor, which: list[int]) -> None:
    """Flip some images left to right, in place: on a GPU all together, which is two calls."""
    if not images_nchw.is_cuda:  # one after the other stays in the cache
        for index in which:
            images_nchw[index] = images_nchw[index].flip(2)
    elif which:
        chosen = torch.tensor(which, device=images_nchw.device)
        images_nchw[chosen] = images_nchw[chosen].flip(3)


def processors() -> int:
    """Return how many processors this process may use."""
    # Only where processes can be held to some of the processors does Python ask the system.
    allowed = getattr(os, "sched_getaffinity", None)
    return (len(allowed(0)) if allowed else os.cpu_count()) or 1


class _Memory:
    """Memory for batches on a CPU, lent again once nobody has a tensor in it any more.

    To map new memory takes the system a third of the time that an image takes in all, and 38 MB or
    more are new every time (docs/lab-log.md).
    """

    def __init__(self, dtype: type[np.generic]) -> None:
        self._dtype = dtype
        self._free: dict[tuple[int, ...], list[np.ndarray]] = {}

    def lend(self, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor of that shape with anything in it."""
        free = self._free.setdefault(shape, [])
        memory = free.pop() if free else np.empty(shape, self._dtype)
        lent = memory.view()  # lives as long as a tensor that was made of it
        weakref.finalize(lent, free.append, memory).atexit = False
        return torch.from_numpy(lent)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Images that are being read: the pixels to come, and what is then done to them."""

    pixels_nhwc: Tensor
    tasks: list[Future[tuple[list[int], dict[int, str]]]]
    flipped: list[int]
    light_n3: np.ndarray | None
    erased_n4: np.ndarray | None

    def wait(self) -> tuple[list[int], dict[int, str]]:
        """Wait for the pixels; return of which images they are, and which could not be read.

        What went wrong with the first image that went wrong is raised.
        """
        done = [task.result() for task in self.tasks]
        wrong = {index: why for _, bad in done for index, why in bad.items()}
        return [index for used, _ in done for index in used], wrong

    def cancel(self) -> None:
        """Begin nothing more of it."""
        for task in self.tasks:
            task.cancel()
