"""One update, written once for every precision."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

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
    batch: Any,
    optimizer: torch.optim.Optimizer,
    precision: Precision,
) -> dict[str, Tensor]:
    """Do one optimizer update and return the detached scalars of the loss, still on the device.

    There is one path: no `if amp` here or in any caller. Reading a returned scalar waits for the
    device, so callers read it only when they log.
    """
    scaler = precision.scaler
    with precision.autocast():
        measured = loss_of(model, batch)
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(measured["loss"]).backward()
    scaler.step(optimizer)
    scaler.update()
    return {name: value.detach() for name, value in measured.items()}
