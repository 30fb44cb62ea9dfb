"""Which images a batch holds: a function of the run's seed and the batch's number."""

import numpy as np
import torch

from resnets.core import random
from resnets.core.division import WHOLE, Share


class Order:
    """The order in which a run sees its training set, cut into batches.

    Epochs follow each other without a gap: a batch may hold the end of one and the beginning of
    the next, so every batch is whole and every image comes once an epoch.

    Args:
        images: How many the training set has.
        batch_images: Images in a batch.
        seed: The run's seed.
    """

    def __init__(self, images: int, batch_images: int, seed: int) -> None:
        self.images = images
        self.batch_images = batch_images
        self.seed = seed
        self._orders: dict[int, np.ndarray] = {}

    def __call__(self, number: int, share: Share = WHOLE) -> list[tuple[int, np.ndarray]]:
        """Return what a share of batch `number`, counted from 1, holds of each epoch it touches.

        Returns:
            Epochs, from 0, each with the indices of images: int64, together those of the share.
        """
        within = share.within(self.batch_images)
        first = (number - 1) * self.batch_images
        at, end = first + within.start, first + within.stop
        parts = []
        while at < end:
            epoch, place = divmod(at, self.images)
            part = self._of_epoch(epoch)[place : place + end - at]
            parts.append((epoch, part))
            at += len(part)
        return parts

    def _of_epoch(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            order = torch.randperm(
                self.images, generator=random.generator(self.seed, "order", epoch)
            )
            # Two are needed while a batch straddles epochs; older ones never again.
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = order.numpy()
        return self._orders[epoch]
