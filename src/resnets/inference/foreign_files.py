"""Read other libraries' weight files: plain tensors and what the file tells of its layers.

Nothing of a file is ever run, and no file makes the process take much more memory than the file is
large. Names and layouts are the file's own; what they mean is for others to say.
"""

import hashlib
import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, StorageError
from resnets.inference import keras_files

Format = Literal["pytorch", "safetensors", "tfjs", "keras-h5"]

ACCEPTED: Final = (
    "a PyTorch file (.pth, .pt), safetensors, Keras (.h5, .keras) or the folder with the "
    "model.json of a TensorFlow.js layers model"
)
# Under which of these names trainers keep the weights, the ones to use first: where there is an
# average over the updates, it is what its trainer evaluates and publishes.
WRAPPERS: Final = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
)
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_TFJS_DTYPES: Final = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "bool": "|b1"}
_TFJS_PACKED: Final = {"uint8": "|u1", "uint16": "<u2", "float16": "<f2"}


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """What a weight file of another library holds.

    Args:
        path: The file; of TensorFlow.js its model.json.
        format: What kind of file it is.
        tensors: By the names in the file, of Keras `layer/variable`; on the CPU, contiguous and
            finite, float32 where they are fractions. Layouts are the file's: a kernel of Keras
            stays (height, width, in, out).
        layers: The settings of each layer, of `strides`, `dilation_rate` and `epsilon` those it
            has, by its name; None where the file tells none.
        sha256: Of the file's bytes, in 64 hex digits; of TensorFlow.js of model.json and then
            every shard in the manifest's order.
        part: The name in the file under which the tensors were, one of `WRAPPERS`; or "".
    """

    path: Path
    format: Format
    tensors: dict[str, Tensor]
    layers: dict[str, Any] | None
    sha256: str
    part: str = ""


def read(path: Path) -> ForeignFile:
    """Read a weight file of another library; its kind is told by its content, not by its name.

    Where a PyTorch file wraps its weights beside an optimizer and the like, the first that it has
    of `WRAPPERS` is taken: an average of the weights before the weights.

    Raises:
        CheckpointError: It is missing, damaged, of an unknown kind, made to run code, or has
            weights that are not plain finite numbers; or h5py is not installed.
        StorageError: It may not be read.
    """
    try:
        return _read(path)
    except CheckpointError as err:
        # Names out of the file stand in messages; they must not break or paint the line.
        text = "".join(c if c.isprintable() else " " for c in str(err))
        raise CheckpointError(text) from (err.__cause__ or err)
    except PermissionError as err:
        raise StorageError(f"{path}: may not be read; check its permissions") from err
    except OSError as err:
        raise CheckpointError(f"{path}: cannot be read ({_one_line(err)})") from err


def _read(path: Path) -> ForeignFile:
    part, layers = "", None
    path = path / "model.json" if path.is_dir() else path
    kind = _kind(path)
    if kind == "tfjs":
        tensors, layers, sha256 = _read_tfjs(path)
    else:
        sha256 = _sha256([path])
    if kind == "pytorch":
        part, tensors = _read_pytorch(path)
    elif kind == "safetensors":
        tensors = _read_safetensors(path)
    elif kind == "keras-h5":
        arrays, layers = keras_files.read(path)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors")
    plain = {name: _plain(path, name, tensor) for name, tensor in tensors.items()}
    return ForeignFile(path, kind, plain, layers, sha256, part)


def _kind(path: Path) -> Format:
    """Tell the kind of a file by its first bytes."""
    if not path.exists():
        if path.name == "model.json" and path.parent.is_dir():
            raise CheckpointError(f"{path.parent}: has no model.json; accepted: {ACCEPTED}")
        raise CheckpointError(f"{path}: there is no such file")
    if not path.is_file():  # reading a pipe would wait for ever
        raise CheckpointError(f"{path}: not a file; accepted: {ACCEPTED}")
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise CheckpointError(f"{path}: is empty; accepted: {ACCEPTED}")
    if path.suffix == ".json":
        return "tfjs"
    if head.startswith(_HDF5) or (head.startswith(b"PK") and keras_files.is_archive(path)):
        return "keras-h5"
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return "safetensors"
    if head.startswith((b"PK\x03\x04", b"\x80")):
        return "pytorch"
    raise CheckpointError(f"{path}: no kind of weights known here; accepted: {ACCEPTED}")


