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
        on: "all" decays everything (the paper names no exception). "weights" decays only
            convolution and linear weights.

    Source: He et al. 2015, sec. 3.4.
    """
    if on == "all":
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return [
        {
            "params": [p for p in model.parameters() if (id(p) in decayed) is wanted],
            "weight_decay": weight_decay if wanted else 0.0,
        }
        for wanted in (True, False)
    ]
