"""What a network is, as a value: the paper's own, and those it compares with."""

from typing import ClassVar, Final, Literal

from resnets.core.errors import ModelError
from resnets.core.spec import spec

Shortcut = Literal["none", "A", "B", "C", "highway"]

COLOURS: Final = 3  # channels of an image: red, green and blue
MOST_CHANNELS: Final = 64  # that a network takes


@spec
class StemSpec:
    """What stands before the first stage: conv1, then perhaps a 3x3 max pool of stride 2."""

    kernel: int
    width: int  # channels
    stride: int
    pool: bool

    def __post_init__(self) -> None:
        if min(self.kernel, self.width, self.stride) < 1 or self.kernel % 2 == 0:
            raise ModelError(f"model.stem: needs an odd kernel and positive numbers, got {self}")


@spec
class StageSpec:
    """A run of blocks at one spatial resolution: one row of Table 1."""

    blocks: int
    width: int  # channels of the 3x3 convolutions
    stride: int  # of the first block; the others have 1

    def __post_init__(self) -> None:
        if min(self.blocks, self.width, self.stride) < 1:
            raise ModelError(f"model.stages: needs positive numbers, got {self}")


@spec
class ResNetSpec:
    """A plain, residual or highway network.

    Source: He et al. 2015, sec. 3.3, Table 1; sec. 4.2.
    """

    kind: Literal["resnet"] = "resnet"
    stem: StemSpec
    block: Literal["basic", "bottleneck"]
    stages: tuple[StageSpec, ...]
    shortcut: Shortcut  # "none" is the plain network
    classes: int
    stride_on: Literal["1x1", "3x3"] = "1x1"  # bottleneck only: v1 and v1.5 (ADR 0004)
    drop_path: float = 0.0  # while training, how often the last block's body is left out
    in_channels: int = COLOURS

    def __post_init__(self) -> None:
        if not self.stages:
            raise ModelError("model.stages: needs at least one stage")
        _check_classes(self.classes)
        _check_channels(self.in_channels)
        grown = 1 if self.block == "basic" else 4
        channels = [self.stem.width, *(grown * stage.width for stage in self.stages)]
        if self.shortcut in ("A", "highway") and channels != sorted(channels):
            raise ModelError(f"model.stages: option A only adds channels, got {channels}")
        if not 0 <= self.drop_path < 1:
            raise ModelError(f"model.drop_path: must be in [0, 1), got {self.drop_path}")
        if self.drop_path and self.shortcut == "none":
            raise ModelError("model.drop_path: nothing is left of a plain block without its body")

    @property
    def image_px(self) -> int:
        """The side of the images the paper gives this kind of network: 224, or 32 for CIFAR."""
        return 224 if self.stem.pool else 32

    @property
    def smallest_px(self) -> int:
        """The least side of an image for which every layer has an output."""
        return 1

    @property
    def total_stride(self) -> int:
        """Pixels of the image for one of the last stage's."""
        stride = self.stem.stride * (2 if self.stem.pool else 1)
        for stage in self.stages:
            stride *= stage.stride
        return stride

    @property
    def depth(self) -> int:
        """Weighted layers as the paper counts them: not the projections, not the gates."""
        layers = 2 if self.block == "basic" else 3
        return 2 + layers * sum(stage.blocks for stage in self.stages)


@spec
class VggSpec:
    """Stages of 3x3 convolutions, each ended by a max pool, then three linear layers.

    Source: Simonyan, Zisserman 2015, Table 1, columns D and E.
    """

    image_px: ClassVar[int] = 224  # the side of the images the paper gives it
    smallest_px: ClassVar[int] = 32  # with which every layer has an output

    kind: Literal["vgg"] = "vgg"
    convolutions: tuple[int, ...]  # of each stage; the widths are 64, 128, 256, 512, 512
    classes: int
    in_channels: int = COLOURS

    def __post_init__(self) -> None:
        if len(self.convolutions) != 5 or min(self.convolutions) < 1:
            raise ModelError(
                f"model.convolutions: needs five positive numbers, got {self.convolutions}"
            )
        _check_classes(self.classes)
        _check_channels(self.in_channels)

    @property
    def depth(self) -> int:
        """Weighted layers."""
        return sum(self.convolutions) + 3


@spec
class GoogLeNetSpec:
    """The network of inception modules as published: local response normalisation, no BN.

    Source: Szegedy et al. 2014, Table 1.
    """

    image_px: ClassVar[int] = 224  # the side of the images the paper gives it
    smallest_px: ClassVar[int] = 31  # with which every layer has an output
    in_channels: ClassVar[int] = COLOURS
    depth: ClassVar[int] = 22  # weighted layers on the longest path, as its paper counts them

    kind: Literal["googlenet"] = "googlenet"
    classes: int

    def __post_init__(self) -> None:
        _check_classes(self.classes)


@spec
class PReLUNetSpec:
    """Model C of the paper on rectifiers: wide 3x3 convolutions, PReLU, a spatial pyramid.

    Source: He et al. 2015b, Table 3, model C.
    """

    image_px: ClassVar[int] = 224  # the side of the images the paper gives it
    smallest_px: ClassVar[int] = 15  # with which every layer has an output
    in_channels: ClassVar[int] = COLOURS
    depth: ClassVar[int] = 22  # weighted layers

    kind: Literal["prelu-net"] = "prelu-net"
    classes: int

    def __post_init__(self) -> None:
        _check_classes(self.classes)


ModelSpec = ResNetSpec | VggSpec | GoogLeNetSpec | PReLUNetSpec


def check_image_px(spec: ModelSpec, image_px: int) -> None:
    """Refuse images that are too small for a network.

    Raises:
        ModelError: A layer would have no output.
    """
    if image_px < 1:
        raise ModelError(f"image_px: must be positive, got {image_px}")
    if image_px < spec.smallest_px:
        raise ModelError(
            f"image_px: {spec.kind} needs images of at least {spec.smallest_px} px, got {image_px}"
        )


def check_takes_images(spec: ModelSpec) -> None:
    """Refuse a network for which no image has the channels: it takes three, or the grey one.

    Raises:
        ModelError: It takes others.
    """
    if spec.in_channels not in (1, COLOURS):
        raise ModelError(
            f"model.in_channels: an image has {COLOURS}, or 1 as grey, and this network takes "
            f"{spec.in_channels}; give it tensors of your own from Python: resnets.model(...)"
        )


def _check_channels(channels: int) -> None:
    if not 1 <= channels <= MOST_CHANNELS:
        raise ModelError(f"model.in_channels: must be from 1 to {MOST_CHANNELS}, got {channels}")


def _check_classes(classes: int) -> None:
    if classes < 1:
        raise ModelError(f"model.classes: must be positive, got {classes}")
