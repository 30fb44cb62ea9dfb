"""Which images a batch holds: a function of the run's seed and the batch's number."""

import numpy as np
import torch

from resnets.core import random
from resnets.core.division import WHOLE, Share


class Order:
    """The order in which a run sees its training set, cut into batches.

    Epochs follow each other without a gap: a batch may hold the end of one and the beginning of
    the next, so every batch is whole and every image comes once an epoch.

    With `repeats` an epoch still has as many views as the set has images, but they are of the first
    of its random order alone: each comes `repeats` times in a row (the last one less often where
    the numbers don't divide), under that many augmentations. The views are cut into batches as
    above. In a batch first views come first, then second ones, and so on: parts of a batch that
    are no larger than a `repeats`-th of it hold different images, as they do in other processes of
    the references; only where an epoch ends within may one come twice.

    A view is a number: copy times images plus image. It stands for the image in whatever chooses
    the augmentation; what is read is image `view % images`.

    Args:
        images: How many the training set has.
        batch_images: Images in a batch.
        seed: The run's seed.
        repeats: How often an image comes in an epoch that it comes in; positive.

    Source: Hoffer et al. 2020; Berman et al. 2019, for epochs of as many updates.
    """

    def __init__(self, images: int, batch_images: int, seed: int, repeats: int = 1) -> None:
        self.images = images
        self.batch_images = batch_images
        self.seed = seed
        self.repeats = repeats
        self._orders: dict[int, np.ndarray] = {}

    def __call__(
        self, number: int, share: Share = WHOLE, *, before: bool = False
    ) -> list[tuple[int, np.ndarray]]:
        """Return what a share of batch `number`, counted from 1, holds of each epoch it touches.

        Args:
            number: The batch.
            share: Which of its images.
            before: Whether the one before the share's first, `Share.before`, comes first too.

        Returns:
            Epochs, from 0, each with views of images: int64, together those of the share. Without
            repeats a view is the index of an image, and no epoch comes twice.
        """
        spans = self._spans((number - 1) * self.batch_images, number * self.batch_images)
        batch = [
            (epoch, copy * self.images + self._of_epoch(epoch)[self._places(first, last, copy)])
            for copy in range(self.repeats)
            for epoch, first, last in spans
        ]
        within = share.within(self.batch_images)
        parts = _within(batch, within)
        if before:
            first = share.before(self.batch_images)
            parts = [*_within(batch, range(first, first + 1)), *parts]
        return parts

    def _spans(self, at: int, end: int) -> list[tuple[int, int, int]]:
        """Return the epochs between two views of a run, with where in each they begin and end."""
        spans = []
        while at < end:
            epoch, first = divmod(at, self.images)
            last = min(self.images, first + end - at)
            spans.append((epoch, first, last))
            at += last - first
        return spans

    def _places(self, first: int, last: int, copy: int) -> slice:
        """Return the places in an epoch's order of the images whose `copy` is within a span."""
        return slice(-((copy - first) // self.repeats), -((copy - last) // self.repeats))

    def _of_epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            order = torch.randperm(
                self.images, generator=random.generator(self.seed, "order", epoch)
            )
            # Two are needed while a batch straddles epochs; older ones never again.
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = order.numpy()
        return self._orders[epoch]


def _within(batch: list[tuple[int, np.ndarray]], wanted: range) -> list[tuple[int, np.ndarray]]:
    """Return what stands at some places of a batch."""
    at, parts = 0, []
    for epoch, view_n in batch:
        part = view_n[max(0, wanted.start - at) : max(0, wanted.stop - at)]
        if len(part):
            parts.append((epoch, part))
        at += len(view_n)
    return parts
