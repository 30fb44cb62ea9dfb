"""What a network does and costs, measured from the module itself, which is shown no image."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from resnets.models import blocks, making
from resnets.models.googlenet import Inception
from resnets.models.spec import ModelSpec, check_image_px

Carry = Literal["none", "identity", "zero padding", "projection"]

_POOLS: Final = ("max pool", "average pool", "spatial pyramid", "RoI pooling", "RoIAlign")
_KINDS: Final[dict[type[nn.Module], str]] = {
    nn.Conv2d: "convolution",
    nn.BatchNorm2d: "batch norm",
    nn.MaxPool2d: "max pool",
    nn.AdaptiveMaxPool2d: "max pool",
    nn.AvgPool2d: "average pool",
    nn.AdaptiveAvgPool2d: "average pool",
    nn.Linear: "linear",
    nn.ReLU: "relu",
    nn.PReLU: "prelu",
    nn.LocalResponseNorm: "local response norm",
    nn.Identity: "identity",
    blocks.ZeroPadShortcut: "zero padding",
}
_COMPOSED: Final = (blocks.Residual, blocks.Gate, Inception)  # do something after their parts


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation.

    `multiply_adds` counts one multiplication and one addition as one, for one image, of
    convolutions and linear layers; bias, BN and activations are not counted, as in Table 1.
    """

    name: str
    kind: str
    kernel: str  # "3x3", or "" where there is none
    stride: int
    padding: int  # rows and columns of zeros on each side
    input_size: tuple[int, ...]  # channels, height, width; or features
    output_size: tuple[int, ...]
    parameters: int
    multiply_adds: int
    rounds_up: bool = False  # whether a window that does not fit at the end counts

    @property
    def formula(self) -> str:
        """How the height follows from kernel, stride and padding; "" where it just stays."""
        reach = self.reach_px
        if reach is None:
            return ""
        height = self.input_size[1]
        rounded = "ceil" if self.rounds_up else "floor"
        padded = f"{height} + 2*{self.padding} - {reach}"
        return f"{rounded}(({padded})/{self.stride}) + 1 = {self.output_size[1]}"

    @property
    def reach_px(self) -> int | None:
        """The side of the window that slides over the map; None where none does."""
        if self.kind == "zero padding":
            return 1
        return int(self.kernel.split("x")[0]) if self.kernel else None


@dataclass(frozen=True, slots=True)
class Block:
    """The operations of a residual block, an inception module, or a stretch without either.

    In a residual block those of F(x) come first, then those of S(x), then those of the gate, then
    the addition and the last nonlinearity.
    """

    name: str
    shortcut: Carry
    gated: bool
    residual: bool  # false: no block of the paper, as in VGG or before and after the stages
    operations: tuple[Layer, ...]

    @property
    def body(self) -> tuple[Layer, ...]:
        """F(x), or everything where there is no F."""
        return self._within("body") if self.residual else self.operations

    @property
    def carried(self) -> tuple[Layer, ...]:
        """S(x)."""
        return self._within("shortcut")

    @property
    def gate(self) -> tuple[Layer, ...]:
        """T(x)."""
        return self._within("gate")

    @property
    def parallel(self) -> bool:
        """Whether it runs branches side by side and concatenates them."""
        return bool(self.operations) and self.operations[-1].kind == "concatenation"

    @property
    def multiply_adds(self) -> int:
        """Of all of it, for one image."""
        return sum(each.multiply_adds for each in self.operations)

    def _within(self, part: str) -> tuple[Layer, ...]:
        start = f"{self.name}.{part}"
        return tuple(each for each in self.operations if f"{each.name}.".startswith(f"{start}."))


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
    """Operations, sizes, parameters and multiply-adds of a network for one image."""

    depth: int  # weighted layers as the paper counts them
    image_px: int
    parameters: int
    multiply_adds: int
    layers: tuple[Layer, ...]  # those with weights, and the pools, in the order they run
    stages: tuple[Stage, ...]
    stem: Block
    blocks: dict[str, tuple[Block, ...]]  # by the name of their stage
    head: Block

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values: every layer, and every operation of each different block."""
        values = asdict(replace(self, stem=_NOTHING, blocks={}, head=_NOTHING))
        del values["stem"], values["head"]
        found = [("stem", self.stem), *self.different(), ("head", self.head)]
        values["blocks"] = [_block_values(stage, block) for stage, block in found]
        return values

    def different(self) -> list[tuple[str, Block]]:
        """Return each block that is unlike the one before it, with its stage's name."""
        return [(stage, run[0]) for stage, run in self.runs()]

    def runs(self) -> list[tuple[str, tuple[Block, ...]]]:
        """Return the blocks of each stage, in runs of those that do the same."""
        found: list[tuple[str, tuple[Block, ...]]] = []
        for stage, made in self.blocks.items():
            for block in made:
                if found and found[-1][0] == stage and _same(found[-1][1][0], block):
                    found[-1] = (stage, (*found[-1][1], block))
                else:
                    found.append((stage, (block,)))
        return found


