"""A network made ready to predict: BN folded into the convolutions, one precision throughout.

On the CPU a convolution, its bias, the addition of the shortcut and the ReLU are one call of
oneDNN with weights laid out for it beforehand: the calls that `torch.compile` ends in, without
compiling and for any image size (docs/adr/0008). They are not documented by torch; where they are
missing, or do not compute what a convolution should, plain operations do the same more slowly.
"""

import copy
import functools
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnets.detection.backbones import Backbone, ResNetBackbone
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.models.blocks import Residual
from resnets.models.making import Network
from resnets.models.network import ResNet


class FusedConv(nn.Module):
    """A convolution with its BN folded in, and perhaps the ReLU behind it.

    Args:
        conv: The convolution.
        bn: The BN behind it, or None.
        relu: Whether a ReLU follows.
        dtype: What to compute in.
    """

    def __init__(
        self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, relu: bool, dtype: torch.dtype
    ) -> None:
        super().__init__()
        folded = conv if bn is None else fuse_conv_bn_eval(conv, bn)
        self.relu = relu
        self.shape: tuple[Any, ...] = (
            list(_pair(folded.padding)),
            list(folded.stride),
            list(folded.dilation),
            folded.groups,
        )
        weight = folded.weight.detach().to(dtype, memory_format=torch.channels_last)
        bias = None if folded.bias is None else folded.bias.detach().to(dtype)
        # The sum is, where no summand is infinite or no number.
        self.finite = bool(weight.sum().isfinite()) and (
            bias is None or bool(bias.sum().isfinite())
        )
        self.onednn = weight.device.type == "cpu" and _onednn_works(dtype)
        if self.onednn:
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.shape)
        # Not parameters: oneDNN's layout is opaque, it can be neither saved nor moved.
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        if self.onednn:
            after = "relu" if self.relu else "none"
            y: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, *self.shape, after, [], ""
            )
            return y
        y = self._plain(x)
        return y.relu_() if self.relu else y

    def add_relu(self, x: Tensor, carried: Tensor) -> Tensor:
        """Return relu(conv(x) + carried); `carried` is overwritten."""
        if self.onednn:
            # Option A's subsampling leaves another layout, which oneDNN's addition does not take.
            carried = carried.contiguous(memory_format=torch.channels_last)
            y: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
                carried, x, self.weight, self.bias, *self.shape, "add", 1.0, "relu", [], ""
            )
            return y
        return self._plain(x).add_(carried).relu_()

    def _plain(self, x: Tensor) -> Tensor:
        padding, stride, dilation, groups = self.shape
        return F.conv2d(x, self.weight, self.bias, stride, padding, dilation, groups)