def _read_pytorch(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Return the name the weights were under, and the weights."""
    file_bytes = path.stat().st_size
    _check_archive(path, file_bytes)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how old the file's format is
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as err:  # a damaged pickle raises whatever it stumbles over
        raise CheckpointError(f"{path}: {_why_not_loaded(err)}") from err
    part, weights = _unwrapped(path, loaded)
    for name, value in weights.items():
        if type(name) is not str or type(value) not in (Tensor, torch.nn.Parameter):
            raise CheckpointError(
                f"{path}: {name!r} is not a plain tensor ({type(value).__name__}); save only the "
                "tensors: torch.save(model.state_dict(), FILE)"
            )
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(
                f"{path}: {name} is a sparse, quantized or empty tensor; expected a plain one"
            )
    # Views may claim more than there is: a single number can pose as a tensor of any size.
    _check_claim(path, sum(t.numel() * t.element_size() for t in weights.values()), file_bytes)
    return part, weights


def _check_archive(path: Path, file_bytes: int) -> None:
    """Refuse a zip that unpacks to more than it is large, is damaged, or holds TorchScript."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                if file.read(4) == b"PK\x03\x04":
                    raise CheckpointError(f"{path}: cut short: the list at a zip's end is missing")
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_claim(path, sum(m.file_size for m in members), file_bytes)
            damaged = archive.testzip()  # torch itself does not look at the checksums
    except (OSError, CheckpointError):
        raise
    except Exception as err:  # a damaged zip raises nearly anything
        raise CheckpointError(f"{path}: cut short or damaged ({_one_line(err)})") from err
    if damaged is not None:
        raise CheckpointError(f"{path}: damaged: {damaged!r} in it fails its checksum")
    if any("/code/" in m.filename for m in members):
        raise CheckpointError(
            f"{path}: it holds code (TorchScript), which is never run; save only the tensors: "
            "torch.save(model.state_dict(), FILE)"
        )


def _check_claim(path: Path, claimed_bytes: int, file_bytes: int) -> None:
    """Refuse a file that would take far more memory than it is large; tied weights count twice."""
    if claimed_bytes > 2 * file_bytes + 65536:
        raise CheckpointError(
            f"{path}: damaged: a file of {file_bytes:,} bytes claims {claimed_bytes:,} of tensors"
        )


def _why_not_loaded(err: Exception) -> str:
    text = str(err)
    found = re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"function (<.{1,60}>)", text)
    if found is None:
        if operand := re.search(r"Unsupported operand \d+", text):
            return (
                f"damaged, or a pickle of more than tensors ({operand[0]}), which is never run; "
                "save only the tensors: torch.save(model.state_dict(), FILE)"
            )
        said = re.sub(r"^Weights only load failed\..*?message: ", "", _one_line(err, 2000))
        return f"not a PyTorch file, cut short or damaged ({said[:120] or type(err).__name__})"
    return (
        f"it holds code ({found[1]}), which is never run; save only the tensors: "
        "torch.save(model.state_dict(), FILE)"
    )


def _unwrapped(path: Path, loaded: object) -> tuple[str, dict[str, Tensor]]:
    if not isinstance(loaded, dict):
        raise CheckpointError(
            f"{path}: holds a {type(loaded).__name__}; expected tensors by name, alone or under "
            f"{', '.join(WRAPPERS)}"
        )
    for part in WRAPPERS:
        inner = loaded.get(part)
        if isinstance(inner, dict) and any(isinstance(v, Tensor) for v in inner.values()):
            return part, dict(inner)
    if not any(isinstance(value, Tensor) for value in loaded.values()):
        names = ", ".join(repr(key)[:40] for key in list(loaded)[:6]) or "nothing"
        raise CheckpointError(
            f"{path}: holds {names}; expected tensors by name, alone or under {', '.join(WRAPPERS)}"
        )
    return "", dict(loaded)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            if "about" in (file.metadata() or {}):
                raise CheckpointError(f"{path}: a checkpoint of resnets already; use it as it is")
            # Copies: the file is mapped, and may change after it was read.
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except OSError:
        raise
    except (SafetensorError, ValueError, TypeError, RuntimeError, OverflowError, KeyError) as err:
        raise CheckpointError(
            f"{path}: not safetensors, cut short or damaged ({_one_line(err)})"
        ) from err


def _read_tfjs(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None, str]:
    """Return the tensors, the layers' settings and the SHA-256 of a TensorFlow.js layers model.

    Source: https://github.com/tensorflow/tfjs/tree/master/tfjs-converter, the weights manifest.
    """
    model = artifacts.read_json(path)
    if model.get("format", "layers-model") != "layers-model":
        raise CheckpointError(
            f"{path}: a TensorFlow.js {str(model['format'])[:40]!r}; only a layers-model can be "
            "read: convert the Keras model with tensorflowjs_converter, or give its .h5"
        )
    tensors: dict[str, Tensor] = {}
    files = [path]
    try:
        for group in model["weightsManifest"]:
            shards = [_shard(path, name) for name in group["paths"]]
            files += shards
            entries = [_tfjs_entry(path, entry) for entry in group["weights"]]
            for name, tensor in _tfjs_group(path, shards, entries):
                if name in tensors:
                    raise CheckpointError(f"{path}: damaged: names {name} twice")
                tensors[name] = tensor
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as err:
        raise CheckpointError(
            f"{path}: no weights manifest of a TensorFlow.js layers model, or damaged "
            f"({type(err).__name__}: {_one_line(err)})"
        ) from err
    topology = model.get("modelTopology")
    config = topology.get("model_config", topology) if isinstance(topology, dict) else None
    return tensors, keras_files.layers_of(config), _sha256(files)


