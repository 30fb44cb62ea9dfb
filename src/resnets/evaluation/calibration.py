"""Whether probabilities are what they say: of answers given with 0.8, are 80 % right?"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from resnets.core.random import uniforms
from resnets.evaluation.metrics import TopK

BINS: Final = 15
_DRAWS: Final = 200


@dataclass(frozen=True, slots=True)
class Bin:
    """The answers with a probability in (low, high]; the first bin has 0 too.

    Args:
        low: In [0, 1).
        high: In (0, 1].
        images: How many.
        hits: Of these, the right ones.
        probability: Their mean; None where there are none.
    """

    low: float
    high: float
    images: int
    hits: int
    probability: float | None

    @property
    def accuracy(self) -> float | None:
        """The share that was right, in [0, 1]; None where there are none."""
        return self.hits / self.images if self.images else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % score interval of the accuracy, in [0, 1].

        Source: Wilson 1927, the score interval of a proportion.
        """
        if not self.images:
            return None
        low, high = TopK(self.images, self.images - self.hits, self.images).interval1_percent
        return low / 100, high / 100


@dataclass(frozen=True, slots=True)
class Calibration:
    """Reliability in bins, and one number for it.

    Args:
        bins: Of equal width, from 0 to 1.
        images: With a probability that is a number; the others are left out of all else.
        left_out: The others.
        probability: The mean of the probabilities; None without images.
        accuracy: The share of right answers; None without images.
        error: The expected calibration error, in [0, 1]; None without images.
    """

    bins: tuple[Bin, ...]
    images: int
    left_out: int
    probability: float | None
    accuracy: float | None
    error: float | None


def calibration(probability_n: Tensor, right_n: Tensor, bins: int = BINS) -> Calibration:
    """Compare the probabilities of answers with how many were right.

    Args:
        probability_n: Of each image's answer, in [0, 1], or NaN.
        right_n: bool, whether it was right.
        bins: How many, of equal width.

    Source: Guo et al. 2017, sec. 2, eq. (3), where there are 15.
    """
    number = ~probability_n.isnan()
    sure_n, hit_n = probability_n[number].double(), right_n[number]
    edges = torch.arange(1, bins + 1, dtype=torch.float64) / bins
    place_n = torch.bucketize(sure_n, edges).clamp(max=bins - 1)
    images = place_n.bincount(minlength=bins)
    hits = place_n[hit_n].bincount(minlength=bins)
    sums = place_n.bincount(sure_n, minlength=bins).double()  # of no number it is of integers
    n = len(sure_n)
    each = zip(images.tolist(), hits.tolist(), sums.tolist(), strict=True)
    return Calibration(
        bins=tuple(
            Bin(i / bins, (i + 1) / bins, count, right, total / count if count else None)
            for i, (count, right, total) in enumerate(each)
        ),
        images=n,
        left_out=len(probability_n) - n,
        probability=float(sums.sum()) / n if n else None,
        accuracy=int(hits.sum()) / n if n else None,
        error=float((hits - sums).abs().sum()) / n if n else None,
    )


def by_chance(probability_n: Tensor, bins: int = BINS) -> tuple[float, float] | None:
    """Return the calibration error of a perfectly calibrated classifier on as many images.

    The error is never below zero, so few images make it large without any fault: an answer of
    probability p is right in p of all cases here, drawn 200 times.

    Args:
        probability_n: Of each image's answer, in [0, 1], or NaN.
        bins: How many, of equal width.

    Returns:
        The mean over the draws, and what 95 % of them stay under; None without images.
    """
    sure_n = probability_n[~probability_n.isnan()].double()
    if not len(sure_n):
        return None
    index_n, sure = np.arange(len(sure_n)), sure_n.numpy()
    errors = []
    for draw in range(_DRAWS):
        right = uniforms(0, "calibrated", draw, index_n=index_n) < sure
        errors.append(calibration(sure_n, torch.from_numpy(right), bins).error)
    found = np.array(errors, dtype=np.float64)
    return float(found.mean()), float(np.quantile(found, 0.95))
