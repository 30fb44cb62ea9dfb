"""Read the weights of Keras: the .h5 of Keras 1 and 2, the .weights.h5 and .keras of Keras 3.

Only what `h5py` reads as numbers and text is read; a file with links or with data elsewhere is
refused. The HDF5 library can crash or search for ever in a damaged file, so it works in a process
of its own: this module is also that process's program.
"""

import importlib.util
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file, save_file

from resnets.core.errors import CheckpointError

# What an h5 may unpack to, in multiples of its size: its numbers may be compressed.
_MOST_UNPACKED: Final = 16
_PATIENCE_S: Final = 60.0
_SLOWEST_BYTES_PER_S: Final = 5e6
_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"  # in a .keras
_KEPT: Final = ("strides", "dilation_rate", "epsilon")  # of a layer's settings
# What Keras 1 called them. Its running_std is a variance, only its name says otherwise.
_KERAS_1: Final = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
_NORM: Final = ("gamma", "beta", "moving_mean", "moving_variance")


def is_archive(path: Path) -> bool:
    """Tell whether a zip is a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _WEIGHTS in archive.namelist()
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError):
        return False


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Return the arrays of a Keras file by `layer/variable`, and its layers' settings or None.

    The variable is `kernel`, `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance`, or what
    the file calls it where that is none of them.

    Raises:
        CheckpointError: It is damaged, holds no weights, or reaches out of itself; or h5py is not
            installed.
    """
    if importlib.util.find_spec("h5py") is None:
        raise CheckpointError(
            f'{path}: reading a file of Keras needs h5py: pip install "resnets[keras]"'
        )
    limit_s = _PATIENCE_S + path.stat().st_size / _SLOWEST_BYTES_PER_S
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.safetensors"
        # -P: what lies in the current folder is not imported.
        program = [sys.executable, "-P", "-m", __name__, str(path.absolute()), str(arrays)]
        try:
            ran = subprocess.run(program, capture_output=True, timeout=limit_s, check=True)
            told = json.loads(ran.stdout)
        except subprocess.TimeoutExpired as err:
            raise CheckpointError(
                f"{path}: damaged: the HDF5 library came to no end within {limit_s:.0f} s"
            ) from err
        except (subprocess.CalledProcessError, ValueError) as err:
            raise CheckpointError(f"{path}: damaged: the HDF5 library failed over it") from err
        if "refused" in told:
            raise CheckpointError(f"{path}: {told['refused']}")
        found = load_file(arrays)
    return {name: found[name] for name in told["names"]}, told["layers"]


