"""Residual blocks, their shortcuts and gates. `x` is NCHW float throughout this file."""

from collections import OrderedDict
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from resnets.models.spec import Shortcut


class Residual(nn.Module):
    """relu(F(x) + S(x)); relu(F(x)) in a plain network; relu(F(x) T(x) + S(x) (1 - T(x))) gated.

    Args:
        body: F, ending in a BN and without the last nonlinearity.
        shortcut: S, or None for a plain network.
        gate: T, with values in (0, 1), or None for a residual network.
        drop: What F passes through before the sum; a `DropPath`, or None.

    Source: He et al. 2015, eq. (1) and (2), Fig. 2; Srivastava et al. 2015, eq. (3).
    Deviation: gated, the body is that of the residual block and the nonlinearity stays after the
        sum, so that the gate is the only difference from our ResNet.
    """

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | None,
        gate: nn.Module | None = None,
        drop: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.gate = gate
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        if self.drop is not None:
            y = self.drop(y)
        if self.shortcut is not None:
            carried: Tensor = self.shortcut(x)
            if self.gate is not None:
                t: Tensor = self.gate(x)
                y, carried = y * t, carried * (1 - t)
            y = y + carried
        return F.relu(y)


class DropPath(nn.Module):
    """While training, make all of an image's values 0 with a probability, else scale them up.

    The scale keeps their expectation, so that nothing has to change when the network predicts. What
    is dropped is drawn from torch's generator of the device, which the caller seeds.

    Args:
        probability: Of dropping, in [0, 1).

    Source: Huang et al. 2016, sec. 3.
    Deviation: drawn for each image, not once for the batch, and scaled while training: timm's way.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = 1 - self.probability
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(kept).div_(kept)


class ZeroPadShortcut(nn.Module):
    """Option A: subsample by `stride`, append `new_channels` zero channels. No parameters.

    Source: He et al. 2015, sec. 3.3.
    """

    def __init__(self, stride: int, new_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Gate(nn.Module):
    """T(x): how much of the body passes, one value in (0, 1) for each output element.

    The bias starts at -2, so that a new network carries most of its input (sigmoid(-2) = 0.12).

    Source: Srivastava et al. 2015, sec. 2.2, which starts the bias negative.
    """

    first_bias = -2.0

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        t: Tensor = self.conv(x)
        return t.sigmoid()


def shortcut(option: Shortcut, c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Return the shortcut of option A, B or C, or None for a plain network.

    A highway block carries its input as option A does, so the gate is the only difference.

    Source: He et al. 2015, sec. 3.3, Table 3.
    """
    if option == "none":
        return None
    same_shape = c_in == c_out and stride == 1
    if option == "C" or (option == "B" and not same_shape):
        return nn.Sequential(
            OrderedDict(conv=_conv(c_in, c_out, 1, stride), bn=nn.BatchNorm2d(c_out))
        )
    return nn.Identity() if same_shape else ZeroPadShortcut(stride, c_out - c_in)


def gate(option: Shortcut, c_in: int, c_out: int, stride: int) -> nn.Module | None:
    """Return the gate of a highway block, or None for every other kind."""
    return Gate(c_in, c_out, stride) if option == "highway" else None


def basic(c_in: int, width: int, stride: int) -> nn.Sequential:
    """Return two 3x3 convolutions.

    Source: He et al. 2015, Fig. 5, left.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=_conv(c_in, width, 3, stride),
            bn1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(inplace=True),
            conv2=_conv(width, width, 3, 1),
            bn2=nn.BatchNorm2d(width),
        )
    )


def bottleneck(
    c_in: int, width: int, stride: int, stride_on: Literal["1x1", "3x3"]
) -> nn.Sequential:
    """Return 1x1 reduce, 3x3, 1x1 restore to 4 * width.

    Source: He et al. 2015, Fig. 5, right.
    Deviation: stride on the 3x3 convolution where `stride_on` says so (ADR 0004).
    """
    stride_1x1, stride_3x3 = (stride, 1) if stride_on == "1x1" else (1, stride)
    return nn.Sequential(
        OrderedDict(
            conv1=_conv(c_in, width, 1, stride_1x1),
            bn1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(inplace=True),
            conv2=_conv(width, width, 3, stride_3x3),
            bn2=nn.BatchNorm2d(width),
            relu2=nn.ReLU(inplace=True),
            conv3=_conv(width, 4 * width, 1, 1),
            bn3=nn.BatchNorm2d(4 * width),
        )
    )


def _conv(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride=stride, padding=kernel // 2, bias=False)
