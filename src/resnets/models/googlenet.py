"""The network of inception modules that the paper sets beside its own. `x` is NCHW throughout."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import stages
from resnets.models.spec import GoogLeNetSpec


@dataclass(frozen=True, slots=True)
class Widths:
    """The channels of one inception module: a row of Table 1, columns `#1x1` to `pool proj`."""

    one: int  # 1x1
    reduce3: int  # 1x1 before the 3x3
    three: int  # 3x3
    reduce5: int  # 1x1 before the 5x5
    five: int  # 5x5
    pool: int  # 1x1 after the max pool

    @property
    def total(self) -> int:
        """Channels that come out."""
        return self.one + self.three + self.five + self.pool


# Szegedy et al. 2014, Table 1
TABLE_1: Final = {
    "inception_3": {
        "3a": Widths(64, 96, 128, 16, 32, 32),
        "3b": Widths(128, 128, 192, 32, 96, 64),
    },
    "inception_4": {
        "4a": Widths(192, 96, 208, 16, 48, 64),
        "4b": Widths(160, 112, 224, 24, 64, 64),
        "4c": Widths(128, 128, 256, 24, 64, 64),
        "4d": Widths(112, 144, 288, 32, 64, 64),
        "4e": Widths(256, 160, 320, 32, 128, 128),
    },
    "inception_5": {
        "5a": Widths(256, 160, 320, 32, 128, 128),
        "5b": Widths(384, 192, 384, 48, 128, 128),
    },
}
_AUXILIARY_ON: Final = ("4a", "4d")
_WINDOW: Final = 7  # pixels of the last map that the average pool sees: 224 px / 32


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a max pool side by side, reduced by 1x1 convolutions.

    Source: Szegedy et al. 2014, Fig. 2, right.
    """

    def __init__(self, c_in: int, widths: Widths) -> None:
        super().__init__()
        self.one = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(c_in, widths.one, 1), relu=nn.ReLU(inplace=True))
        )
        self.three = nn.Sequential(_reduced(c_in, widths.reduce3, widths.three, 3))
        self.five = nn.Sequential(_reduced(c_in, widths.reduce5, widths.five, 5))
        self.pool = nn.Sequential(
            OrderedDict(
                pool=nn.MaxPool2d(3, stride=1, padding=1),
                project=nn.Conv2d(c_in, widths.pool, 1),
                relu=nn.ReLU(inplace=True),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.one(x), self.three(x), self.five(x), self.pool(x)), dim=1)


class Auxiliary(nn.Module):
    """A classifier in the middle of the network, which trains what lies below it.

    Input (n, c_in, h, w), 14x14 for an image of 224 px; output logits (n, classes).

    Source: Szegedy et al. 2014, sec. 5.
    Deviation: where the average pool does not give 4x4, because the image is not 224 px, its
        output is averaged to that.
    """

    def __init__(self, c_in: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, 128, 1)
        self.fc = nn.Linear(128 * 4 * 4, 1024)
        self.dropout = nn.Dropout(0.7)
        self.head = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) >= 5:
            x = F.avg_pool2d(x, 5, stride=3)
        x = F.relu(self.conv(F.adaptive_avg_pool2d(x, 4)))
        x = self.dropout(F.relu(self.fc(x.flatten(1))))
        logits: Tensor = self.head(x)
        return logits


class GoogLeNet(nn.Module):
    """Two stages of convolutions, three of inception modules, mean over space, linear.

    Input (n, 3, h, w), at least 31 px. Output logits (n, classes); while training a pair, the
    logits and a tuple of those of the auxiliary classifiers on 4a and 4d.

    The pools and normalisations between two stages stand at the beginning of the second, so that
    a stage's output is that of its last convolutions.

    Source: Szegedy et al. 2014, sec. 5, Table 1, Fig. 3.
    Deviation: the paper prints no constants of its response normalisation; n = 5, alpha = 1e-4
        (of the mean square), beta = 0.75 and k = 1 are those of Caffe's GoogLeNet. Max pools
        round up, which the printed sizes need.
    """

    def __init__(self, spec: GoogLeNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stages = nn.ModuleDict(
            {
                "conv1": nn.Sequential(
                    OrderedDict(
                        conv=nn.Conv2d(3, 64, 7, stride=2, padding=3), relu=nn.ReLU(inplace=True)
                    )
                ),
                "conv2_x": nn.Sequential(
                    OrderedDict(pool=_halve(), norm=_normalise()) | _reduced(64, 64, 192, 3)
                ),
            }
        )
        self.auxiliary = nn.ModuleDict()
        channels = 192
        for stage, rows in TABLE_1.items():
            made: OrderedDict[str, nn.Module] = OrderedDict(pool=_halve())
            if stage == "inception_3":
                made = OrderedDict(norm=_normalise(), **made)
            for name, widths in rows.items():
                made[name] = Inception(channels, widths)
                channels = widths.total
                if name in _AUXILIARY_ON:
                    self.auxiliary[name] = Auxiliary(channels, spec.classes)
            self.stages[stage] = nn.Sequential(made)
        self.dropout = nn.Dropout(0.4)
        self.head = nn.Linear(channels, spec.classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage, finest first: one of each resolution."""
        return stages.outputs(self.stages, x)

    def score_map(self, x: Tensor) -> Tensor:
        """Return logits (n, classes, rows, columns) at every place of a larger image.

        The average pool slides by one pixel of the last map, and the linear layer becomes a 1x1
        convolution of the same weights.

        Source: He et al. 2015, sec. 3.4, for its own networks.
        """
        return stages.slide_mean(self.dropout(stages.last(self.stages, x)), self.head, _WINDOW)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        if not self.training:
            return self._logits(stages.last(self.stages, x))
        auxiliary = []
        for stage in self.stages.values():
            for name, module in stage.named_children():
                x = module(x)
                if name in self.auxiliary:
                    auxiliary.append(self.auxiliary[name](x))
        return self._logits(x), tuple(auxiliary)

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(x.mean(dim=(2, 3))))
        return logits


def _reduced(c_in: int, reduce: int, width: int, kernel: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        reduce=nn.Conv2d(c_in, reduce, 1),
        relu1=nn.ReLU(inplace=True),
        conv=nn.Conv2d(reduce, width, kernel, padding=kernel // 2),
        relu2=nn.ReLU(inplace=True),
    )


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _normalise() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
