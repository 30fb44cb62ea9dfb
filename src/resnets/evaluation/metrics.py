"""Exact top-k error: integer counts in, one division out."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TopK:
    """Counts over any number of images. Adding two gives the counts over both."""

    images: int = 0
    hit1: int = 0
    hit5: int = 0

    def __add__(self, other: "TopK") -> "TopK":
        return TopK(self.images + other.images, self.hit1 + other.hit1, self.hit5 + other.hit5)

    @property
    def error1_percent(self) -> float:
        """Top-1 error in percent, as the paper's tables print it."""
        return 100 * (self.images - self.hit1) / self.images

    @property
    def error5_percent(self) -> float:
        """Top-5 error in percent."""
        return 100 * (self.images - self.hit5) / self.images

    @property
    def interval1_percent(self) -> tuple[float, float]:
        """The 95 % interval of the top-1 error, in percent.

        Source: Wilson 1927, the score interval of a proportion.
        """
        z, n, p = 1.959964, self.images, (self.images - self.hit1) / self.images
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)


def count_topk(logits_nk: Tensor, labels_n: Tensor) -> TopK:
    """Count hits at 1 and 5. Ties go to the lower class index; a NaN logit is never a hit.

    Args:
        logits_nk: Scores, one row an image.
        labels_n: int64, in [0, k).
    """
    target = logits_nk.gather(1, labels_n[:, None])
    above = (~(logits_nk <= target)).sum(1)  # not `>`: NaN must count against the model
    classes = torch.arange(logits_nk.shape[1], device=logits_nk.device)
    tied_before = ((logits_nk == target) & (classes < labels_n[:, None])).sum(1)
    rank = above + tied_before
    rank[target.isnan().squeeze(1)] = logits_nk.shape[1] + 5  # beyond 5 with few classes too
    hit1, hit5 = torch.stack(
        [(rank < 1).sum(), (rank < 5).sum()]
    ).tolist()  # one wait for the device
    return TopK(len(labels_n), hit1, hit5)
