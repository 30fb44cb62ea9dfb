"""Mean and standard deviation of any number of values, in float64."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Moments:
    """Of some values. Adding two gives the moments of both together.

    Where a value is infinite or NaN, so is the mean, and the standard deviation is NaN.

    Args:
        values: How many there are.
        mean: Their mean.
        squares: The sum of their squared distances from the mean.

    Source: Chan et al. 1979, the update of sums of squares, in which nothing cancels.
    """

    values: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @staticmethod
    def of(x: Tensor) -> "Moments":
        """Return the moments of all elements of a tensor that has some."""
        distance = x.detach().to(torch.float64, copy=True)
        mean = distance.mean()
        squares = distance.sub_(mean).square_().sum()
        both: list[float] = torch.stack([mean, squares]).tolist()  # one wait for the device
        return Moments(x.numel(), *both)

    def __add__(self, other: "Moments") -> "Moments":
        values = self.values + other.values
        apart = other.mean - self.mean
        return Moments(
            values,
            self.mean + apart * other.values / values,
            self.squares + other.squares + apart * apart * self.values * other.values / values,
        )

    @property
    def std(self) -> float:
        """The standard deviation of the values themselves, not an estimate of more: over n."""
        return math.sqrt(self.squares / self.values)
