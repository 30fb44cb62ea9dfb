"""Which parameters weight decay applies to, decided by module type and never by name."""

from typing import Any, Literal

from torch import nn

DecayOn = Literal["all", "all-but-norms", "weights"]
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm, nn.LayerNorm)


def parameter_groups(model: nn.Module, weight_decay: float, on: DecayOn) -> list[dict[str, Any]]:
    """Split parameters into decayed and not decayed.

    Args:
        model: Any module.
        weight_decay: L2 coefficient for the decayed group; 1e-4 in the paper.
        on: "all" decays everything (the paper names no exception) but the slopes of PReLU, which
            decay would draw towards ReLU. "all-but-norms" leaves BN's scales and shifts out too.
            "weights" decays only convolution and linear weights, so no bias either.

    Source: He et al. 2015, sec. 3.4; He et al. 2015b, sec. 2.1; the others are torchvision's
        `--norm-weight-decay 0` and timm's rule.
    """
    if on == "weights":
        decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    else:
        left = (nn.PReLU,) if on == "all" else (nn.PReLU, *_NORMS)
        spared = {id(p) for m in model.modules() if isinstance(m, left) for p in m.parameters()}
        decayed = {id(p) for p in model.parameters()} - spared
    if len(decayed) == len(list(model.parameters())):
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]
    return [
        {
            "params": [p for p in model.parameters() if (id(p) in decayed) is wanted],
            "weight_decay": weight_decay if wanted else 0.0,
        }
        for wanted in (True, False)
    ]
