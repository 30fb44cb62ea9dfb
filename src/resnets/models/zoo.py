"""The networks the paper names, its own and others', as data, and the names they go by."""

import re
from dataclasses import replace
from typing import Final, Literal

from resnets.core import errors
from resnets.core.errors import ModelError
from resnets.models.spec import (
    COLOURS,
    GoogLeNetSpec,
    ModelSpec,
    PReLUNetSpec,
    ResNetSpec,
    Shortcut,
    StageSpec,
    StemSpec,
    VggSpec,
)

# He et al. 2015, Table 1: depth -> (block, blocks per stage conv2_x .. conv5_x)
TABLE_1: Final[dict[int, tuple[Literal["basic", "bottleneck"], tuple[int, ...]]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
# Simonyan, Zisserman 2015, Table 1, columns D and E: depth -> 3x3 convolutions of each stage
VGG: Final = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CIFAR_DEPTHS: Final = (20, 32, 44, 56, 110, 1202)  # He et al. 2015, Table 6

# Of CIFAR networks, whose names go on for every 6n+2.
_KINDS: Final[dict[Shortcut, tuple[str, str]]] = {
    "A": ("resnet", ""),
    "B": ("resnet", "-b"),
    "C": ("resnet", "-c"),
    "none": ("plain", ""),
    "highway": ("highway", ""),
}

_IMAGENET_STEM: Final = StemSpec(kernel=7, width=64, stride=2, pool=True)
_CIFAR_STEM: Final = StemSpec(kernel=3, width=16, stride=1, pool=False)
_SMALL_STEM: Final = StemSpec(kernel=3, width=64, stride=1, pool=False)


def imagenet(depth: int, *, shortcut: Shortcut = "B", classes: int = 1000) -> ResNetSpec:
    """Return the ImageNet network of a depth, stride on the first 1x1 (v1).

    Raises:
        ModelError: Table 1 has no network of that depth.

    Source: He et al. 2015, sec. 3.3, Table 1.
    """
    if depth not in TABLE_1:
        raise ModelError(f"depth: Table 1 has {', '.join(map(str, TABLE_1))}, not {depth}")
    block, counts = TABLE_1[depth]
    return ResNetSpec(
        stem=_IMAGENET_STEM,
        block=block,
        stages=_stages(counts, first_width=64),
        shortcut=shortcut,
        classes=classes,
    )


def small(depth: int, *, shortcut: Shortcut = "B", classes: int = 10) -> ResNetSpec:
    """Return Table 1's network of a depth for 32x32 images: 3x3 stem, no pool.

    Deviation: stem for small images and stride on the 3x3, as the counts in circulation have it.
    """
    return replace(
        imagenet(depth, shortcut=shortcut, classes=classes), stem=_SMALL_STEM, stride_on="3x3"
    )


def cifar(depth: int, *, shortcut: Shortcut = "A", classes: int = 10) -> ResNetSpec:
    """Return the 6n+2-layer CIFAR network.

    Raises:
        ModelError: `depth` is not 6n+2 for some n >= 1.

    Source: He et al. 2015, sec. 4.2.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        low = max(8, depth - rest)
        raise ModelError(
            f"depth: CIFAR networks have 6n+2 layers (8, 14, 20, ...), not {depth}; "
            f"the nearest are {low} and {low + 6}"
        )
    return ResNetSpec(
        stem=_CIFAR_STEM,
        block="basic",
        stages=_stages((n, n, n), first_width=16),
        shortcut=shortcut,
        classes=classes,
    )


def named(name: str) -> ModelSpec:
    """Return the network of that name: any in `NAMES`, or a CIFAR name of another 6n+2 depth.

    Raises:
        ModelError: There is none; the message names the nearest.
    """
    if name in _ZOO:
        return _ZOO[name]
    match = re.fullmatch(r"cifar-(resnet|plain|highway)(0|[1-9][0-9]{0,4})(?:-([bc]))?", name)
    if match is None or (match[3] and match[1] != "resnet"):
        raise ModelError(errors.unknown("model", name, NAMES, "resnets list models"))
    return cifar(int(match[2]), shortcut=_option(match[1], match[3] or "a"))


def name_of(spec: ModelSpec) -> str:
    """Return what the zoo calls a network, or a description.

    Whatever its classes and however many channels its images have.
    """
    for name, known in _ZOO.items():
        if comparable(replace(known, classes=spec.classes)) == comparable(spec):
            return name
    if isinstance(spec, ResNetSpec) and (spec.depth - 2) % 6 == 0:
        kind, letter = _KINDS[spec.shortcut]
        name = f"cifar-{kind}{spec.depth}{letter}"
        if comparable(replace(named(name), classes=spec.classes)) == comparable(spec):
            return name
    return f"{spec.kind} of {spec.depth} layers that has no name here"


def comparable(spec: ModelSpec) -> ModelSpec:
    """Return the spec without what makes it no other network, so that weights can go on in it.

    That is where a basic block has its stride, what is left out while training, and how many
    channels the images have.
    """
    if isinstance(spec, VggSpec):
        return replace(spec, in_channels=COLOURS)
    if not isinstance(spec, ResNetSpec):
        return spec
    stride_on = "1x1" if spec.block == "basic" else spec.stride_on
    return replace(spec, stride_on=stride_on, drop_path=0.0, in_channels=COLOURS)


def dropping_as(old: ModelSpec, new: ModelSpec) -> ModelSpec:
    """Return another network that drops as much while training, where there is what to drop."""
    if not isinstance(old, ResNetSpec) or not isinstance(new, ResNetSpec):
        return new
    return replace(new, drop_path=0.0 if new.shortcut == "none" else old.drop_path)


def taking(spec: ModelSpec, in_channels: int) -> ModelSpec:
    """Return the same network for images of so many channels.

    Raises:
        ModelError: There is none.
    """
    if isinstance(spec, ResNetSpec | VggSpec):
        return replace(spec, in_channels=in_channels)
    if in_channels != spec.in_channels:
        raise ModelError(
            f"model.in_channels: {spec.kind} takes {spec.in_channels}, got {in_channels}; ResNets "
            "and VGGs take others"
        )
    return spec


def _option(kind: str, letter: str) -> Shortcut:
    options: dict[str, Shortcut] = {"a": "A", "b": "B", "c": "C"}
    kinds: dict[str, Shortcut] = {"plain": "none", "highway": "highway"}
    return kinds.get(kind) or options[letter]


def _stages(counts: tuple[int, ...], first_width: int) -> tuple[StageSpec, ...]:
    return tuple(
        StageSpec(blocks=blocks, width=first_width * 2**i, stride=1 if i == 0 else 2)
        for i, blocks in enumerate(counts)
    )


def _zoo() -> dict[str, ModelSpec]:
    zoo: dict[str, ModelSpec] = {f"resnet{depth}": imagenet(depth) for depth in TABLE_1}
    zoo |= {
        f"resnet{d}-v1.5": replace(imagenet(d), stride_on="3x3")
        for d, (block, _) in TABLE_1.items()
        if block == "bottleneck"
    }
    zoo |= {"resnet18-a": imagenet(18, shortcut="A"), "resnet34-a": imagenet(34, shortcut="A")}
    zoo |= {"resnet34-c": imagenet(34, shortcut="C")}
    zoo |= {f"plain{depth}": imagenet(depth, shortcut="none") for depth in (18, 34)}
    zoo |= {"highway34": imagenet(34, shortcut="highway")}
    zoo |= {f"vgg{d}": VggSpec(convolutions=VGG[d], classes=1000) for d in VGG}
    zoo |= {"googlenet": GoogLeNetSpec(classes=1000), "prelu-net": PReLUNetSpec(classes=1000)}
    zoo |= {f"resnet{depth}-small": small(depth) for depth in TABLE_1}
    zoo |= {f"plain{depth}-small": small(depth, shortcut="none") for depth in (18, 34)}
    for depth in CIFAR_DEPTHS:
        zoo[f"cifar-resnet{depth}"] = cifar(depth)
    for depth in (20, 32, 44, 56, 110):
        zoo[f"cifar-plain{depth}"] = cifar(depth, shortcut="none")
    zoo |= {f"cifar-resnet20-{o.lower()}": cifar(20, shortcut=o) for o in ("B", "C")}
    zoo |= {f"cifar-highway{depth}": cifar(depth, shortcut="highway") for depth in (20, 32)}
    return zoo


_ZOO: Final = _zoo()
NAMES: Final = tuple(_ZOO)
