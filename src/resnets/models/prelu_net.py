"""The network with parametric rectifiers that the paper quotes. `x` is NCHW throughout."""

from collections import OrderedDict
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import stages
from resnets.models.spec import PReLUNetSpec

FIRST_SLOPE: Final = 0.25  # He et al. 2015b, sec. 2.1
_STAGES: Final = {"conv2_x": 384, "conv3_x": 768, "conv4_x": 896}  # width of six 3x3 convolutions
_PYRAMID: Final = (7, 3, 2, 1)  # bins along a side
_BINS: Final = sum(bins**2 for bins in _PYRAMID)
_WINDOW: Final = 14  # pixels of the last map that the pyramid sees: 224 px / 16
_FC: Final = 4096


class PReLUNet(nn.Module):
    """Model C: 7x7 convolution, three stages of six 3x3 ones, a spatial pyramid, three linear.

    Every rectifier is a PReLU with a slope for each channel. Each stage but conv1 begins with a 2x2
    max pool, so that a stage's output is that of its last convolution. Input
    (n, 3, h, w), at least 15 px; output logits (n, classes).

    Source: He et al. 2015b, sec. 3, Table 3, model C; slopes: sec. 2.1.
    """

    def __init__(self, spec: PReLUNetSpec) -> None:
        super().__init__()
        self.spec = spec
        channels = 96
        first: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(3, channels, 7, stride=2, padding=3), prelu1=_prelu(channels)
        )
        self.stages = nn.ModuleDict({"conv1": nn.Sequential(first)})
        for name, width in _STAGES.items():
            made: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.MaxPool2d(2, stride=2))
            for i in range(1, 7):
                made[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=1)
                made[f"prelu{i}"] = _prelu(width)
                channels = width
            self.stages[name] = nn.Sequential(made)
        self.fc1 = nn.Linear(channels * _BINS, _FC)
        self.prelu1 = _prelu(_FC)
        self.fc2 = nn.Linear(_FC, _FC)
        self.prelu2 = _prelu(_FC)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(_FC, spec.classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage, finest first."""
        return stages.outputs(self.stages, x)

    def score_map(self, x: Tensor) -> Tensor:
        """Return logits (n, classes, rows, columns) at every place of a larger image.

        The pyramid and the linear layers see every 14x14 window of the last map; where the map is
        smaller, as much as there is. One row of windows is in memory at a time.

        Source: He et al. 2015b, sec. 3, its dense testing on feature maps.
        """
        x = stages.last(self.stages, x)
        high, wide = min(_WINDOW, x.shape[2]), min(_WINDOW, x.shape[3])
        rows = []
        for top in range(x.shape[2] - high + 1):
            # (n, channels, high, columns, wide) -> (n, columns, channels, high, wide)
            strip = x[:, :, top : top + high].unfold(3, wide, 1).permute(0, 3, 1, 2, 4)
            scores = self._scores(strip.flatten(0, 1))
            rows.append(scores.unflatten(0, strip.shape[:2]).transpose(1, 2))
        return torch.stack(rows, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        return self._scores(stages.last(self.stages, x))

    def _scores(self, x: Tensor) -> Tensor:
        x = self.dropout(self.prelu1(self.fc1(spatial_pyramid(x))))
        x = self.dropout(self.prelu2(self.fc2(x)))
        logits: Tensor = self.head(x)
        return logits


def spatial_pyramid(x: Tensor) -> Tensor:
    """Return the maxima over 7x7, 3x3, 2x2 and 1x1 bins of maps of any size, (n, 63 * channels).

    A bin begins at the pixel its edge falls in and ends behind the pixel its other edge falls in,
    so neighbours may overlap by one pixel.

    Source: He et al. 2015b, sec. 3; the bins: He et al. 2014, appendix A.
    """
    return torch.cat([F.adaptive_max_pool2d(x, bins).flatten(1) for bins in _PYRAMID], dim=1)


def _prelu(channels: int) -> nn.PReLU:
    return nn.PReLU(channels, init=FIRST_SLOPE)
