"""A run whose numbers are none any more is stopped, and never saved."""

import math
from pathlib import Path

from resnets.core.errors import DivergedError
from resnets.core.processes import Team
from resnets.experiment import states
from resnets.experiment.build import Parts
from resnets.training.loop import Update


def check(loss: float, update: Update, folder: Path, team: Team) -> None:
    """Stop a run by whose newest update the loss is no number.

    Raises:
        DivergedError: It is none; the message names the last good checkpoint.
    """
    if math.isfinite(loss):
        return

    def kept() -> str:
        good = states.paths(folder)
        return f"the last good checkpoint is {good[-1]}" if good else "there is no checkpoint yet"

    raise DivergedError(
        f"the loss is {loss} by update {update.number:,} at rate {update.learning_rate:g}; "
        f"{team.led(kept)}; train again with a lower rate: --lr"
    )


def check_state(parts: Parts, update: Update, folder: Path, team: Team) -> None:
    """Refuse to save a diverged network: a checkpoint is always a good one.

    Raises:
        DivergedError: A tensor of the network or of its optimizer is not finite.
    """
    tensors = [
        *parts.model.state_dict().values(),
        *states.of_optimizer(parts.optimizer).values(),
    ]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        check(math.nan, update, folder, team)
