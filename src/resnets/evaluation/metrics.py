"""Exact top-k error: integer counts in, one division out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from resnets.core.processes import Team


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
        return _score_interval(self.images - self.hit1, self.images)

    @property
    def interval5_percent(self) -> tuple[float, float]:
        """The 95 % interval of the top-5 error, in percent."""
        return _score_interval(self.images - self.hit5, self.images)


@dataclass(frozen=True, slots=True)
class ByClass:
    """Counts of each class; their sum is the whole set's.

    Args:
        counts_k3: int64, (classes, 3): images, hits at 1, hits at 5.
    """

    counts_k3: Tensor

    @staticmethod
    def of(classes: int) -> "ByClass":
        """Return counts of nothing yet."""
        return ByClass(torch.zeros(classes, 3, dtype=torch.int64))

    @staticmethod
    def count(logits_nk: Tensor, labels_n: Tensor) -> "ByClass":
        """Count as `count_topk` does."""
        hit1_n, hit5_n = _hits(logits_nk, labels_n)
        each = torch.stack([torch.ones_like(labels_n), hit1_n.long(), hit5_n.long()], dim=1)
        made = torch.zeros(logits_nk.shape[1], 3, dtype=torch.int64, device=labels_n.device)
        return ByClass(made.index_add_(0, labels_n, each).cpu())

    def __add__(self, other: "ByClass") -> "ByClass":
        return ByClass(self.counts_k3 + other.counts_k3)

    def __getitem__(self, label: int) -> TopK:
        return TopK(*self.counts_k3[label].tolist())

    @property
    def total(self) -> TopK:
        """The counts over all classes."""
        return TopK(*self.counts_k3.sum(0).tolist())


def total(counted: TopK, team: Team) -> TopK:
    """Return the counts over what all processes of a team counted."""
    return TopK(*team.sum_integers([counted.images, counted.hit1, counted.hit5]))


def named(split: str, counted: TopK) -> Iterator[tuple[str, float]]:
    """Yield what was counted over a split under the names that a run's journal has for it."""
    yield f"{split}_top1_error_percent", counted.error1_percent
    yield f"{split}_top5_error_percent", counted.error5_percent
    yield f"{split}_images", counted.images


def count_topk(logits_nk: Tensor, labels_n: Tensor) -> TopK:
    """Count hits at 1 and 5. Ties go to the lower class index; a NaN logit is never a hit.

    Args:
        logits_nk: Scores, one row an image.
        labels_n: int64, in [0, k).
    """
    hit1_n, hit5_n = _hits(logits_nk, labels_n)
    hit1, hit5 = torch.stack([hit1_n.sum(), hit5_n.sum()]).tolist()  # one wait for the device
    return TopK(len(labels_n), hit1, hit5)


def _hits(logits_nk: Tensor, labels_n: Tensor) -> tuple[Tensor, Tensor]:
    """Return whether each image's class is its first, and whether it is among its first five."""
    target = logits_nk.gather(1, labels_n[:, None])
    above = (~(logits_nk <= target)).sum(1)  # not `>`: NaN must count against the model
    classes = torch.arange(logits_nk.shape[1], device=logits_nk.device)
    tied_before = ((logits_nk == target) & (classes < labels_n[:, None])).sum(1)
    rank = above + tied_before
    rank[target.isnan().squeeze(1)] = logits_nk.shape[1] + 5  # beyond 5 with few classes too
    return rank < 1, rank < 5


def _score_interval(events: int, n: int) -> tuple[float, float]:
    z, p = 1.959964, events / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)