def _shard(path: Path, name: str) -> Path:
    """Return where a shard lies, which must be in the model's own folder."""
    folder = path.parent.resolve()
    relative = PurePosixPath(name)
    found = (folder / relative).resolve()
    # A backslash and a drive lead elsewhere on Windows, a link anywhere.
    if relative.is_absolute() or "\\" in name or ":" in name or not found.is_relative_to(folder):
        raise CheckpointError(f"{path}: refused: its shard {name[:80]!r} lies outside its folder")
    if not found.is_file():
        raise CheckpointError(f"{path}: its shard {name} is missing; put it in {path.parent}")
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tensor of a weights manifest: where it lies in its group's bytes and how it is packed."""

    name: str
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    scale: float | None  # None: not packed into fewer bits
    least: float

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.stored.itemsize


def _tfjs_entry(path: Path, entry: Mapping[str, Any]) -> _Entry:
    name, dtype, shape = entry["name"], entry["dtype"], tuple(entry["shape"])
    packed = entry.get("quantization")
    kinds = _TFJS_DTYPES if packed is None else _TFJS_PACKED
    kind = dtype if packed is None else packed["dtype"]
    if type(name) is not str or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"the entry {str(name)[:60]}")
    if kind not in kinds or (packed is not None and dtype != "float32"):
        raise CheckpointError(
            f"{path}: {name} is {dtype} stored as {kind}; accepted: {', '.join(_TFJS_DTYPES)}, "
            f"and float32 stored as {', '.join(_TFJS_PACKED)}"
        )
    stored = np.dtype(kinds[kind])
    if packed is None or kind == "float16":
        return _Entry(name, shape, stored, None, 0.0)
    return _Entry(name, shape, stored, float(packed["scale"]), float(packed["min"]))


def _tfjs_group(
    path: Path, shards: list[Path], entries: list[_Entry]
) -> Iterable[tuple[str, Tensor]]:
    """Yield the tensors that lie one behind the other in a group's shards."""
    told = sum(entry.size_bytes for entry in entries)
    found = sum(shard.stat().st_size for shard in shards)
    if told != found:
        raise CheckpointError(
            f"{path}: its shards hold {found:,} bytes where its manifest tells {told:,}: "
            f"{_suspect(shards)} cut short or changed; fetch the model again"
        )
    content = bytearray()
    for shard in shards:
        content += shard.read_bytes()
    at = 0
    for entry in entries:
        count = math.prod(entry.shape)
        array = np.frombuffer(content, entry.stored, count, at).reshape(entry.shape)
        at += entry.size_bytes
        if entry.scale is not None:
            array = array.astype(np.float32) * np.float32(entry.scale) + np.float32(entry.least)
        elif entry.stored.kind == "b":
            array = np.frombuffer(array.tobytes(), np.uint8).reshape(entry.shape) != 0
        yield entry.name, torch.from_numpy(np.array(array))


def _suspect(shards: list[Path]) -> str:
    """Name the shard that is shorter than the first, if one but the last is."""
    sizes = [shard.stat().st_size for shard in shards]
    short = [s.name for s, size in zip(shards[:-1], sizes, strict=False) if size < max(sizes)]
    return f"{short[0]} is" if len(short) == 1 else "one is"


def _plain(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Return a tensor as float32 where it holds fractions, checked to be finite."""
    if not name.isprintable():
        raise CheckpointError(f"{path}: damaged: {name[:60]!r} is no name of a tensor")
    if tensor.is_complex():
        raise CheckpointError(f"{path}: {name} holds complex numbers; expected real ones")
    made = tensor.detach().contiguous()
    if not made.is_floating_point():
        return made
    try:
        made = made.to(torch.float32)
        finite = bool(made.isfinite().all())
    except (RuntimeError, NotImplementedError) as err:
        raise CheckpointError(f"{path}: {name} is {tensor.dtype}, which is not accepted") from err
    if not finite:
        raise CheckpointError(
            f"{path}: {name} holds values that are not finite numbers; these weights are of no use"
        )
    return made


def _sha256(files: Iterable[Path]) -> str:
    made = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                made.update(chunk)
    return made.hexdigest()


def _one_line(err: BaseException, most: int = 120) -> str:
    return " ".join(str(err).split())[:most]
