"""LAMB: Adam's step, made as long as a part of the weights themselves, layer by layer."""

from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """For large batches: every decayed tensor moves by its own norm times the rate.

    m and v are Adam's moving averages, corrected for their beginning at zero; the step is
    u = m / (sqrt(v) + eps) + weight_decay * w, and w becomes w - lr * (|w| / |u|) * u. Tensors
    without weight decay (BN, biases) take Adam's step as it is: a ratio of norms that begin at 0
    would hold them there. The same ratio is 1 where a norm is 0.

    The state is tensors alone, so it is saved and restored exactly: `step` (float32, on the CPU,
    for the host reads it), `exp_avg` and `exp_avg_sq` in the memory format of their parameter.

    Args:
        params: Parameters, or groups of them, each with its `weight_decay`.
        lr: The rate.
        betas: What m and v keep of themselves at a step.
        eps: Added to the root of v.
        weight_decay: Of groups that don't say.

    Source: You et al. 2019, its algorithm 2; timm 1.0.31 for tensors without decay.
    Deviation: no clipping inside, as timm's has it; `clip_norm` of a recipe does that.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do one step with the gradients that are there; parameters without one stay."""
        assert closure is None
        for group in self.param_groups:
            together: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                count = self._count(parameter)
                # A GPU wants few calls; on a CPU one tensor after the other stays in the cache.
                alone = 0 if parameter.is_cuda else id(parameter)
                together.setdefault((count, alone), []).append(parameter)
            for (count, _), parameters in together.items():
                self._step(parameters, count, group)

    def _count(self, parameter: Tensor) -> int:
        """Return which step of its own a parameter is about to take, from 1."""
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for key in ("exp_avg", "exp_avg_sq"):
                state[key] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["step"] += 1
        return int(state["step"])

    def _step(self, parameters: list[Tensor], count: int, group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        m, v = ([self.state[p][key] for p in parameters] for key in ("exp_avg", "exp_avg_sq"))
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(m, gradients, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, gradients, gradients, 1 - beta2)

        # Both corrections are numbers: updates are Adam's once multiplied by `scale`.
        root = (1 - beta2**count) ** 0.5
        scale = root / (1 - beta1**count)
        roots = torch._foreach_sqrt(v)
        torch._foreach_add_(roots, group["eps"] * root)
        updates = torch._foreach_div(m, roots)
        if group["weight_decay"]:
            torch._foreach_add_(updates, parameters, alpha=group["weight_decay"] / scale)
            lengths = _lengths(parameters, updates, scale)
            torch._foreach_addcmul_(parameters, updates, lengths, -group["lr"])
        else:
            torch._foreach_add_(parameters, updates, alpha=-group["lr"] * scale)


def _lengths(
    parameters: list[Tensor], updates: tuple[Tensor, ...], scale: float
) -> tuple[Tensor, ...]:
    """Return |w| / |u| of each tensor, or `scale` where one of them is 0."""
    of_weights = torch.stack(torch._foreach_norm(parameters))
    of_updates = torch.stack(torch._foreach_norm(updates))
    both = (of_weights > 0) & (of_updates > 0)
    return torch.where(both, of_weights / of_updates, scale).unbind()