_NOTHING: Final = Block("", "none", False, False, ())


def measure(spec: ModelSpec, image_px: int | None = None) -> Cost:
    """Measure a network for one image, without computing anything.

    Args:
        spec: The network.
        image_px: Side of the image in pixels; by default what the paper gives such a network.

    Raises:
        ModelError: The image has no pixels, or too few for the network.
    """
    side = spec.image_px if image_px is None else image_px
    check_image_px(spec, side)
    with torch.device("meta"):
        network = making.make(spec).eval()
    # Run on the meta device, it would have torch import its compiler and sympy: a second or two.
    # On a batch of no images it computes nothing either, and reads none of this memory.
    untouched = {
        name: torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
        for name, weight in network.state_dict().items()
    }
    network.load_state_dict(untouched, assign=True)
    images = torch.empty(0, spec.in_channels, side, side, device="cpu")
    return of(network, lambda: network(images), depth=spec.depth, image_px=side)


def of(
    network: nn.Module,
    run: Callable[[], object],
    *,
    depth: int,
    image_px: int,
    before: tuple[Layer, ...] = (),
) -> Cost:
    """Measure what one call runs of a network.

    Args:
        network: Its `stages`, an nn.ModuleDict, may hold some that do not run.
        run: The call, for one image, or a batch of none; on the meta device nothing is computed.
        depth: What is told of it.
        image_px: What is told of it.
        before: Operations without a module that come first.
    """
    operations, sizes = _record(network, run)
    operations = [*before, *operations]
    stem, made, head = _arrange(network, operations)
    layers = tuple(each for each in operations if each.parameters or each.kind in _POOLS)
    return Cost(
        depth=depth,
        image_px=image_px,
        # An auxiliary classifier, which only training needs, has not run and is not counted.
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        layers=layers,
        stages=tuple(_stage(network, name, sizes[name], made[name]) for name in made),
        stem=stem,
        blocks=made,
        head=head,
    )


def _stage(
    network: nn.Module, name: str, output_size: tuple[int, ...], made: tuple[Block, ...]
) -> Stage:
    return Stage(
        name=name,
        blocks=sum(block.name.startswith(f"stages.{name}") for block in made),
        output_size=output_size,
        parameters=_parameters(_stages(network)[name]),
        multiply_adds=sum(block.multiply_adds for block in made),
    )


def _stages(network: nn.Module) -> nn.ModuleDict:
    stages = network.get_submodule("stages")
    assert isinstance(stages, nn.ModuleDict)
    return stages


