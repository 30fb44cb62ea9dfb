"""From a `ResNetSpec` to a module, and the first weights of every network."""

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from resnets.models import blocks, prelu_net, stages
from resnets.models.spec import ResNetSpec


class ResNet(nn.Module):
    """Stem, stages of blocks, mean over space, linear.

    Input (n, in_channels, h, w), output logits (n, classes).

    Source: He et al. 2015, sec. 3.3, Table 1; sec. 4.2.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.stem = _stem(spec)
        self.stages = nn.ModuleDict()
        channels = spec.stem.width
        drops = _drops(spec)
        for number, stage in enumerate(spec.stages, start=2):
            made = nn.Sequential()
            for i in range(stage.blocks):
                stride = stage.stride if i == 0 else 1
                block, channels = _block(spec, channels, stage.width, stride, next(drops))
                made.append(block)
            self.stages[f"conv{number}_x"] = made
        self.head = nn.Linear(channels, spec.classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Return the output of every stage by its name in Table 1, finest first."""
        return stages.outputs(self.stages, self.stem(x))

    def score_map(self, x: Tensor) -> Tensor:
        """Return logits (n, classes, rows, columns) at every place of a larger image.

        The mean over space becomes one over a sliding window as large as that of the paper's
        image (7x7 of 224 px), and the linear layer a 1x1 convolution of the same weights.

        Source: He et al. 2015, sec. 3.4.
        """
        window_px = math.ceil(self.spec.image_px / self.spec.total_stride)
        return stages.slide_mean(stages.last(self.stages, self.stem(x)), self.head, window_px)

    def forward(self, x: Tensor) -> Tensor:
        x = stages.last(self.stages, self.stem(x))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def he_init(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight anew from the generator: N(0, 2 / fan_in); biases 0, gates -2, BN (1, 0).

    Where the rectifiers are PReLU, their slopes a begin at 0.25 and weights are drawn from
    N(0, 2 / ((1 + a^2) fan_in)).

    Source: He et al. 2015, sec. 3.4, which cites He et al. 2015b, eq. (10); eq. (15).
    """
    parametric = any(isinstance(module, nn.PReLU) for module in network.modules())
    slope = prelu_net.FIRST_SLOPE if parametric else 0.0
    for weight in _weights(network):
        nn.init.kaiming_normal_(weight, a=slope, nonlinearity="leaky_relu", generator=generator)
    _begin_all_but_weights(network)


def gaussian_init(network: nn.Module, generator: torch.Generator, std: float) -> None:
    """Draw every weight anew from N(0, std^2), whatever the layer; all else begins as in `he_init`.

    With 0.01 this was usual before; very deep networks without BN hardly learn from it.

    Source: Krizhevsky et al. 2012, sec. 5; He et al. 2015b, sec. 2.2, which compares.
    Deviation: every bias is 0; Krizhevsky et al. have 1 in some layers.
    """
    for weight in _weights(network):
        nn.init.normal_(weight, std=std, generator=generator)
    _begin_all_but_weights(network)


def without_bn(network: ResNet) -> ResNet:
    """Return a copy whose every BN does nothing; its convolutions have no bias then.

    Its `spec` is still that of the network with BN.
    """
    made = copy.deepcopy(network)
    for module in list(made.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return made


def _weights(network: nn.Module) -> Iterator[Tensor]:
    """Yield those of convolutions and linear layers, in a fixed order."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield module.weight


def _begin_all_but_weights(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.PReLU):
            nn.init.constant_(module.weight, prelu_net.FIRST_SLOPE)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    for module in network.modules():
        if isinstance(module, blocks.Gate):
            assert module.conv.bias is not None
            nn.init.constant_(module.conv.bias, blocks.Gate.first_bias)


def _stem(spec: ResNetSpec) -> nn.Sequential:
    stem = spec.stem
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(
            spec.in_channels,
            stem.width,
            stem.kernel,
            stride=stem.stride,
            padding=stem.kernel // 2,
            bias=False,
        ),
        bn1=nn.BatchNorm2d(stem.width),
        relu1=nn.ReLU(inplace=True),
    )
    if stem.pool:
        layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
    return nn.Sequential(layers)


def _drops(spec: ResNetSpec) -> Iterator[blocks.DropPath | None]:
    """Yield what each block drops: more the deeper it stands, from nothing to `drop_path`.

    Source: Huang et al. 2016, sec. 3.
    Deviation: the first of L blocks drops nothing, as timm has it, and not 1 / L of the last.
    """
    count = sum(stage.blocks for stage in spec.stages)
    for i in range(count):
        probability = spec.drop_path * i / max(1, count - 1)
        yield blocks.DropPath(probability) if probability else None


def _block(
    spec: ResNetSpec, c_in: int, width: int, stride: int, drop: nn.Module | None
) -> tuple[blocks.Residual, int]:
    if spec.block == "basic":
        c_out, body = width, blocks.basic(c_in, width, stride)
    else:
        c_out, body = 4 * width, blocks.bottleneck(c_in, width, stride, spec.stride_on)
    shortcut = blocks.shortcut(spec.shortcut, c_in, c_out, stride)
    gate = blocks.gate(spec.shortcut, c_in, c_out, stride)
    return blocks.Residual(body, shortcut, gate, drop), c_out
