"""What a network costs, measured from the module itself on the meta device."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resnets.core.errors import ModelError
from resnets.models import making
from resnets.models.making import Network
from resnets.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with weights, or one pool, in the order it runs.

    `multiply_adds` counts one multiplication and one addition as one, for one image, of
    convolutions and linear layers; bias, BN and activations are not counted, as in Table 1.
    """

    name: str
    kind: str
    kernel: str  # "3x3", or "" where there is none
    stride: int
    input_size: tuple[int, ...]  # channels, height, width; or features
    output_size: tuple[int, ...]
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of Table 1."""

    name: str
    blocks: int
    output_size: tuple[int, ...]  # channels, height, width
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Layers, sizes, parameters and multiply-adds of a network for one image."""

    depth: int  # weighted layers as the paper counts them
    image_px: int
    parameters: int
    multiply_adds: int
    layers: tuple[Layer, ...]
    stages: tuple[Stage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def measure(spec: ModelSpec, image_px: int | None = None) -> Cost:
    """Measure a network for one RGB image, without computing anything.

    Args:
        spec: The network.
        image_px: Side of the image in pixels; by default what the paper gives such a network.

    Raises:
        ModelError: The image has no pixels.
    """
    side = spec.image_px if image_px is None else image_px
    if side < 1:
        raise ModelError(f"image_px: must be positive, got {side}")
    with torch.device("meta"):
        network = making.make(spec).eval()
        image = torch.empty(1, 3, side, side)
    layers, stages = _record(network, image)
    return Cost(
        depth=spec.depth,
        image_px=side,
        parameters=_parameters(network),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        layers=tuple(layers),
        stages=tuple(stages),
    )


def _record(network: Network, image: Tensor) -> tuple[list[Layer], list[Stage]]:
    layers: list[Layer] = []
    sizes: dict[str, tuple[int, ...]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Sequential):
                sizes[name] = tuple(output.shape[1:])
            else:
                layers.append(_layer(name, module, inputs[0], output))

        return record

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.Linear):
            module.register_forward_hook(watch(name))
    for name, module in network.stages.items():
        module.register_forward_hook(watch(name))
    network(image)
    stages = []
    for name, spec in zip(network.stages, network.spec.stages, strict=True):
        inside = [layer for layer in layers if layer.name.startswith(f"stages.{name}.")]
        stages.append(
            Stage(
                name=name,
                blocks=spec.blocks,
                output_size=sizes[name],
                parameters=_parameters(network.stages[name]),
                multiply_adds=sum(layer.multiply_adds for layer in inside),
            )
        )
    return layers, stages


def _layer(name: str, module: nn.Module, x: Tensor, y: Tensor) -> Layer:
    kernel, stride, multiply_adds, kind = "", 1, 0, "batch norm"
    if isinstance(module, nn.Conv2d):
        kind, kernel = "convolution", "x".join(map(str, module.kernel_size))
        stride = module.stride[0]
        multiply_adds = module.weight.numel() * y.shape[2] * y.shape[3]
    elif isinstance(module, nn.MaxPool2d):
        kind, kernel = "max pool", f"{module.kernel_size}x{module.kernel_size}"
        assert isinstance(module.stride, int)
        stride = module.stride
    elif isinstance(module, nn.Linear):
        kind, multiply_adds = "linear", module.weight.numel()
    return Layer(
        name=name,
        kind=kind,
        kernel=kernel,
        stride=stride,
        input_size=tuple(x.shape[1:]),
        output_size=tuple(y.shape[1:]),
        parameters=_parameters(module),
        multiply_adds=multiply_adds,
    )


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