def read_here(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Do what `read` does in this process, where a damaged file may be its end.

    Raises:
        CheckpointError: As `read`, without the path in front.
    """
    import h5py  # type: ignore[import-untyped,unused-ignore]  # only these files need it

    size_bytes = path.stat().st_size
    config: Any = None
    try:
        if zipfile.is_zipfile(path):
            content, config = _unzipped(path, size_bytes)
            opened = h5py.File(content, "r")
        else:
            opened = h5py.File(path, "r")
        with opened as file:
            _refuse_links(file, h5py)
            return _contents(file, config, size_bytes)
    except CheckpointError:
        raise
    except Exception as err:  # h5py tells of damage by whatever its C library or Python meet
        said = " ".join(str(err).split())[:120]
        raise CheckpointError(f"not a weight file of Keras, cut short or damaged ({said})") from err


def layers_of(config: Any) -> dict[str, Any] | None:
    """Return the settings in `_KEPT` of every layer by name from a model's configuration, or None.

    The layers of models within the model are among them.
    """
    if not isinstance(config, dict):
        return None
    found: dict[str, Any] = {}
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        inner = node.get("config") if isinstance(node, dict) else None
        layers = inner.get("layers") if isinstance(inner, dict) else inner
        if isinstance(layers, list):
            waiting += reversed(layers)
        elif isinstance(inner, dict) and isinstance(name := inner.get("name"), str):
            found[name] = {key: inner[key] for key in _KEPT if key in inner}
    return found or None


def _unzipped(path: Path, size_bytes: int) -> tuple[io.BytesIO, Any]:
    with zipfile.ZipFile(path) as archive:
        told = archive.getinfo(_WEIGHTS).file_size
        if told > _MOST_UNPACKED * size_bytes:
            raise CheckpointError(f"damaged: claims {told:,} bytes of weights")
        with archive.open(_WEIGHTS) as packed:
            content = io.BytesIO(packed.read(told))
        config = None
        if _CONFIG in archive.namelist():
            with archive.open(_CONFIG) as packed:
                config = json.loads(packed.read(size_bytes + (1 << 20)))
    return content, config


def _refuse_links(file: Any, h5py: Any) -> None:
    def look(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else name

    if (found := file.visititems_links(look)) is not None:
        raise CheckpointError(
            f"refused: {found} is a link, perhaps out of the file; Keras writes none"
        )


def _contents(
    file: Any, config: Any, size_bytes: int
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    if "model_config" in file.attrs:
        config = json.loads(_text(file.attrs["model_config"]))
    root = file.get("model_weights", file)
    found = _named(root) if _listing(root, "layer_names") is not None else _numbered(file)
    arrays: dict[str, np.ndarray] = {}
    taken = 0
    for name, dataset in found:
        if name in arrays:
            raise CheckpointError(f"names {name} twice")
        if dataset.external is not None or dataset.is_virtual:
            raise CheckpointError(f"refused: the numbers of {name} lie outside the file")
        if dataset.dtype.kind not in "fiub":
            raise CheckpointError(f"{name} holds {dataset.dtype}; expected numbers")
        taken += dataset.size * dataset.dtype.itemsize
        if taken > _MOST_UNPACKED * size_bytes:
            raise CheckpointError(
                f"damaged: a file of {size_bytes:,} bytes claims {taken:,} of weights"
            )
        array = np.asarray(dataset[()])
        arrays[name] = _native(array)
    return arrays, layers_of(config)


def _native(array: np.ndarray) -> np.ndarray:
    """Return numbers in this machine's byte order, fractions as float32."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="))


def _named(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield the data sets of the older layout: lists of layers and of each layer's weights."""
    for layer in _listing(root, "layer_names") or []:
        group = root[layer]
        names = _listing(group, "weight_names") or []
        # In a model within the model the weights of many layers stand in one group.
        many = len({name.split("/")[-2] for name in names if "/" in name}) > 1
        for name in names:
            *scopes, last = name.split("/")
            owner = scopes[-1] if many and scopes else layer
            yield f"{owner}/{_variable(owner, last)}", group[name]


def _variable(layer: str, name: str) -> str:
    """Return what a weight is: `conv1_W_1:0` of the layer `conv1` is its kernel."""
    bare = name.split(":")[0].removeprefix(f"{layer}_")
    counted = re.fullmatch(r"(.+?)_\d+", bare)  # TensorFlow tells equal names apart by a number
    bare = counted[1] if counted else bare
    return _KERAS_1.get(bare, bare)


def _numbered(file: Any) -> Iterator[tuple[str, Any]]:
    """Yield the data sets of Keras 3's layout: each layer's variables by number.

    Source: https://github.com/keras-team/keras/blob/master/keras/src/saving/saving_lib.py
    """
    groups: list[Any] = []
    file.visititems(lambda name, o: groups.append((name, o)) if name.endswith("vars") else None)
    if not groups:
        raise CheckpointError("an HDF5 file without the weights of a Keras model")
    for name, group in groups:
        if not hasattr(group, "keys") or not len(group):
            continue
        place = name.removesuffix("vars").rstrip("/")
        told = group.attrs.get("name")
        layer = _text(told) if told is not None else place.rsplit("/", 1)[-1]
        if place.split("/")[0] == "optimizer":
            continue
        datasets = [group[str(i)] for i in range(len(group))]
        sides = [len(dataset.shape) for dataset in datasets]
        if sides[0] >= 2 and sides[1:] in ([], [1]):
            variables: tuple[str, ...] = ("kernel", "bias")
        elif sides == [1, 1, 1, 1]:
            variables = _NORM
        else:
            raise CheckpointError(
                f"nothing tells what the {len(sides)} variables of the layer {layer} are"
            )
        for variable, dataset in zip(variables, datasets, strict=False):
            yield f"{layer}/{variable}", dataset


def _listing(group: Any, name: str) -> list[str] | None:
    """Return a list of names kept as an attribute, which Keras cuts up where it is long."""
    if name in group.attrs:
        return [_text(one) for one in group.attrs[name]]
    cut: list[str] = []
    part = 0
    while f"{name}{part}" in group.attrs:
        cut += [_text(one) for one in group.attrs[f"{name}{part}"]]
        part += 1
    return cut or None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _work(path: Path, arrays: Path) -> None:
    """Be the process that reads: write the arrays, and tell of the rest on standard output."""
    try:
        found, layers = read_here(path)
        save_file({n: np.ascontiguousarray(a) for n, a in found.items()}, arrays)
        told: dict[str, Any] = {"names": list(found), "layers": layers}
    except CheckpointError as err:
        told = {"refused": str(err)}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Path(sys.argv[2]))