def _record(
    network: nn.Module, run: Callable[[], object]
) -> tuple[list[Layer], dict[str, tuple[int, ...]]]:
    """Run the network; return its operations in their order and the stages' output sizes."""
    found: list[Layer] = []
    sizes: dict[str, tuple[int, ...]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, nn.Linear) and found:
                found.extend(_before_linear(found[-1], inputs[0]))
            found.extend(_operations(name, module, inputs[0], output))

        return record

    def measure_stage(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            sizes[name] = tuple(output.shape[1:])

        return record

    hooks = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_modules()
        if _does_something(name, module)
    ]
    hooks += [
        module.register_forward_hook(measure_stage(name))
        for name, module in _stages(network).items()
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found, sizes


def _does_something(name: str, module: nn.Module) -> bool:
    if isinstance(module, nn.Identity):
        return name.endswith(".shortcut")  # elsewhere it is a place left empty
    return type(module) in _KINDS or isinstance(module, _COMPOSED)


def _operations(name: str, module: nn.Module, x: Tensor, y: Tensor) -> Iterator[Layer]:
    """Yield what a module has done; of a block and a gate, what no module in it does."""
    if isinstance(module, blocks.Gate):
        yield _plain(f"{name}.sigmoid", "sigmoid", y)
    elif isinstance(module, Inception):
        yield _plain(f"{name}.concatenation", "concatenation", y)
    elif isinstance(module, blocks.Residual):
        if module.shortcut is not None:
            yield _plain(f"{name}.addition", "addition", y)
        yield _plain(f"{name}.relu", "relu", y)
    else:
        yield _layer(name, module, x, y)


def _before_linear(last: Layer, x: Tensor) -> Iterator[Layer]:
    """Yield the pool that has no module of its own: what the sizes before and after tell."""
    size, features = last.output_size, x.shape[1]
    if len(size) < 3 or features == math.prod(size):
        return
    bins, rest = divmod(features, size[0])
    side = math.isqrt(bins)
    if rest or side**2 != bins:
        yield Layer("pool", "spatial pyramid", "", 1, 0, size, (features,), 0, 0)
        return
    kernel = "x".join(map(str, size[1:])) if side == 1 else ""
    yield Layer("pool", "average pool", kernel, 1, 0, size, (size[0], side, side), 0, 0)


def _plain(name: str, kind: str, y: Tensor) -> Layer:
    size = tuple(y.shape[1:])
    return Layer(name, kind, "", 1, 0, size, size, 0, 0)


def _layer(name: str, module: nn.Module, x: Tensor, y: Tensor) -> Layer:
    layer = Layer(
        name=name,
        kind=_KINDS[type(module)],
        kernel="",
        stride=1,
        padding=0,
        input_size=tuple(x.shape[1:]),
        output_size=tuple(y.shape[1:]),
        parameters=_parameters(module),
        multiply_adds=0,
    )
    if isinstance(module, nn.Conv2d):
        return replace(
            layer,
            kernel="x".join(map(str, module.kernel_size)),
            stride=module.stride[0],
            padding=int(module.padding[0]),
            multiply_adds=module.weight.numel() * y.shape[2] * y.shape[3],
        )
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        side, stride, padding = (
            int(each[0] if isinstance(each, tuple) else each)
            for each in (module.kernel_size, module.stride, module.padding)
        )
        return replace(
            layer,
            kernel=f"{side}x{side}",
            stride=stride,
            padding=padding,
            rounds_up=module.ceil_mode,
        )
    if isinstance(module, blocks.ZeroPadShortcut):
        return replace(layer, stride=module.stride)
    if isinstance(module, nn.Linear):
        return replace(layer, multiply_adds=module.weight.numel())
    return layer


def _arrange(
    network: nn.Module, operations: list[Layer]
) -> tuple[Block, dict[str, tuple[Block, ...]], Block]:
    """Return what runs before the stages, the blocks of each, and what runs after them.

    What stands between two stages, as the pools of VGG do, is a last block of the former.
    """
    stem, head = (replace(_NOTHING, name=name) for name in ("stem", "head"))
    made: dict[str, list[Block]] = {}
    for place, group in itertools.groupby(operations, functools.partial(_place, network)):
        done = tuple(group)
        if place:
            stage = place.split(".")[1]
            block = _block(place, network.get_submodule(place), done)
            made.setdefault(stage, []).append(block)
        elif not made:
            stem = replace(stem, operations=done)
        elif done[-1] is operations[-1]:
            head = replace(head, operations=done)
        else:
            between = replace(_NOTHING, name=done[0].name, operations=done)
            made[list(made)[-1]].append(between)
    return stem, {stage: tuple(each) for stage, each in made.items()}, head


def _place(network: nn.Module, operation: Layer) -> str:
    """Return the name of the block that an operation is in; "" where it is in no stage."""
    parts = operation.name.split(".")
    if parts[0] != "stages":
        return ""
    composed = isinstance(network.get_submodule(".".join(parts[:3])), _COMPOSED)
    return ".".join(parts[: 3 if composed else 2])


def _block(name: str, module: nn.Module, operations: tuple[Layer, ...]) -> Block:
    if not isinstance(module, blocks.Residual):
        return replace(_NOTHING, name=name, operations=operations)
    carry = _carry(module.shortcut)
    return Block(name, carry, module.gate is not None, True, operations)


def _carry(shortcut: nn.Module | None) -> Carry:
    if shortcut is None:
        return "none"
    if isinstance(shortcut, nn.Identity):
        return "identity"
    return "zero padding" if isinstance(shortcut, blocks.ZeroPadShortcut) else "projection"


def _same(one: Block, other: Block) -> bool:
    """Tell whether two blocks do the same to inputs of the same size."""
    return _what_it_does(one) == _what_it_does(other)


def _what_it_does(block: Block) -> tuple[object, ...]:
    done = [replace(each, name=each.name.removeprefix(block.name)) for each in block.operations]
    return (block.shortcut, block.gated, block.residual, *done)


def _block_values(stage: str, block: Block) -> dict[str, Any]:
    values = asdict(block)
    values["operations"] = [{**asdict(each), "formula": each.formula} for each in block.operations]
    return {"stage": stage, **values}


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
