"""What every network does with its stages, and how a head slides over a map. `x` is NCHW."""

import torch.nn.functional as F
from torch import Tensor, nn


def outputs(stages: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
    """Return the output of every stage by its name, in the order they run."""
    maps = {}
    for name, stage in stages.items():
        x = stage(x)
        maps[name] = x
    return maps


def last(stages: nn.ModuleDict, x: Tensor) -> Tensor:
    """Return the output of the last stage, keeping no other."""
    for stage in stages.values():
        x = stage(x)
    return x


def slide_mean(x: Tensor, head: nn.Linear, window_px: int) -> Tensor:
    """Return logits (n, classes, rows, columns): mean over a sliding window, then the linear layer.

    Args:
        x: The last map, (n, channels, h, w).
        head: The last layer, used as a 1x1 convolution of the same weights.
        window_px: Side of the window in pixels of the map; a smaller map is one window.

    Source: He et al. 2015, sec. 3.4.
    """
    x = F.avg_pool2d(x, (min(window_px, x.shape[2]), min(window_px, x.shape[3])), stride=1)
    return F.conv2d(x, head.weight[:, :, None, None], head.bias)