class FusedResidual(nn.Module):
    """relu(F(x) + S(x)) as `Residual` computes it; the input is overwritten where S is identity."""

    def __init__(self, block: Residual, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(block.body, nn.Sequential)
        *self.first, last = _fused(block.body, dtype)
        assert isinstance(last, FusedConv)
        self.last = last
        self.layers = nn.ModuleList([*self.first, last])
        self.shortcut = None if block.shortcut is None else _ready(block.shortcut, dtype)
        self.last.relu = self.shortcut is None

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.first:
            y = layer(y)
        if self.shortcut is None:
            plain: Tensor = self.last(y)
            return plain
        return self.last.add_relu(y, self.shortcut(x))


class _InFloat32(nn.Module):
    """A layer that torch does not have in bfloat16 on every device."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.float())
        return y.to(x.dtype)


class _Float32Out(nn.Module):
    """After the last stage: means and scores are float32 whatever the convolutions were."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class _Cast(nn.Module):
    """Before the first layer: images come as float32 in any memory format."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype, memory_format=torch.channels_last)


def fuse(network: Network, dtype: torch.dtype) -> Network:
    """Return a network that computes the same logits sooner; it can neither train nor be saved.

    The logits are float32. `features` of the result must not be used: a block may overwrite its
    input. Weights that need no change are shared with `network`, which is returned itself where a
    weight is not finite.

    Args:
        network: In evaluation mode, on the device to compute on.
        dtype: float32 or bfloat16, for everything up to the last stage's output.
    """
    made, last = _joined(network, dtype), list(network.stages)[-1]
    made.stages[last] = nn.Sequential(made.stages[last], _Float32Out())
    return made if _finite(made) else network


def fuse_detector(detector: FasterRCNN, dtype: torch.dtype) -> FasterRCNN:
    """Return a detector that finds the same sooner; it can neither train nor be saved.

    Its backbone's convolutions are fused; all else is shared with `detector`, which is returned
    itself where a weight is not finite.

    Args:
        detector: In evaluation mode, on the device to compute on.
        dtype: float32 or bfloat16, for the convolutions of the backbone.
    """
    made = copy.copy(detector)
    made._modules = dict(detector._modules)
    made.backbone = _joined(detector.backbone, dtype)
    return made if _finite(made) else detector


N = TypeVar("N", Network, Backbone)


def _joined(network: N, dtype: torch.dtype) -> N:
    """Return a copy whose stem and stages are fused and take images as float32."""
    made = copy.copy(network)
    made._modules = dict(network._modules)
    stages = {name: _ready(stage, dtype) for name, stage in network.stages.items()}
    if isinstance(network, ResNet | ResNetBackbone):
        made.stem = nn.Sequential(_Cast(dtype), _ready(network.stem, dtype))
    else:
        first = next(iter(stages))
        stages[first] = nn.Sequential(_Cast(dtype), stages[first])
    made.stages = nn.ModuleDict(stages)
    return made


def _finite(made: nn.Module) -> bool:
    """Tell whether all fused weights are: oneDNN's ReLU makes 0 of NaN, and would hide them."""
    return all(module.finite for module in made.modules() if isinstance(module, FusedConv))


def _ready(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return what computes the same in `dtype`."""
    if isinstance(module, Residual) and module.gate is None:
        return FusedResidual(module, dtype)
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*_fused(module, dtype))
    if isinstance(module, nn.LocalResponseNorm):
        return _InFloat32(module)
    if any(True for _ in module.parameters()):
        return copy.deepcopy(module).to(dtype)
    return module


def _fused(layers: nn.Sequential, dtype: torch.dtype) -> list[nn.Module]:
    """Return the layers, each convolution joined with the BN and the ReLU behind it."""
    rest = list(layers)
    made: list[nn.Module] = []
    while rest:
        layer = rest.pop(0)
        if not isinstance(layer, nn.Conv2d):
            made.append(_ready(layer, dtype))
            continue
        bn = rest.pop(0) if rest and isinstance(rest[0], nn.BatchNorm2d) else None
        relu = bool(rest) and isinstance(rest[0], nn.ReLU)
        if relu:
            rest.pop(0)
        made.append(FusedConv(layer, bn, relu, dtype))  # type: ignore[arg-type]
    return made


def _pair(padding: Any) -> tuple[int, int]:
    assert not isinstance(padding, str)
    return padding  # type: ignore[no-any-return]


@functools.cache
def _onednn_works(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's fused convolutions are there and right; found out by trying."""
    x = torch.linspace(-1, 1, 2 * 8 * 25).view(2, 8, 5, 5)
    weight = torch.linspace(-1, 1, 8 * 8 * 9).view(8, 8, 3, 3)
    bias, shape = torch.linspace(-1, 1, 8), ([1, 1], [1, 1], [1, 1], 1)
    x, weight, bias = (each.to(dtype).float() for each in (x, weight, bias))
    expected = (F.conv2d(x, weight, bias, padding=1) + x).relu()
    x, weight, bias = (each.to(dtype) for each in (x, weight, bias))
    x = x.contiguous(memory_format=torch.channels_last)
    try:
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *shape)
        found = torch.ops.mkldnn._convolution_pointwise_.binary(
            x.clone(memory_format=torch.preserve_format),
            x, packed, bias, *shape, "add", 1.0, "relu", [], "",
        )  # fmt: skip
        alone = torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *shape, "relu", [], "")
    # A build without them has no such attribute; another version may want other arguments.
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    tolerance = 0.02 * float(expected.abs().max())
    without = (F.conv2d(x.float(), weight.float(), bias.float(), padding=1)).relu()
    return bool(
        ((found.float() - expected).abs() < tolerance).all()
        and ((alone.float() - without).abs() < tolerance).all()
    )
