"""Optimizers as values. `learning_rate` is for the recipe's whole batch."""

import math
from typing import Literal

from resnets.core.errors import RecipeError
from resnets.core.spec import spec

# See `resnets.training.decay`, which predicting must do without.
DecayOn = Literal["all", "all-but-norms", "weights"]


@spec
class SgdSpec:
    """SGD with momentum.

    Source: He et al. 2015, sec. 3.4; it names no exception from weight decay, so "all".
    """

    kind: Literal["sgd"] = "sgd"
    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    decay_on: DecayOn = "all"

    def __post_init__(self) -> None:
        _check(self.learning_rate, self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise RecipeError(f"optim.momentum: must be in [0, 1), got {self.momentum}")
        if self.nesterov and self.momentum == 0:
            raise RecipeError("optim.nesterov: needs a momentum above 0")


@spec
class LambSpec:
    """LAMB, for large batches: `resnets.training.lamb.Lamb`.

    Source: You et al. 2019, its algorithm 2; the defaults are timm's.
    """

    kind: Literal["lamb"] = "lamb"
    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6
    weight_decay: float = 0.01
    decay_on: DecayOn = "weights"

    def __post_init__(self) -> None:
        _check(self.learning_rate, self.weight_decay)
        _check_averages(self.beta1, self.beta2, self.eps)


@spec
class AdamWSpec:
    """Adam with decoupled weight decay; the defaults are torch's, but for what decays.

    Source: Loshchilov, Hutter 2019, its algorithm 2.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.01
    decay_on: DecayOn = "weights"

    def __post_init__(self) -> None:
        _check(self.learning_rate, self.weight_decay)
        _check_averages(self.beta1, self.beta2, self.eps)


OptimSpec = SgdSpec | LambSpec | AdamWSpec


def _check(learning_rate: float, weight_decay: float) -> None:
    if not 0 < learning_rate < math.inf:
        raise RecipeError(f"optim.learning_rate: must be positive, got {learning_rate}")
    if not 0 <= weight_decay < math.inf:
        raise RecipeError(f"optim.weight_decay: must not be negative, got {weight_decay}")


def _check_averages(beta1: float, beta2: float, eps: float) -> None:
    for name, value in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= value < 1:
            raise RecipeError(f"optim.{name}: must be in [0, 1), got {value}")
    if not 0 < eps < math.inf:
        raise RecipeError(f"optim.eps: must be positive, got {eps}")
