"""The networks of 3x3 convolutions that the paper sets beside its own. `x` is NCHW throughout."""

from collections import OrderedDict
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models import stages
from resnets.models.spec import VggSpec

_WIDTHS: Final = (64, 128, 256, 512, 512)  # Simonyan, Zisserman 2015, Table 1
_FC: Final = 4096
_WINDOW: Final = 7  # pixels of the last map that fc6 sees: 224 px / 32


class Vgg(nn.Module):
    """Five stages of 3x3 convolutions with ReLU, a 2x2 max pool after each; three linear layers.

    A pool stands at the beginning of the next stage, and the last one behind the stages, so that
    a stage's output is that of its last convolution. fc8 is `head`.

    Input (n, in_channels, h, w), at least 32 px; output logits (n, classes). The last map of an
    image of another size than 224 px is averaged to 7x7 before fc6, as torchvision does it.

    Source: Simonyan, Zisserman 2015, sec. 2.1, Table 1; dropout: sec. 3.1.
    """

    def __init__(self, spec: VggSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stages = nn.ModuleDict()
        channels = spec.in_channels
        for number, (count, width) in enumerate(
            zip(spec.convolutions, _WIDTHS, strict=True), start=1
        ):
            self.stages[f"conv{number}_x"] = _stage(count, channels, width, pooled=number > 1)
            channels = width
        self.pool = nn.MaxPool2d(2, stride=2)
        self.fc6 = nn.Linear(channels * _WINDOW**2, _FC)
        self.fc7 = nn.Linear(_FC, _FC)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(_FC, spec.classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage, finest first; that of conv5_x has stride 16.

        It is conv5_3 of VGG-16, which Faster R-CNN takes.

        Source: He et al. 2015, appendix A.
        """
        return stages.outputs(self.stages, x)

    def score_map(self, x: Tensor) -> Tensor:
        """Return logits (n, classes, rows, columns) at every place of a larger image.

        fc6 becomes a 7x7 convolution of the same weights, fc7 and fc8 become 1x1 convolutions.

        Source: Simonyan, Zisserman 2015, sec. 3.2.
        """
        x = self._last(x)
        if min(x.shape[2:]) < _WINDOW:
            x = F.adaptive_avg_pool2d(x, (max(_WINDOW, x.shape[2]), max(_WINDOW, x.shape[3])))
        window = self.fc6.weight.view(_FC, -1, _WINDOW, _WINDOW)
        x = self.dropout(F.relu(F.conv2d(x, window, self.fc6.bias)))
        x = self.dropout(F.relu(F.conv2d(x, self.fc7.weight[:, :, None, None], self.fc7.bias)))
        return F.conv2d(x, self.head.weight[:, :, None, None], self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self._last(x), _WINDOW).flatten(1)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        logits: Tensor = self.head(x)
        return logits

    def _last(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(stages.last(self.stages, x))
        return pooled


def _stage(convolutions: int, c_in: int, width: int, *, pooled: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if pooled:
        layers["pool"] = nn.MaxPool2d(2, stride=2)
    for i in range(1, convolutions + 1):
        layers[f"conv{i}"] = nn.Conv2d(c_in, width, 3, padding=1)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        c_in = width
    return nn.Sequential(layers)
