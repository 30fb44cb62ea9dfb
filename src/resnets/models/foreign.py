"""Other libraries' names for our tensors, both ways.

A naming is a table from our names to theirs for one network, and what differs besides names:
the layout of kernels, biases of convolutions before a BN, the order of option A's channels.

torchvision   torchvision's ResNets and VGGs; timm's ResNets
timm          timm's VGGs, whose linear layers are convolutions
caffe         the authors' own names (res2a_branch2a), as Keras and TensorFlow.js files carry them
keras         Keras' later names for the same networks (conv2_block1_1_conv)
cifar         the CIFAR networks of akamaster's and kuangliu's repositories (linear, shortcut)
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from resnets.core.errors import CheckpointError, ModelError
from resnets.models import making
from resnets.models.spec import (
    ModelSpec,
    ResNetSpec,
    Shortcut,
    StageSpec,
    StemSpec,
    VggSpec,
)

NamingName = Literal["torchvision", "timm", "caffe", "keras", "cifar"]
StrideOn = Literal["1x1", "3x3"]

_COUNTER: Final = "num_batches_tracked"  # of no use to us; older files lack it
_AVERAGED: Final = "n_averaged"  # how many updates torch's averaged models have seen
_PREFIXES: Final = ("module.", "_orig_mod.")  # left by DataParallel and torch.compile
_LINEAR: Final = ("fc1000/", "probs/", "predictions/")  # Keras' names of the last layer
_BN: Final = ("weight", "bias", "running_mean", "running_var")
_KERAS_BN: Final = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file's tensors are.

    Args:
        naming: Whose names they carry.
        spec: The network they are of. Its stem and `stride_on` are only certain where `certain`.
        certain: Whether names and shapes alone settle where a bottleneck's stride is, and whether
            a 3x3 stem has a stride or a pool behind it.
    """

    naming: NamingName
    spec: ModelSpec
    certain: bool


def recognise(tensors: Mapping[str, Tensor]) -> Recognised:
    """Tell whose names tensors carry and which network they are of, from names and shapes.

    Args:
        tensors: As the file has them.

    Raises:
        CheckpointError: They are of no network there is here.
    """
    names = _stripped(tensors)
    try:
        if "res2a_branch2a/kernel" in names:
            return Recognised("caffe", _keras_spec(names, _CAFFE_BLOCK), certain=True)
        if "conv2_block1_1_conv/kernel" in names:
            return Recognised("keras", _keras_spec(names, _KERAS_BLOCK), certain=True)
        if "features.0.weight" in names and "head.fc.weight" in names:
            return Recognised("timm", _vgg_spec(names, "head.fc.weight"), certain=True)
        if "features.0.weight" in names and "classifier.6.weight" in names:
            spec = _vgg_spec(names, "classifier.6.weight")
            return Recognised("torchvision", spec, certain=True)
        if any(name.startswith("layer1.0.") for name in names):
            return _torch_resnet(names, "cifar" if "linear.weight" in names else "torchvision")
    except KeyError as err:
        raise CheckpointError(f"the file lacks {err.args[0]}") from err
    except (IndexError, ValueError, ModelError) as err:
        raise CheckpointError(f"its tensors are like those of no network here ({err})") from err
    if "inception3a.branch1.conv.weight" in names:
        raise CheckpointError(
            "torchvision's GoogLeNet has BN and 3x3 convolutions where the published network, "
            "which is ours, has neither BN nor those; its weights fit no network here"
        )
    few = ", ".join(sorted(names)[:3])
    raise CheckpointError(
        f"its {len(names)} tensors ({few}, ...) carry the names of no library known here; "
        "accepted are torchvision's and timm's ResNets and VGGs, Keras' and the authors' "
        "ResNets, and the CIFAR networks of akamaster and kuangliu"
    )


