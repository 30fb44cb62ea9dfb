"""The training loop: a generator of finished updates. What else happens is up to the caller."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnets.core import random
from resnets.core.division import UNDIVIDED, Division, Share
from resnets.training.replaying import Replayed
from resnets.training.step import LossOf, Precision, train_step


@dataclass(frozen=True, slots=True)
class Update:
    """One finished update. `number` counts from 1; `measured` stays on the device until read."""

    number: int
    learning_rate: float
    measured: dict[str, Tensor]


def updates(
    model: nn.Module,
    loss_of: LossOf,
    batch_of: Callable[[int, Share], Any],
    optimizer: torch.optim.Optimizer,
    rate_of: Callable[[int], float],
    precision: Precision,
    *,
    first: int,
    last: int,
    seed: int = 0,
    clip_norm: float | None = None,
    division: Division = UNDIVIDED,
    replayed: bool = False,
) -> Iterator[Update]:
    """Train, yielding after each update so the caller decides what else happens then.

    Args:
        model: Put in training mode before every update, so a caller may evaluate in between.
        loss_of: Maps the model and a batch to scalars by name; "loss" is minimised.
        batch_of: A share of the batch for an update, on the model's device. A pure function of the
            update's number and the share: resuming is calling this with a larger `first`.
        optimizer: The rate of each of its groups is overwritten before every update, with that
            for the update times the group's `rate_factor`, where it has one.
        rate_of: The learning rate for an update number, for the whole batch.
        precision: See `Precision`.
        first: Number of the first update to do, from 1.
        last: Number of the last update to do.
        seed: The run's seed, for what layers draw at random.
        clip_norm: See `train_step`.
        division: Which shares of each batch this process computes, and with whom.
        replayed: Whether a GPU is to replay the updates, for which `Replayed` has conditions.

    Yields:
        One `Update` for each number in `first..last`.
    """

    def update(parts: Iterable[Any]) -> dict[str, Tensor]:
        return train_step(
            model,
            loss_of,
            parts,
            optimizer,
            precision,
            clip_norm=clip_norm,
            division=division,
        )

    do = Replayed(update, optimizer) if replayed else update
    for number in range(first, last + 1):
        rate = rate_of(number)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        model.train()
        measured = do(_parts(batch_of, number, division, seed))
        yield Update(number, rate, measured)


def _parts(
    batch_of: Callable[[int, Share], Any], number: int, division: Division, seed: int
) -> Iterator[Any]:
    """Yield this process's shares of a batch; what layers then draw depends on the part alone."""
    for share in division.shares:
        batch = batch_of(number, share)
        random.seed_layers(seed, number, share.part)
        yield batch


def due(number: int, every: int, last: int) -> bool:
    """Return whether something done every `every` updates, and at the end, is due now."""
    return number == last or number % every == 0
