"""Which parameters weight decay applies to, decided by module type and never by name."""

from typing import Any, Literal

from torch import nn


def parameter_groups(
    model: nn.Module, weight_decay: float, on: Literal["all", "weights"]
) -> list[dict[str, Any]]:
    """Split parameters into decayed and not decayed.

    Args:
        model: Any module.
        weight_decay: L2 coefficient for the decayed group; 1e-4 in the paper.
        on: "all" decays everything (the paper names no exception) but the slopes of PReLU, which
            decay would draw towards ReLU. "weights" decays only convolution and linear weights.

    Source: He et al. 2015, sec. 3.4; He et al. 2015b, sec. 2.1.
    """
    if on == "all":
        slopes = {id(m.weight) for m in model.modules() if isinstance(m, nn.PReLU)}
        decayed = {id(p) for p in model.parameters()} - slopes
    else:
        decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    if len(decayed) == len(list(model.parameters())):
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]
    return [
        {
            "params": [p for p in model.parameters() if (id(p) in decayed) is wanted],
            "weight_decay": weight_decay if wanted else 0.0,
        }
        for wanted in (True, False)
    ]