def to_ours(
    tensors: Mapping[str, Tensor], naming: NamingName, spec: ModelSpec
) -> dict[str, Tensor]:
    """Return a file's tensors under our names, in our layout.

    Args:
        tensors: As the file has them.
        naming: From `recognise`.
        spec: The network, settled.

    Raises:
        CheckpointError: A tensor is left over on either side, or has another shape. The message
            names them.
    """
    theirs = _stripped(tensors)
    wanted = _wanted(spec)
    table = _table(naming, spec, wanted)
    used: set[str] = set()
    made: dict[str, Tensor] = {}
    missing: list[str] = []
    other: list[str] = []
    for ours, shape in wanted.items():
        name = table[ours]
        counter = ours.endswith(_COUNTER)
        if name not in theirs:
            if counter:
                made[ours] = torch.zeros((), dtype=torch.int64)
            else:
                missing.append(name)
            continue
        used.add(name)
        tensor = _turn(theirs[name], naming, ours)
        if tuple(tensor.shape) != shape or not (counter or tensor.is_floating_point()):
            other.append(f"{name} {_described(theirs[name])} for {_size(shape)}")
        made[ours] = tensor.long().clone() if counter else tensor
    biases = _biases(theirs, table) if naming in ("caffe", "keras") else {}
    _refuse(missing, sorted(set(theirs) - used - set(biases.values())), other)
    _fold(theirs, made, biases)
    if naming == "cifar" and isinstance(spec, ResNetSpec) and spec.shortcut == "A":
        made = _permuted(made, spec, _akamaster_order)
    return {name: tensor.contiguous() for name, tensor in made.items()}


def to_theirs(
    tensors: Mapping[str, Tensor], naming: Literal["torchvision", "cifar"], spec: ModelSpec
) -> dict[str, Tensor]:
    """Return our tensors under another library's names, so that it loads them.

    Args:
        tensors: Ours, as `state_dict` has them.
        naming: Whose names.
        spec: The network.

    Raises:
        ModelError: That library has no such network.
    """
    if isinstance(spec, ResNetSpec):
        option_a = spec.shortcut == "A"
        if option_a and spec.block == "bottleneck":
            raise ModelError(f"{naming} has no network of bottlenecks with shortcuts 'A'")
        if spec.shortcut not in (("A", "B") if naming == "cifar" else ("B",)):
            raise ModelError(
                f"{naming} has no network with shortcuts {spec.shortcut!r}; only "
                f"{'A and B' if naming == 'cifar' else 'B'} can be exported to it"
            )
        if option_a:
            tensors = _permuted(tensors, spec, _our_order)
    elif not isinstance(spec, VggSpec) or naming != "torchvision":
        raise ModelError(f"{naming} has no such network as this {spec.kind}")
    table = _table(naming, spec, _wanted(spec))
    return {table[name]: tensor.contiguous() for name, tensor in tensors.items()}


