"""Learning-rate schedules: pure functions, with no state and no optimizer.

They are functions of the update, but for `Plateau`, which is one of what the run measured so far.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, Self

from resnets.core.errors import RecipeError
from resnets.core.spec import spec


@spec
class StepDecay:
    """Divide the rate at fixed updates (twice where two are equal), after a warm-up.

    The warm-up holds the rate at `warmup_factor`, or, where it is linear, begins there and rises.

    Source: He et al. 2015, sec. 4.2: divide by 10 at 32k and 48k; for 110 layers start at 0.01.
        Goyal et al. 2017, sec. 2.2, for the linear warm-up.
    """

    kind: Literal["step-decay"] = "step-decay"
    milestones: tuple[int, ...]
    factor: float = 0.1
    warmup: Literal["constant", "linear"] = "constant"
    warmup_steps: int = 0
    warmup_factor: float = 0.1

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(self.milestones) or min(self.milestones, default=0) < 0:
            raise RecipeError(
                f"schedule.milestones: must increase from 0 up, got {self.milestones}"
            )
        if not 0 < self.factor < math.inf:
            raise RecipeError(f"schedule.factor: must be positive, got {self.factor}")
        _check_warmup(self.warmup_steps, self.warmup_factor)

    def scale(self, step: int, total_steps: int) -> float:
        """Return what to multiply the base rate by for update number `step`, from 0."""
        if step < self.warmup_steps and self.warmup == "constant":
            return self.warmup_factor
        rise = _rise(step, self.warmup_steps, self.warmup_factor)
        return float(rise * self.factor ** bisect_right(self.milestones, step))

    def stretched(self, factor: float) -> Self:
        """Return the same schedule for a run `factor` times as long."""
        return replace(
            self,
            milestones=tuple(round(m * factor) for m in self.milestones),
            warmup_steps=round(self.warmup_steps * factor),
        )


@spec
class Linear:
    """Rise linearly from 0 over the warm-up, then fall linearly to 0 at the end of the run."""

    kind: Literal["linear"] = "linear"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup_steps)

    def scale(self, step: int, total_steps: int) -> float:
        """Return what to multiply the base rate by for update number `step`, from 0."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return (total_steps - step) / max(1, total_steps - self.warmup_steps)

    def stretched(self, factor: float) -> Self:
        """Return the same schedule for a run `factor` times as long."""
        return replace(self, warmup_steps=round(self.warmup_steps * factor))


@spec
class Cosine:
    """Fall along half a cosine to `floor` at the end of the run, after a linear warm-up.

    The warm-up begins at `warmup_factor`. Both are shares of the base rate. The cosine begins where
    the warm-up ends.

    Source: Loshchilov, Hutter 2017, eq. (5), without restarts; Goyal et al. 2017, sec. 2.2.
    """

    kind: Literal["cosine"] = "cosine"
    floor: float = 0.0
    warmup_steps: int = 0
    warmup_factor: float = 0.01

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise RecipeError(f"schedule.floor: must be in [0, 1), got {self.floor}")
        _check_warmup(self.warmup_steps, self.warmup_factor)

    def scale(self, step: int, total_steps: int) -> float:
        """Return what to multiply the base rate by for update number `step`, from 0."""
        if step < self.warmup_steps:
            return _rise(step, self.warmup_steps, self.warmup_factor)
        done = (step - self.warmup_steps) / max(1, total_steps - self.warmup_steps)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2

    def stretched(self, factor: float) -> Self:
        """Return the same schedule for a run `factor` times as long."""
        return replace(self, warmup_steps=round(self.warmup_steps * factor))


@spec
class Plateau:
    """Divide the rate when the error plateaus: when evaluations in a row no longer improve it.

    A run with this schedule is evaluated every `every_steps` updates. An evaluation improves when
    its top-1 error is more than `min_improvement_percent` points below the lowest one that
    improved before. After `patience` that did not, the rate is multiplied by `factor`, and the
    counting of them begins again. A warm-up multiplies all that: it begins at `warmup_factor` and
    rises linearly.

    Deviation: our reading. The paper gives no constants, nor which error it watched; here it is
    the one on the split that the run is evaluated on.

    Source: He et al. 2015, sec. 3.4.
    """

    kind: Literal["plateau"] = "plateau"
    every_steps: int = 5_000  # an epoch of ImageNet in batches of 256
    patience: int = 5  # evaluations
    min_improvement_percent: float = 0.1  # points
    factor: float = 0.1
    warmup_steps: int = 0
    warmup_factor: float = 0.1

    def __post_init__(self) -> None:
        for name in ("every_steps", "patience"):
            if getattr(self, name) < 1:
                raise RecipeError(f"schedule.{name}: must be positive, got {getattr(self, name)}")
        if not 0 <= self.min_improvement_percent < 100:
            raise RecipeError(
                "schedule.min_improvement_percent: must be from 0 to below 100, got "
                f"{self.min_improvement_percent}"
            )
        if not 0 < self.factor < 1:
            raise RecipeError(f"schedule.factor: must be between 0 and 1, got {self.factor}")
        _check_warmup(self.warmup_steps, self.warmup_factor)

    def scale_after(self, errors_percent: Iterable[float]) -> float:
        """Return what to multiply the base rate by after these evaluations, in their order."""
        lowest, waited, drops = math.inf, 0, 0
        for error in errors_percent:
            if error < lowest - self.min_improvement_percent:
                lowest, waited = error, 0
            else:
                waited += 1
            if waited == self.patience:
                drops, waited = drops + 1, 0
        return float(self.factor**drops)

    def warm_up(self, step: int) -> float:
        """Return what to multiply that by for update number `step`, from 0: 1 after the warm-up."""
        return _rise(step, self.warmup_steps, self.warmup_factor)

    def stretched(self, factor: float) -> Self:
        """Return the same schedule for a run `factor` times as long: evaluated as many times."""
        return replace(
            self,
            every_steps=max(1, round(self.every_steps * factor)),
            warmup_steps=round(self.warmup_steps * factor),
        )


Schedule = StepDecay | Linear | Cosine | Plateau


def _rise(step: int, warmup_steps: int, first: float) -> float:
    """Return `first` at update 0, and linearly more until it is 1 at the end of the warm-up."""
    return 1.0 if step >= warmup_steps else first + (1 - first) * step / warmup_steps


def _check_warmup(steps: int, factor: float = 1.0) -> None:
    if steps < 0:
        raise RecipeError(f"schedule.warmup_steps: must not be negative, got {steps}")
    if not 0 < factor < math.inf:
        raise RecipeError(f"schedule.warmup_factor: must be positive, got {factor}")
