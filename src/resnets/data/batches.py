"""Batches of small images: the whole set lives on the device as uint8 and is augmented there.

Every choice is a function of (seed, epoch, index of the image), so a batch depends on its number
alone: resuming restores nothing, and no worker or process can change the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from resnets.core import random
from resnets.core.division import WHOLE, Share
from resnets.core.errors import DataError
from resnets.core.processes import ALONE, Team
from resnets.core.spec import spec
from resnets.data import preprocess
from resnets.data.order import Order
from resnets.data.sets import ImageSet


@spec
class CropFlip:
    """Pad each side, crop the original size at a random place, flip every second image or so.

    Source: He et al. 2015, sec. 4.2.
    """

    kind: Literal["crop-flip"] = "crop-flip"
    pad_px: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.pad_px <= 128:
            raise DataError(f"data.augment.pad_px: must be from 0 to 128, got {self.pad_px}")


@dataclass(frozen=True, slots=True)
class Mixed:
    """What the images of a batch were mixed with: each with one other, to the same share.

    Args:
        partner_labels_n: The labels of the others, int64.
        share: Of an image's own label, in [0, 1].
    """

    partner_labels_n: Tensor
    share: float


@dataclass(frozen=True, slots=True)
class Batch:
    """Images ready for the network, float32 in channels-last memory, and their labels.

    `mix` says what they were mixed with; None where they weren't.
    """

    images_nchw: Tensor
    labels_n: Tensor
    mix: Mixed | None = None


class Batches(Protocol):
    """The batches of a run: a pure function of the update's number, counted from 1."""

    images: int  # in the training set
    batch_images: int  # in a batch
    device: torch.device  # where they are made

    def __call__(self, number: int, share: Share = WHOLE) -> Batch:
        """Return those images of that update's batch: all of them, or a share."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What augmentation does to each image: crop offsets in [0, 2 * pad_px] and whether to flip."""

    top_n: Tensor
    left_n: Tensor
    flip_n: Tensor


def mean_image(images: ImageSet) -> Tensor:
    """Return the per-pixel mean over a training set: float32 in [0, 1], (height, width, 3).

    Source: He et al. 2015, sec. 4.2.
    """
    total = torch.zeros(images.images_nhwc.shape[1:], dtype=torch.float64)
    for part in images.images_nhwc.split(4096):
        total += part.sum(0, dtype=torch.int64)
    return (total / (255 * len(images))).float()


def prepare(
    images_nhwc: Tensor, mean_hwc: Tensor, std_hwc: Tensor | None = None, channels: int = 3
) -> Tensor:
    """Turn uint8 images into what the network takes: scaled to [0, 1], less a mean, over a std.

    Then they become as many channels as it takes (`preprocess.as_channels`).

    Deviation: the scale of [0, 1]. BN after conv1 makes the result the same at any scale.
    """
    centred = images_nhwc.float().div_(255).sub_(mean_hwc)
    ready_nhwc = centred if std_hwc is None else centred.div_(std_hwc)
    return preprocess.as_channels(ready_nhwc.permute(0, 3, 1, 2), channels)


class TrainBatches:
    """The batches of a training run on small images, by update number, in the order of `Order`.

    Args:
        images: The training set.
        mean_hwc: From `mean_image`.
        augment: How to augment.
        seed: The run's seed.
        batch_images: Images in a batch.
        device: Where the set is kept and the batches are made.
        channels: Of an image, as the network takes it.
    """

    def __init__(
        self,
        images: ImageSet,
        mean_hwc: Tensor,
        augment: CropFlip,
        *,
        seed: int,
        batch_images: int,
        device: torch.device,
        channels: int = 3,
    ) -> None:
        self.images = len(images)
        self.batch_images = batch_images
        self.seed = seed
        self.augment = augment
        self.device = device
        self.channels = channels
        self.order = Order(self.images, batch_images, seed)
        self.labels_n = images.labels_n.to(device)
        # The mean is padded like the images, so the padding is zero once it is subtracted.
        self.windows = _windows(images.images_nhwc.to(device), augment.pad_px)
        self.mean_windows = _windows(mean_hwc[None].to(device), augment.pad_px)

    def __call__(self, number: int, share: Share = WHOLE) -> Batch:
        """Return a share of the batch of update `number`, counted from 1."""
        parts = self.order(number, share)
        index_n = np.concatenate([index_n for _, index_n in parts])
        drawn = np.concatenate([self._draw(*part) for part in parts], axis=1)
        together = torch.from_numpy(np.concatenate([index_n[None], drawn]))  # travels once
        index, top_n, left_n, flip_n = together.to(self.device, non_blocking=True)
        return self.batch(index, Choices(top_n, left_n, flip_n == 1))

    def batch(self, index_n: Tensor, choices: Choices) -> Batch:
        """Return those images augmented by those choices: no randomness here."""
        nothing = torch.zeros_like(index_n)
        images = self.windows[index_n, choices.top_n, choices.left_n]
        mean = self.mean_windows[nothing, choices.top_n, choices.left_n]
        made = images.float().div_(255).sub_(mean)
        made = torch.where(choices.flip_n[:, None, None, None], made.flip(2), made)
        images_nchw = preprocess.as_channels(made.permute(0, 3, 1, 2), self.channels)
        return Batch(images_nchw, self.labels_n[index_n])

    def _draw(self, epoch: int, index_n: np.ndarray) -> np.ndarray:
        """Return top, left and flip of those images in that epoch, shape (3, n)."""
        places = 2 * self.augment.pad_px + 1

        def draw(what: str, below: int) -> np.ndarray:
            return random.integers(self.seed, "augment", what, epoch, index_n=index_n, below=below)

        flip_n = draw("flip", 2) if self.augment.flip else np.zeros_like(index_n)
        return np.stack([draw("top", places), draw("left", places), flip_n])


def in_order(
    images: ImageSet,
    mean_hwc: Tensor,
    *,
    batch_images: int,
    device: torch.device,
    channels: int = 3,
    team: Team = ALONE,
) -> Iterator[Batch]:
    """Yield the whole set once, in order and unaugmented; the last batch may be smaller.

    Of a team every process is dealt its own of these batches, so that each is computed as one
    process alone would, to the last bit.
    """
    mean = mean_hwc.to(device)
    for first in range(team.rank * batch_images, len(images), team.size * batch_images):
        part = slice(first, first + batch_images)
        pixels = images.images_nhwc[part].to(device)
        yield Batch(prepare(pixels, mean, channels=channels), images.labels_n[part].to(device))


def _windows(images_nhwc: Tensor, pad_px: int) -> Tensor:
    """Return every crop of the padded images as a view: (n, 2 pad + 1, 2 pad + 1, h, w, 3)."""
    _, height, width, _ = images_nhwc.shape
    padded = torch.nn.functional.pad(images_nhwc, (0, 0, pad_px, pad_px, pad_px, pad_px))
    return padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
