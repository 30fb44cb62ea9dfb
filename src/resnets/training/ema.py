"""An exponential moving average of a network, often better than the network itself."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """The moving average of a network's parameters and buffers, kept as a network of its own.

    `network` is what to evaluate and to keep; it is in evaluation mode and begins as a copy. Every
    `every_steps` updates it becomes decay * itself + (1 - decay) * the model. What is not floating
    point (BN's count of batches) is copied.

    Args:
        model: What is trained, not a compiled wrapper of it.
        network: Another of the same kind, in the same place and memory format; the average is kept
            in its tensors.
        decay: What the average keeps of itself, in [0, 1).
        every_steps: Updates from one change of the average to the next.
        copied_steps: Until after this update the average is a copy of the model, so that it forgets
            how training began.

    Source: Polyak, Juditsky 1992, for averaging; Tarvainen, Valpola 2017, sec. 2, for this form.
    """

    def __init__(
        self,
        model: nn.Module,
        network: nn.Module,
        decay: float,
        every_steps: int = 1,
        copied_steps: int = 0,
    ) -> None:
        self.network = network.eval().requires_grad_(False)
        self.restore(model.state_dict())
        self.decay = decay
        self.every_steps = every_steps
        self.copied_steps = copied_steps
        self._model = model

    @torch.no_grad()
    def update(self, number: int) -> None:
        """Take in the model after update `number`, counted from 1, where that is due."""
        if number % self.every_steps:
            return
        weight = 1.0 if number <= self.copied_steps else 1 - self.decay
        both = zip(self.tensors().values(), self._model.state_dict().values(), strict=True)
        averages, values = [], []
        for average, value in both:
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, weight)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that must be saved, by the names of the model's own tensors."""
        return self.network.state_dict()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave, exactly; the names and shapes are the model's."""
        self.network.load_state_dict(tensors)
