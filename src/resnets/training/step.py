"""One update, written once for every precision."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnets.core.division import UNDIVIDED, Division
from resnets.training.part_statistics import PartStatistics

# What a loss is to training: it takes the model and a batch and gives scalars by name. "loss" is
# the mean that is minimised; the others are only reported.
LossOf = Callable[[nn.Module, Any], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Precision:
    """How to run the forward pass. `scaler` is disabled, hence inert, outside float16."""

    device_type: str
    dtype: torch.dtype
    scaler: torch.amp.GradScaler

    @staticmethod
    def of(device_type: str, dtype: torch.dtype) -> "Precision":
        """Return the precision of that type on that kind of device."""
        scaler = torch.amp.GradScaler(device_type, enabled=dtype is torch.float16)
        return Precision(device_type, dtype, scaler)

    def autocast(self) -> torch.autocast:
        """Return the context in which the forward pass runs."""
        return torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not torch.float32)


def train_step(
    model: nn.Module,
    loss_of: LossOf,
    parts: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    precision: Precision,
    *,
    clip_norm: float | None = None,
    division: Division = UNDIVIDED,
) -> dict[str, Tensor]:
    """Do one optimizer update and return the detached scalars of the loss, still on the device.

    The gradient is that of the mean loss over the whole batch, and what is returned are means over
    it, whoever computes how much of it. There is one path: no `if amp` here or in any caller.
    Reading a returned scalar waits for the device, so callers read it only when they log.

    Args:
        model: What is trained.
        loss_of: See `LossOf`.
        parts: This process's shares of the batch, as many as `division` has for it; each is asked
            for when the one before it has been computed.
        optimizer: Of the model's parameters.
        precision: See `Precision`.
        clip_norm: The greatest norm of the gradient of all parameters together; a longer one is
            shortened to it. None for any.
        division: Who computes what.

    Source: Pascanu et al. 2013, sec. 3.2, for clipping.
    """
    scaler = precision.scaler
    statistics = PartStatistics(model, division)
    means: dict[str, Tensor] = {}
    optimizer.zero_grad(set_to_none=True)
    for part in parts:
        with precision.autocast():
            measured = loss_of(model, part)
        shares = {name: value / division.slices for name, value in measured.items()}
        scaler.scale(shares["loss"]).backward()
        means = _sum(means, shares)
        statistics.take()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    division.team.sum_([*gradients, *means.values(), *statistics.steps])
    statistics.finish()
    if clip_norm is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return means


def _sum(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        n: value.detach() + one[n] if n in one else value.detach() for n, value in other.items()
    }