def swap_red_and_blue(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the same network for images whose channels come the other way round."""
    first = next(iter(tensors))
    return {**tensors, first: tensors[first].flip(1)}


def stride_on(naming: NamingName, layers: Mapping[str, Mapping[str, Any]]) -> StrideOn | None:
    """Return where a Keras file's own layer settings put a bottleneck's stride; None if nowhere.

    Args:
        naming: From `recognise`.
        layers: Settings by layer name, among them `strides`.
    """
    if naming not in ("caffe", "keras"):
        return None
    layer_of = _caffe_layer if naming == "caffe" else _keras_layer
    first = [layers.get(layer_of("3 0 lettered", "conv", n), {}) for n in (1, 2)]
    halves = [each.get("strides") in ([2, 2], (2, 2), 2) for each in first]
    if not any(halves):
        return None
    return "1x1" if halves[0] else "3x3"


# Recognising.


def _torch_resnet(names: Mapping[str, Tensor], naming: NamingName) -> Recognised:
    """Read a ResNet's spec from torch-like names: layer1.0.conv1.weight, ..."""
    linear, projected = ("linear", "shortcut") if naming == "cifar" else ("fc", "downsample")
    stem = names["conv1.weight"]
    counts = _counts(names, re.compile(r"layer(\d+)\.(\d+)\."))
    bottleneck = "layer1.0.conv3.weight" in names
    stages = tuple(
        StageSpec(
            blocks=blocks,
            width=names[f"layer{stage}.0.conv1.weight"].shape[0],
            stride=1 if stage == 1 else 2,
        )
        for stage, blocks in sorted(counts.items())
    )
    with_projection = {
        m[1] for name in names if (m := re.match(rf"layer\d+\.(\d+)\.{projected}", name))
    }
    if not with_projection:
        if len(stages) > 1 and (naming != "cifar" or bottleneck):
            raise ValueError(f"it has no {projected} where the stages grow")
        shortcut: Shortcut = "A" if naming == "cifar" else "B"
    else:  # in option B only the first block of a stage has one
        shortcut = "B" if with_projection == {"0"} else "C"
    kernel = stem.shape[-1]
    if kernel not in (3, 7):
        raise ValueError(f"its first kernel is {kernel}x{kernel}")
    spec = ResNetSpec(
        stem=StemSpec(
            kernel=kernel, width=stem.shape[0], stride=2 if kernel == 7 else 1, pool=kernel == 7
        ),
        block="bottleneck" if bottleneck else "basic",
        stages=stages,
        shortcut=shortcut,
        classes=names[f"{linear}.weight"].shape[0],
        # kuangliu's bottleneck is known to stride on its 3x3.
        stride_on="3x3" if naming == "cifar" and bottleneck else "1x1",
        in_channels=stem.shape[1],
    )
    usual = naming == "cifar" or (kernel == 7 and not bottleneck)
    return Recognised(naming, spec, certain=usual)


_CAFFE_BLOCK: Final = re.compile(r"res(\d)([a-z]\d*)_branch2a/kernel")
_KERAS_BLOCK: Final = re.compile(r"conv(\d)_block(\d+)_1_conv/kernel")


def _keras_spec(names: Mapping[str, Tensor], block: re.Pattern[str]) -> ResNetSpec:
    counts: dict[int, int] = {}
    for name in names:
        if match := block.fullmatch(name):
            counts[int(match[1])] = counts.get(int(match[1]), 0) + 1
    if sorted(counts) != [2, 3, 4, 5]:
        raise ValueError(f"it has the stages {', '.join(map(str, sorted(counts)))}, not 2 to 5")
    return ResNetSpec(
        stem=StemSpec(kernel=7, width=64, stride=2, pool=True),
        block="bottleneck",
        stages=tuple(
            StageSpec(blocks=counts[n], width=64 * 2 ** (n - 2), stride=1 if n == 2 else 2)
            for n in sorted(counts)
        ),
        shortcut="B",
        classes=names["fc/bias"].shape[0],
        stride_on="1x1",
    )


def _vgg_spec(names: Mapping[str, Tensor], last: str) -> VggSpec:
    """Read how many convolutions a stage has from the gaps that pools leave in the numbering."""
    numbers = sorted(
        int(n.split(".")[1]) for n in names if re.fullmatch(r"features\.\d+\.weight", n)
    )
    stages, previous = [0], -2
    for number in numbers:
        if number == previous + 3:
            stages.append(0)
        elif number != previous + 2:
            raise ValueError("a VGG with BN")
        stages[-1] += 1
        previous = number
    return VggSpec(
        convolutions=tuple(stages),
        classes=names[last].shape[0],
        in_channels=names["features.0.weight"].shape[1],
    )


def _counts(names: Iterable[str], block: re.Pattern[str]) -> dict[int, int]:
    found: dict[int, set[int]] = {}
    for name in names:
        if match := block.match(name):
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    return {stage: len(blocks) for stage, blocks in found.items()}


# Tables of names.


def _table(naming: NamingName, spec: ModelSpec, wanted: Iterable[str]) -> dict[str, str]:
    """Return our name -> theirs, for every tensor of the network, which `wanted` has in order."""
    if isinstance(spec, VggSpec):
        return _vgg_table(wanted, spec, timm=naming == "timm")
    rename: Callable[[str], str] = {
        "torchvision": lambda name: _torch_name(name, "fc", "downsample"),
        "cifar": lambda name: _torch_name(name, "linear", "shortcut"),
        "caffe": lambda name: _keras_name(name, spec, _caffe_layer),
        "keras": lambda name: _keras_name(name, spec, _keras_layer),
    }[naming]
    return {name: rename(name) for name in wanted}


def _torch_name(ours: str, linear: str, projected: str) -> str:
    name = ours.removeprefix("stem.").replace("head.", f"{linear}.")
    match = re.fullmatch(r"stages\.conv(\d+)_x\.(\d+)\.(body|shortcut)\.(.*)", name)
    if match is None:
        return name
    stage, block, part, rest = int(match[1]) - 1, match[2], match[3], match[4]
    if part == "shortcut":
        rest = f"{projected}." + rest.replace("conv.", "0.").replace("bn.", "1.")
    return f"layer{stage}.{block}.{rest}"


def _vgg_table(wanted: Iterable[str], spec: VggSpec, *, timm: bool) -> dict[str, str]:
    """Pair tensors in order: convolutions with `features.N`, then the three linear layers."""
    features, number = [], 0
    for convolutions in spec.convolutions:
        features += [f"features.{number + 2 * i}" for i in range(convolutions)]
        number += 2 * convolutions + 1
    linear = ["pre_logits.fc1", "pre_logits.fc2", "head.fc"]
    if not timm:
        linear = ["classifier.0", "classifier.3", "classifier.6"]
    theirs = [f"{layer}.{kind}" for layer in features + linear for kind in ("weight", "bias")]
    return dict(zip(wanted, theirs, strict=True))


def _keras_name(ours: str, spec: ModelSpec, layer_of: Callable[[str, str, int], str]) -> str:
    """Return `<layer>/<variable>` for one of our tensors."""
    assert isinstance(spec, ResNetSpec)
    head, variable = ours.rsplit(".", 1)
    is_bn = ".bn" in head
    if is_bn:
        variable = dict(zip(_BN, _KERAS_BN, strict=True)).get(variable, variable)
    elif variable == "weight":
        variable = "kernel"
    if head == "head":
        return f"fc/{variable}"
    if head.startswith("stem."):
        return f"{layer_of('stem', 'bn' if is_bn else 'conv', 0)}/{variable}"
    match = re.fullmatch(r"stages\.conv(\d+)_x\.(\d+)\.(?:body|shortcut)\.(conv|bn)(\d?)", head)
    assert match is not None
    number, block, kind, which = int(match[1]), int(match[2]), match[3], int(match[4] or 0)
    # In 101 and 152 layers the authors count the blocks of conv3_x and conv4_x a, b1, b2, ...
    counted = "counted" if number in (3, 4) and spec.stages[2].blocks > 6 else "lettered"
    return f"{layer_of(f'{number} {block} {counted}', kind, which)}/{variable}"


def _caffe_layer(place: str, kind: str, which: int) -> str:
    """Return the authors' name, e.g. res4b22_branch2c; `which` is 0 for the projection."""
    if place == "stem":
        return "conv1" if kind == "conv" else "bn_conv1"
    stage, number, how = place.split()
    block = int(number)
    letter = chr(ord("a") + block) if how == "lettered" or block == 0 else f"b{block}"
    branch = "branch1" if which == 0 else f"branch2{'abc'[which - 1]}"
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{letter}_{branch}"


def _keras_layer(place: str, kind: str, which: int) -> str:
    if place == "stem":
        return f"conv1_{kind}"
    stage, block, _ = place.split()
    return f"conv{stage}_block{int(block) + 1}_{which}_{kind}"


# What differs besides names.


def _turn(tensor: Tensor, naming: NamingName, ours: str) -> Tensor:
    """Return a tensor in our layout: kernels (out, in, h, w), linear weights (out, in)."""
    if naming in ("caffe", "keras") and ours.endswith(".weight"):
        if tensor.ndim == 4:
            return tensor.permute(3, 2, 0, 1)
        if tensor.ndim == 2:
            return tensor.t()
    if naming == "timm" and tensor.ndim == 4 and not ours.startswith("stages."):
        return tensor.flatten(1)
    return tensor


def _biases(theirs: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, str]:
    """Return the biases of convolutions: the mean of the BN behind each -> the bias's name."""
    found = {}
    for ours, name in table.items():
        bias = name.removesuffix("kernel") + "bias"
        if not name.endswith("/kernel") or bias not in theirs or ours == "head.weight":
            continue
        layer, conv, _ = ours.rsplit(".", 2)
        mean = f"{layer}.{conv.replace('conv', 'bn')}.running_mean"
        if table[mean] in theirs and theirs[bias].shape == theirs[table[mean]].shape:
            found[mean] = bias
    return found


def _fold(theirs: Mapping[str, Tensor], made: dict[str, Tensor], biases: Mapping[str, str]) -> None:
    """Take the biases of convolutions into the means of the BN behind them.

    BN subtracts its mean from (convolution + bias), which is the same as (mean - bias) from the
    convolution.
    """
    for mean, bias in biases.items():
        made[mean] = made[mean] - theirs[bias]


def _permuted(
    tensors: Mapping[str, Tensor],
    spec: ResNetSpec,
    order_of: Callable[[list[int], int], list[int]],
) -> dict[str, Tensor]:
    """Put the channels that carry option A's identity into another order, everywhere they occur.

    Appending the new channels (ours) or putting half of them on either side (akamaster's) is the
    same network with its channels in another order: those between blocks, not those inside.
    """
    made = dict(tensors)
    order = list(range(spec.stem.width))
    for number, stage in enumerate(spec.stages, start=2):
        grown = stage.width - len(order)
        outer = order_of(order, grown)
        for block in range(stage.blocks):
            body = f"stages.conv{number}_x.{block}.body."
            into = order if block == 0 else outer
            made[f"{body}conv1.weight"] = made[f"{body}conv1.weight"][:, into]
            made[f"{body}conv2.weight"] = made[f"{body}conv2.weight"][outer]
            for kind in _BN:
                made[f"{body}bn2.{kind}"] = made[f"{body}bn2.{kind}"][outer]
        order = outer
    made["head.weight"] = made["head.weight"][:, order]
    return made


def _akamaster_order(order: list[int], grown: int) -> list[int]:
    """Return, for each of our channels, which of theirs it is: the carried ones come first."""
    half = grown // 2
    carried = [half + channel for channel in order]
    new = [*range(half), *range(half + len(order), len(order) + grown)]
    return carried + new


def _our_order(order: list[int], grown: int) -> list[int]:
    """Return, for each of their channels, which of ours it is."""
    half, have = grown // 2, len(order)
    new = [have + i for i in range(grown)]
    return new[:half] + order + new[half:]


def _wanted(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        made = making.make(spec)
    return {name: tuple(tensor.shape) for name, tensor in made.state_dict().items()}


def _stripped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without prefixes that wrappers leave on all of them."""
    made = {name: tensor for name, tensor in tensors.items() if name != _AVERAGED}
    while made and (on_all := [p for p in _PREFIXES if all(n.startswith(p) for n in made)]):
        made = {name.removeprefix(on_all[0]): tensor for name, tensor in made.items()}
    renamed = {
        name: f"fc/{name.partition('/')[2]}" if name.startswith(_LINEAR) else name for name in made
    }
    if len(set(renamed.values())) < len(made):
        raise CheckpointError("it has more than one last layer")
    return {renamed[name]: tensor for name, tensor in made.items()}


def _refuse(missing: list[str], left: list[str], other: list[str]) -> None:
    said = [
        f"{what} {', '.join(found[:3])}" + (f" and {len(found) - 3} more" if found[3:] else "")
        for what, found in (
            ("the file lacks", missing),
            ("the network has no place for", left),
            ("of another shape:", other),
        )
        if found
    ]
    if said:
        raise CheckpointError("; ".join(said))


def _described(tensor: Tensor) -> str:
    kind = "" if tensor.is_floating_point() else " of whole numbers"
    return _size(tensor.shape) + kind


def _size(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
