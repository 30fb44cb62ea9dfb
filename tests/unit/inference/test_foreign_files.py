import hashlib
import io
import json
import os
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, StorageError
from resnets.inference import foreign_files, keras_files

IN_A_PROCESS = keras_files.read


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Read Keras files in this process: starting one for each takes half a second."""

    def read(path):
        try:
            return keras_files.read_here(path)
        except CheckpointError as err:
            raise CheckpointError(f"{path}: {err}") from err

    monkeypatch.setattr(keras_files, "read", read)


def weights():
    draw = torch.Generator().manual_seed(0)
    return {
        "conv1.weight": torch.randn(4, 3, 3, 3, generator=draw),
        "bn1.running_var": torch.rand(4, generator=draw),
        "bn1.num_batches_tracked": torch.tensor(7),
    }


def refusal(path, error=CheckpointError):
    with pytest.raises(error) as caught:
        foreign_files.read(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def same(found, expected):
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
        assert found[name].dtype == tensor.dtype


@pytest.fixture
def saved(tmp_path):
    def save(value, name="weights.pth", **options):
        torch.save(value, tmp_path / name, **options)
        return tmp_path / name

    return save


# --- PyTorch


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.pt", "pytorch_model.bin", "w"])
def test_a_pytorch_file_gives_its_tensors_whatever_its_name(saved, zipped, name):
    path = saved(OrderedDict(weights()), name, _use_new_zipfile_serialization=zipped)
    found = foreign_files.read(path)
    assert (found.format, found.part, found.layers, found.path) == ("pytorch", "", None, path)
    same(found.tensors, weights())


def test_the_sha256_is_of_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(weights(), path)
    assert foreign_files.read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parameters_become_plain_tensors_that_learn_nothing(saved):
    value = {"w": nn.Parameter(torch.ones(2)), "v": torch.ones(2, requires_grad=True)}
    found = foreign_files.read(saved(value)).tensors
    assert [type(t) for t in found.values()] == [torch.Tensor] * 2
    assert not any(t.requires_grad for t in found.values())


def test_fractions_of_any_width_become_float32_and_whole_numbers_stay(saved):
    value = {
        "half": torch.tensor([1.5], dtype=torch.float16),
        "brain": torch.tensor([1.5], dtype=torch.bfloat16),
        "double": torch.tensor([1.5], dtype=torch.float64),
        "bytes": torch.tensor([3], dtype=torch.uint8),
    }
    found = foreign_files.read(saved(value)).tensors
    for name in ("half", "brain", "double"):
        assert found[name].dtype == torch.float32
        assert found[name].item() == 1.5
    assert found["bytes"].dtype == torch.uint8


@pytest.mark.parametrize("part", foreign_files.WRAPPERS)
def test_the_customary_wrappers_are_taken_off_and_what_stands_beside_is_left(saved, part):
    path = saved({"epoch": 90, "optimizer": {"state": [1]}, part: weights(), "best": None})
    found = foreign_files.read(path)
    assert found.part == part
    same(found.tensors, weights())


def test_an_average_of_the_weights_is_taken_before_the_weights(saved):
    other = {"conv1.weight": torch.zeros(1)}
    for averaged in ("model_ema", "state_dict_ema"):
        found = foreign_files.read(
            saved({"model": other, "state_dict": other, averaged: weights()})
        )
        assert found.part == averaged
        same(found.tensors, weights())


def test_an_average_that_was_not_kept_is_passed_over(saved):
    found = foreign_files.read(saved({"model_ema": None, "state_dict_ema": {}, "model": weights()}))
    assert found.part == "model"


def test_unknown_names_at_the_top_are_told(saved):
    message = refusal(saved({"net": weights(), "epoch": 3}))
    assert "'net', 'epoch'" in message
    assert "state_dict" in message
    assert "holds a list" in refusal(saved([torch.ones(1)]))
    assert "holds a Tensor" in refusal(saved(torch.ones(1)))
    assert "nothing" in refusal(saved({}))


def test_what_is_not_a_tensor_is_ignored_only_beside_a_wrapper(saved):
    assert "'epoch' is not a plain tensor" in refusal(saved({**weights(), "epoch": 3}))
    inside = {"state_dict": {**weights(), "epoch": 3}}
    assert "'epoch' is not a plain tensor" in refusal(saved(inside))
    assert "1 is not a plain tensor" in refusal(saved({1: torch.ones(1)}))


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "wrapped"])
def test_a_file_made_to_run_code_runs_none(saved, tmp_path, form):
    mark = tmp_path / "ran"
    if form == "pickle":
        path = tmp_path / "weights.pth"
        path.write_bytes(pickle.dumps({"w": Bomb(mark)}, protocol=2))
    elif form == "wrapped":
        path = saved({"state_dict": weights(), "epoch": Bomb(mark)})
    else:
        path = saved({"w": Bomb(mark)}, _use_new_zipfile_serialization=form == "zip")
    message = refusal(path)
    assert "it holds code (posix.system), which is never run" in message or form == "pickle"
    assert not mark.exists()
    if form == "zip":  # the bomb is one
        torch.load(path, weights_only=False)
        assert mark.exists()


def test_a_whole_pickled_network_is_code_and_the_message_says_what_to_save(saved):
    message = refusal(saved(nn.Linear(2, 2)))
    assert "it holds code (torch.nn.modules.linear.Linear)" in message
    assert "torch.save(model.state_dict(), FILE)" in message


def test_torchscript_is_code(tmp_path):
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("script/code/__torch__.py", "import os")
        archive.writestr("script/data.pkl", b"")
    assert "holds code (TorchScript)" in refusal(path)


def test_a_zip_that_claims_to_be_of_many_disks_is_refused(saved):
    path = saved(weights())
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x06\x07")  # the locator: how many disks there are
    content[at + 16 : at + 20] = b"\x07\x00\x00\x00"
    path.write_bytes(content)
    refusal(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pytorch_file_cut_anywhere_is_refused(saved, zipped, tmp_path):
    content = saved(weights(), _use_new_zipfile_serialization=zipped).read_bytes()
    cut = tmp_path / "cut.pth"
    for length in {1, 2, 9, 100, len(content) // 3, len(content) // 2, len(content) - 1}:
        cut.write_bytes(content[:length])
        refusal(cut)


def flipped(content, count):
    draw = np.random.default_rng(0)
    for at in draw.integers(0, len(content), count):
        made = bytearray(content)
        made[at] ^= 1 << int(draw.integers(8))
        yield bytes(made)


def test_a_zipped_pytorch_file_with_a_changed_bit_is_refused_or_reads_the_same(saved, tmp_path):
    content = saved(weights()).read_bytes()
    refused = 0
    for changed in flipped(content, 250):
        path = tmp_path / "changed.pth"
        path.write_bytes(changed)
        try:
            found = foreign_files.read(path).tensors
        except CheckpointError:
            refused += 1
            refusal(path)
        else:
            same(found, weights())
    assert refused > 50


def test_tensors_that_claim_more_than_the_file_holds_are_refused(saved):
    assert "claims" in refusal(saved({"w": torch.zeros(1).expand(10**12)}))


def test_storage_made_up_while_reading_is_refused(tmp_path):
    # torch.FloatTensor(10**9) is a call that weights-only reading allows.
    class Large:
        def __reduce__(self):
            return torch.FloatTensor, (10**9,)

    torch.save({"w": Large()}, tmp_path / "w.pth")
    assert "claims" in refusal(tmp_path / "w.pth")


def test_an_archive_that_unpacks_to_far_more_than_it_is_large_is_refused(saved, tmp_path):
    path = saved({"w": torch.zeros(10**6)})
    with (
        zipfile.ZipFile(path) as archive,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in archive.namelist():
            bomb.writestr(name, archive.read(name))
    assert "claims" in refusal(tmp_path / "bomb.pth")


def test_tied_weights_may_share_their_numbers(saved):
    one = torch.randn(100_000)
    found = foreign_files.read(saved({"a": one, "b": one})).tensors
    assert torch.equal(found["a"], found["b"])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(2, 2).to_sparse(), "w is a sparse, quantized or empty tensor"),
        (torch.ones(2, device="meta"), "w is a sparse, quantized or empty tensor"),
        (torch.ones(2, dtype=torch.complex64), "w holds complex numbers"),
        (torch.tensor([1.0, float("nan")]), "w holds values that are not finite"),
        (torch.tensor([1.0, float("-inf")]), "w holds values that are not finite"),
        (torch.tensor([1e300], dtype=torch.float64), "w holds values that are not finite"),
    ],
    ids=["sparse", "meta", "complex", "nan", "infinite", "too large"],
)
def test_what_are_not_plain_finite_numbers_is_refused_by_name(saved, value, words):
    assert words in refusal(saved({"good": torch.ones(1), "w": value}))


# --- safetensors


@pytest.fixture
def safe(tmp_path):
    save_file(weights(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def test_foreign_safetensors_give_their_tensors(safe):
    found = foreign_files.read(safe)
    assert found.format == "safetensors"
    same(dict(sorted(found.tensors.items())), dict(sorted(weights().items())))
    renamed = safe.rename(safe.with_suffix(".bin"))
    assert foreign_files.read(renamed).format == "safetensors"


def test_a_checkpoint_of_ours_is_told_to_be_one(tmp_path):
    artifacts.save_tensors(tmp_path / "ours.safetensors", weights(), {"recipe": {}})
    assert "a checkpoint of resnets already" in refusal(tmp_path / "ours.safetensors")


def test_safetensors_cut_anywhere_are_refused(safe, tmp_path):
    content = safe.read_bytes()
    for length in (1, 8, 9, 60, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.safetensors").write_bytes(content[:length])
        refusal(tmp_path / "cut.safetensors")


def test_not_a_number_is_found_in_safetensors_too(tmp_path):
    save_file({"w": torch.tensor([float("nan")])}, tmp_path / "w.safetensors")
    assert "w holds values that are not finite" in refusal(tmp_path / "w.safetensors")


# --- TensorFlow.js

CONV = {"name": "conv1", "strides": [2, 2], "padding": "valid", "use_bias": True, "trainable": True}
NORM = {"name": "bn", "epsilon": 0.001, "momentum": 0.9}
TOPOLOGY = {
    "model_config": {
        "class_name": "Model",
        "config": {
            "name": "net",
            "layers": [
                {"class_name": "Conv2D", "name": "conv1", "config": CONV},
                {
                    "class_name": "Model",
                    "name": "inner",
                    "config": {
                        "name": "inner",
                        "layers": [{"class_name": "BatchNormalization", "config": NORM}],
                    },
                },
            ],
        },
    }
}
LAYERS = {"conv1": {"strides": [2, 2]}, "bn": {"epsilon": 0.001}}


class Js:
    """A layers model on disk, and what its manifest says."""

    def __init__(self, folder):
        self.folder = folder
        draw = np.random.default_rng(0)
        self.kernel = draw.normal(size=(3, 3, 3, 4)).astype("<f4")
        self.gamma = draw.normal(size=4).astype("<f4")
        self.content = self.kernel.tobytes() + self.gamma.tobytes()
        self.paths = ["shard1of3.bin", "shard2of3.bin", "shard3of3.bin"]
        self.weights = [
            {"name": "conv1/kernel", "shape": [3, 3, 3, 4], "dtype": "float32"},
            {"name": "bn/gamma", "shape": [4], "dtype": "float32"},
        ]
        self.more = {"format": "layers-model", "modelTopology": TOPOLOGY}

    def write(self):
        parts = [self.content[:200], self.content[200:400], self.content[400:]]
        for name, part in zip(self.paths, parts, strict=False):
            (self.folder / name).write_bytes(part)
        manifest = [{"paths": self.paths, "weights": self.weights}]
        model = self.more | {"weightsManifest": manifest}
        (self.folder / "model.json").write_text(json.dumps(model))
        return self.folder


@pytest.fixture
def js(tmp_path):
    folder = tmp_path / "js"
    folder.mkdir()
    return Js(folder)


def test_a_tensorflow_js_model_is_read_from_its_folder_or_its_json(js):
    found = foreign_files.read(js.write())
    assert found.format == "tfjs"
    assert found.layers == LAYERS
    same(
        found.tensors,
        {"conv1/kernel": torch.tensor(js.kernel), "bn/gamma": torch.tensor(js.gamma)},
    )
    everything = (js.folder / "model.json").read_bytes() + js.content
    assert found.sha256 == hashlib.sha256(everything).hexdigest()
    assert foreign_files.read(js.folder / "model.json").sha256 == found.sha256


def test_weights_packed_into_fewer_bits_are_unpacked(js):
    js.weights = [
        {
            "name": f"{kind}/kernel",
            "shape": [2],
            "dtype": "float32",
            "quantization": {"dtype": kind, "scale": 0.5, "min": -1.0},
        }
        for kind in ("uint8", "uint16")
    ]
    js.weights += [
        {
            "name": "half/kernel",
            "shape": [2],
            "dtype": "float32",
            "quantization": {"dtype": "float16"},
        },
        {"name": "steps", "shape": [], "dtype": "int32"},
        {"name": "flag", "shape": [1], "dtype": "bool"},
    ]
    js.content = (
        np.array([0, 4], "|u1").tobytes()
        + np.array([2, 1000], "<u2").tobytes()
        + np.array([0.25, -8], "<f2").tobytes()
        + np.array(7, "<i4").tobytes()
        + b"\x01"
    )
    found = foreign_files.read(js.write()).tensors
    assert found["uint8/kernel"].tolist() == [-1.0, 1.0]
    assert found["uint16/kernel"].tolist() == [0.0, 499.0]
    assert found["half/kernel"].tolist() == [0.25, -8.0]
    assert found["half/kernel"].dtype == torch.float32
    assert found["steps"].item() == 7
    assert found["flag"].tolist() == [True]


@pytest.mark.parametrize("change", ["cut", "longer", "missing"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_shard_that_is_not_as_the_manifest_tells_is_refused(js, change, number):
    shard = js.write() / f"shard{number}of3.bin"
    if change == "missing":
        shard.unlink()
        assert f"its shard {shard.name} is missing" in refusal(js.folder)
        return
    content = shard.read_bytes()
    shard.write_bytes(content[:-4] if change == "cut" else content + b"1234")
    assert "cut short or changed" in refusal(js.folder)


@pytest.mark.parametrize(
    "name", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "..\\secret.bin", "C:secret.bin"]
)
def test_a_shard_outside_the_folder_is_refused(js, name, tmp_path):
    (tmp_path / "secret.bin").write_bytes(js.content)
    js.paths = [name]
    (js.folder / "model.json").write_text(
        json.dumps({"weightsManifest": [{"paths": [name], "weights": js.weights}]})
    )
    assert "lies outside its folder" in refusal(js.folder)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(js, tmp_path):
    shard = js.write() / "shard1of3.bin"
    shard.rename(tmp_path / "elsewhere.bin")
    shard.symlink_to(tmp_path / "elsewhere.bin")
    assert "lies outside its folder" in refusal(js.folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "string"},
        {"dtype": "complex64"},
        {"quantization": {"dtype": "uint4", "scale": 1, "min": 0}},
        {"quantization": {"dtype": "uint8"}},
        {"quantization": 3},
        {"shape": [-1]},
        {"shape": "four"},
        {"shape": [2.0]},
        {"shape": None},
        {"name": 3},
        {"name": "conv1/kernel"},
    ],
)
def test_an_entry_that_cannot_be_is_refused(js, entry):
    js.weights[1] = js.weights[1] | entry
    refusal(js.write())


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"weightsManifest": None},
        {"weightsManifest": [3]},
        {"weightsManifest": [{"paths": 3, "weights": []}]},
        {"weightsManifest": []},
        {"format": "graph-model", "weightsManifest": []},
        [],
    ],
)
def test_a_json_that_is_no_layers_model_is_refused(js, model):
    (js.folder / "model.json").write_text(json.dumps(model))
    refusal(js.folder)
    (js.folder / "model.json").write_text('{"a": ')
    refusal(js.folder)


# --- Keras


def arrays(prefix=""):
    draw = np.random.default_rng(0)
    shapes = {"kernel": (3, 3, 3, 4), "bias": (4,)}
    made = {f"conv1/{k}": draw.normal(size=s).astype("f4") for k, s in shapes.items()}
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        made[f"bn_conv1/{name}"] = draw.normal(size=4).astype("f4")
    return made


def legacy(file, weight_name, *, cut_up=False):
    """Write the layout of Keras 1 and 2."""
    layers = {}
    for name, array in arrays().items():
        layers.setdefault(name.split("/")[0], []).append((weight_name(*name.split("/")), array))
    names = [name.encode() for name in layers]
    if cut_up:
        for number, name in enumerate(names):
            file.attrs[f"layer_names{number}"] = [name]
    else:
        file.attrs["layer_names"] = [*names, b"relu"]
        file.create_group("relu").attrs["weight_names"] = np.array([], "S1")
    for layer, weights in layers.items():
        group = file.create_group(layer)
        group.attrs["weight_names"] = [name.encode() for name, _ in weights]
        for name, array in weights:
            group[name] = array


KERAS_1 = {"kernel": "W", "bias": "b", "moving_mean": "running_mean"}
KERAS_1 |= {"moving_variance": "running_std"}
STYLES = {
    "keras 1": lambda layer, variable: f"{layer}_{KERAS_1.get(variable, variable)}:0",
    "keras 1 twice": lambda layer, variable: (
        f"{layer}/{layer}_{KERAS_1.get(variable, variable)}_1:0"
    ),
    "keras 2": lambda layer, variable: f"{layer}/{variable}:0",
    "keras 2 nested": lambda layer, variable: f"{layer}/{layer}_1/{variable}:0",
    "keras 3": lambda layer, variable: f"{layer}/{variable}",
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("cut_up", [False, True], ids=["", "long lists"])
def test_the_names_of_every_keras_become_layer_and_variable(tmp_path, style, cut_up):
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        legacy(file, STYLES[style], cut_up=cut_up)
    found = foreign_files.read(path)
    assert (found.format, found.layers) == ("keras-h5", None)
    same(found.tensors, {name: torch.tensor(array) for name, array in arrays().items()})


def test_a_whole_keras_model_tells_its_layers(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        legacy(file.create_group("model_weights"), STYLES["keras 2"])
        file.attrs["model_config"] = json.dumps(TOPOLOGY["model_config"])
        file.create_group("optimizer_weights")["momentum"] = np.ones(3)
    found = foreign_files.read(tmp_path / "model.h5")
    assert found.layers == LAYERS
    same(found.tensors, {name: torch.tensor(array) for name, array in arrays().items()})


def test_the_layers_of_a_model_within_a_model_keep_their_names(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs["layer_names"] = [b"inner"]
        group = file.create_group("inner")
        group.attrs["weight_names"] = [f"{name}:0".encode() for name in arrays()]
        for name, array in arrays().items():
            group[f"{name}:0"] = array
    found = foreign_files.read(tmp_path / "model.h5").tensors
    same(found, {name: torch.tensor(array) for name, array in arrays().items()})


def keras_3(target, *, named=True):
    with h5py.File(target, "w") as file:
        file.create_group("vars").attrs["name"] = "functional"
        file.create_group("optimizer/vars")["0"] = np.ones(3)
        for group, layer in (("conv2d", "conv1"), ("batch_normalization", "bn_conv1")):
            place = file.create_group(f"layers/{group}/vars")
            if named:
                place.attrs["name"] = layer
            chosen = [a for name, a in arrays().items() if name.startswith(f"{layer}/")]
            for number, array in enumerate(chosen):
                place[str(number)] = array


def test_the_numbered_variables_of_keras_3_get_their_names(tmp_path):
    keras_3(tmp_path / "model.weights.h5")
    found = foreign_files.read(tmp_path / "model.weights.h5").tensors
    expected = {name: torch.tensor(array) for name, array in arrays().items()}
    same(dict(sorted(found.items())), dict(sorted(expected.items())))


def test_layers_without_a_name_are_called_by_their_place(tmp_path):
    keras_3(tmp_path / "model.weights.h5", named=False)
    found = foreign_files.read(tmp_path / "model.weights.h5").tensors
    assert {name.split("/")[0] for name in found} == {"conv2d", "batch_normalization"}


def test_a_keras_archive_gives_weights_and_layers(tmp_path):
    keras_3(content := io.BytesIO())
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps(TOPOLOGY["model_config"]))
        archive.writestr("model.weights.h5", content.getvalue())
    found = foreign_files.read(tmp_path / "model.keras")
    assert (found.format, found.layers) == ("keras-h5", LAYERS)
    assert torch.equal(found.tensors["conv1/kernel"], torch.tensor(arrays()["conv1/kernel"]))
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**7))
    assert "claims" in refusal(tmp_path / "bomb.keras")


def test_variables_whose_meaning_nothing_tells_are_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("layers/batch_normalization/vars")
        for number in range(3):
            group[str(number)] = np.ones(4)
    assert "nothing tells what the 3 variables" in refusal(tmp_path / "w.h5")


@pytest.mark.parametrize("kind", ["external", "soft", "storage", "virtual"])
def test_an_h5_that_reaches_out_of_itself_is_refused(tmp_path, kind):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.ones(4, "f4")
    (tmp_path / "secret.bin").write_bytes(np.ones(4, "f4").tobytes())
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"fc"]
        group = file.create_group("fc")
        group.attrs["weight_names"] = [b"bias:0"]
        if kind == "external":
            group["bias:0"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "secret")
        elif kind == "soft":
            group["bias:0"] = h5py.SoftLink("/elsewhere")
        elif kind == "storage":
            outside = [(str(tmp_path / "secret.bin"), 0, 16)]
            group.create_dataset("bias:0", (4,), "f4", external=outside)
        else:
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "secret", (4,))
            group.create_virtual_dataset("bias:0", layout)
    assert "refused" in refusal(tmp_path / "w.h5")


def test_an_h5_that_claims_more_than_it_holds_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"fc"]
        group = file.create_group("fc")
        group.attrs["weight_names"] = [b"bias:0"]
        group.create_dataset("bias:0", (10**11,), "f4", chunks=(1000,))
    assert "claims" in refusal(tmp_path / "w.h5")


def test_text_in_the_place_of_numbers_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names"] = [b"fc"]
        group = file.create_group("fc")
        group.attrs["weight_names"] = [b"bias:0"]
        group["bias:0"] = ["a", "b"]
    assert "expected numbers" in refusal(tmp_path / "w.h5")


def test_an_h5_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["images"] = np.ones(3)
    assert "without the weights of a Keras model" in refusal(tmp_path / "images.h5")


def test_an_h5_cut_anywhere_is_refused(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        legacy(file, STYLES["keras 2"])
    content = (tmp_path / "w.h5").read_bytes()
    for length in (9, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        refusal(tmp_path / "cut.h5")


def test_without_h5py_one_line_says_what_to_install(tmp_path, monkeypatch):
    keras_3(tmp_path / "w.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(keras_files, "read", IN_A_PROCESS)
    assert 'pip install "resnets[keras]"' in refusal(tmp_path / "w.h5")


def test_a_process_of_its_own_reads_the_same_and_imports_nothing_from_here(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        legacy(file.create_group("model_weights"), STYLES["keras 2"])
        file.attrs["model_config"] = json.dumps(TOPOLOGY["model_config"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h5py.py").write_text("raise SystemExit('ran')")
    here = foreign_files.read(tmp_path / "model.h5")
    monkeypatch.setattr(keras_files, "read", IN_A_PROCESS)
    found = foreign_files.read(Path("model.h5"))
    same(found.tensors, here.tensors)
    assert found.layers == here.layers == LAYERS
    (tmp_path / "cut.h5").write_bytes((tmp_path / "model.h5").read_bytes()[:900])
    assert f"{tmp_path}/cut.h5: not a weight file of Keras" in refusal(tmp_path / "cut.h5")


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for Python is a shell script")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -SEGV $$", "the HDF5 library failed over it"),
        ("exit 0", "the HDF5 library failed over it"),
        ("exec sleep 20", "the HDF5 library came to no end within 0 s"),
    ],
)
def test_a_file_that_breaks_the_hdf5_library_is_refused(tmp_path, monkeypatch, script, words):
    keras_3(tmp_path / "w.h5")
    (tmp_path / "python").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(keras_files, "_PATIENCE_S", 0.4)
    monkeypatch.setattr(keras_files, "read", IN_A_PROCESS)
    assert words in refusal(tmp_path / "w.h5")


# --- all kinds


def kinds(tmp_path):
    """A file of each kind, but of Keras: in a damaged one the HDF5 library may look for ever."""
    save_file(weights(), tmp_path / "w.safetensors")
    torch.save(weights(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "js").mkdir()
    Js(tmp_path / "js").write()
    return [tmp_path / name for name in ("w.safetensors", "w.pth", "js/model.json")]


def test_a_changed_bit_gives_finite_tensors_or_one_line(tmp_path):
    for path in kinds(tmp_path):
        for changed in flipped(path.read_bytes(), 120):
            path.write_bytes(changed)
            try:
                found = foreign_files.read(path)
            except CheckpointError:
                refusal(path)
            else:
                assert all(bool(t.isfinite().all()) for t in found.tensors.values())


def test_a_name_cannot_break_or_paint_the_line_of_a_message(saved, js):
    for name in ("a\nb", "\x1b[31m"):
        for value in ({name: torch.ones(1)}, {name: 3}, {name: torch.tensor(float("nan"))}):
            assert "\x1b" not in refusal(saved({**weights(), **value}))
        js.weights[1]["name"] = name
        js.paths[1] = f"shard{name}.bin"
        assert "\x1b" not in refusal(js.write())


@pytest.mark.parametrize("content", [b"", b"x", b"hello" * 50, b"\x89PNG\r\n\x1a\n" + bytes(50)])
def test_a_file_of_another_kind_is_refused_with_what_is_accepted(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    assert foreign_files.ACCEPTED in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["w.pth", "w.h5", "w.safetensors", "w.keras", "model.json"])
def test_what_is_not_there_is_said(tmp_path, name):
    folder = tmp_path / "not" / "there"
    assert "there is no such file" in refusal(folder / name)


def test_a_folder_without_a_model_is_refused_with_what_is_accepted(tmp_path):
    message = refusal(tmp_path)
    assert f"{tmp_path}: has no model.json" in message
    assert foreign_files.ACCEPTED in message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "not a file" in refusal(tmp_path / "pipe.pth")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_a_storage_error(saved):
    path = saved(weights())
    path.chmod(0)
    assert "may not be read" in refusal(path, StorageError)


def test_a_pickle_of_another_protocol_is_not_run_either(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'RAN'}",)

    file = tmp_path / "bomb.pth"
    file.write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=4))
    with pytest.raises(CheckpointError, match="which is never run") as caught:
        foreign_files.read(file)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "RAN").exists()
