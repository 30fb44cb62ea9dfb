"""Learning-rate schedules: pure functions of the update, with no state and no optimizer."""

import math
from bisect import bisect_right
from dataclasses import replace
from typing import Literal, Self

from resnets.core.errors import RecipeError
from resnets.core.spec import spec


@spec
class StepDecay:
    """Divide the rate at fixed updates (twice where two are equal), after a constant warm-up.

    Source: He et al. 2015, sec. 4.2: divide by 10 at 32k and 48k; for 110 layers start at 0.01.
    """

    kind: Literal["step-decay"] = "step-decay"
    milestones: tuple[int, ...]
    factor: float = 0.1
    warmup_steps: int = 0
    warmup_factor: float = 0.1

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(self.milestones) or min(self.milestones, default=0) < 0:
            raise RecipeError(
                f"schedule.milestones: must increase from 0 up, got {self.milestones}"
            )
        for name, value in (("factor", self.factor), ("warmup_factor", self.warmup_factor)):
            if not 0 < value < math.inf:
                raise RecipeError(f"schedule.{name}: must be positive, got {value}")
        _check_warmup(self.warmup_steps)

    def scale(self, step: int, total_steps: int) -> float:
        """Return what to multiply the base rate by for update number `step`, from 0."""
        if step < self.warmup_steps:
            return self.warmup_factor
        return float(self.factor ** bisect_right(self.milestones, step))

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


Schedule = StepDecay | Linear


def _check_warmup(steps: int) -> None:
    if steps < 0:
        raise RecipeError(f"schedule.warmup_steps: must not be negative, got {steps}")
