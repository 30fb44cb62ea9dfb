"""Which of the networks that a run evaluates it ends with, and when it gives up looking."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from resnets.experiment import journal


@dataclass(slots=True)
class Best:
    """The network of the evaluation with the least error so far; of equals the latest.

    On few images to validate on many are equal, and the later one learnt at a lower rate.

    Args:
        error_percent: Its error; infinite before the first evaluation.
        update: After which it was evaluated.
        waited: How many evaluations in a row have been no better than the best before them.
        tensors: Its tensors by name, copies.
    """

    error_percent: float = math.inf
    update: int = 0
    waited: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, network: nn.Module, update: int, error_percent: float) -> None:
        """Take a network that was just evaluated, if it is as good or better."""
        self.waited = 0 if error_percent < self.error_percent else self.waited + 1
        if not error_percent <= self.error_percent or math.isinf(error_percent):  # nor NaN
            return
        self.error_percent, self.update = error_percent, update
        self.tensors = {name: t.detach().clone() for name, t in network.state_dict().items()}

    def about(self) -> dict[str, Any]:
        """Return what a saved state says of it, as JSON values."""
        return {
            "error_percent": self.error_percent if self.tensors else None,
            "update": self.update,
            "waited": self.waited,
        }

    @staticmethod
    def restored(about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Best":
        """Return what `about` and `tensors` were saved of."""
        if not tensors:
            return Best(waited=about["waited"])
        return Best(about["error_percent"], about["update"], about["waited"], dict(tensors))


def best_record(records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the record of the evaluation that `Best` took; the last one where it took none."""
    errors = {i: error for i, each in enumerate(records) for error in journal.errors([each])}
    good = [i for i, error in errors.items() if math.isfinite(error)]
    return records[min(reversed(good), key=errors.__getitem__, default=-1)]
