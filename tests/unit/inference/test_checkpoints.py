import hashlib

import pytest
import torch

from resnets.core import artifacts
from resnets.core.errors import CheckpointError
from resnets.data import batches, synthetic
from resnets.inference import checkpoints


@pytest.fixture(scope="module")
def stored(finished):
    """The tensors and the description in the finished run's file."""
    return artifacts.load_tensors(finished / checkpoints.FINISHED)


def changed(stored, path, *, without=(), about=None, **tensors):
    """Write the checkpoint with some tensors replaced or left out, or another description."""
    old, told = stored
    kept = {name: tensor for name, tensor in old.items() if name not in without}
    artifacts.save_tensors(path, kept | tensors, told if about is None else about)
    return path


def test_a_run_opens_by_its_folder_and_by_its_file(finished):
    by_folder = checkpoints.newest(finished)
    by_file = checkpoints.newest(str(finished / "model.safetensors"))
    assert by_folder.path == by_file.path == finished / "model.safetensors"
    assert by_folder.weights_sha256 == by_file.weights_sha256
    assert by_folder.recipe.total_steps == 6
    assert by_folder.about["classes"] == list(synthetic.make().classes)
    assert by_folder.optimizer == {}
    assert torch.equal(by_folder.mean_hwc, batches.mean_image(synthetic.make().train))


def test_the_hash_of_the_weights_is_over_their_bytes_in_the_order_of_their_names(finished):
    checkpoint = checkpoints.newest(finished)
    made = hashlib.sha256()
    for name in sorted(checkpoint.model):
        made.update(checkpoint.model[name].numpy().tobytes())
    assert checkpoint.weights_sha256 == made.hexdigest()


def test_the_network_has_the_checkpoints_weights_and_is_ready_to_predict(finished):
    checkpoint = checkpoints.newest(finished)
    network = checkpoint.network()
    assert not network.training
    loaded = network.state_dict()
    assert set(loaded) == set(checkpoint.model)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in checkpoint.model.items())
    weight = network.stem.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert checkpoint.network() is not network


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"without": ["model.head.weight"]}, "head.weight"),
        ({"model.head.weight": torch.zeros(5, 64)}, "head.weight"),
        ({"model.head.bias": torch.zeros(())}, "head.bias"),
        ({"model.head.bias": torch.zeros(4, dtype=torch.int64)}, "head.bias"),
        ({"model.other": torch.zeros(3)}, "other"),
        ({"without": ["model.stem.bn1.running_mean"]}, "stem.bn1.running_mean"),
    ],
    ids=["missing", "other shape", "scalar", "whole numbers", "unknown", "missing statistic"],
)
def test_tensors_that_do_not_fit_the_recipes_network_are_refused_by_name(
    stored, tmp_path, change, named
):
    path = changed(stored, tmp_path / "a.safetensors", **change)
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: .* do not fit .*: .*{named}"):
        checkpoints.newest(path).network()


def test_a_file_without_what_a_classifier_needs_is_refused(stored, tmp_path):
    _, told = stored
    for key in ("recipe", "classes"):
        about = {k: v for k, v in told.items() if k != key}
        with pytest.raises(CheckpointError, match="holds no classifier"):
            checkpoints.read(changed(stored, tmp_path / "a.safetensors", about=about))
    with pytest.raises(CheckpointError, match="holds no classifier"):
        checkpoints.read(changed(stored, tmp_path / "a.safetensors", without=["preprocess.mean"]))
    broken = told | {"recipe": told["recipe"] | {"batch_images": 0}}
    with pytest.raises(CheckpointError, match=r"holds no classifier.*batch_images"):
        checkpoints.read(changed(stored, tmp_path / "a.safetensors", about=broken))


DAMAGED = {
    "no network": {"model": None},
    "a list": {"model": [1]},
    "a network of no kind": {"model": {"kind": "perceptron"}},
    "a network without classes": {"model": {"kind": "googlenet", "classes": 0}},
    "a VGG of two stages": {"model": {"kind": "vgg", "convolutions": [1, 2], "classes": 4}},
    "no preprocessing": {"preprocessing": None},
    "a preprocessing of nothing": {"preprocessing": {}},
    "a text for a size": {
        "preprocessing": {"resize_px": "32", "crop_px": 32, "mean": None, "std": [1, 1, 1]}
    },
    "a crop larger than the image": {"preprocessing": {"resize_px": 16, "crop_px": 32}},
    "a mean of two colours": {
        "preprocessing": {"resize_px": 32, "crop_px": 32, "mean": [0.5, 0.5]}
    },
    "a standard deviation of 0": {
        "preprocessing": {"resize_px": 32, "crop_px": 32, "std": [0, 1, 1]}
    },
    "an unknown setting": {"preprocessing": {"resize_px": 32, "crop_px": 32, "zoom": 2}},
    "no number of updates": {"update": "6"},
    "a true number of updates": {"update": True},
    "a recipe of one word": {"recipe": "sample.resnet20"},
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_description_that_is_damaged_costs_one_line(stored, tmp_path, case):
    _, told = stored
    path = changed(stored, tmp_path / "a.safetensors", about=told | DAMAGED[case])
    with pytest.raises(CheckpointError, match=r"a\.safetensors: holds no classifier") as caught:
        checkpoints.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["classes", "words", "mean"])
def test_a_file_whose_description_contradicts_its_network_is_refused(stored, tmp_path, what):
    _, told = stored
    change = {
        "classes": {"about": told | {"classes": ["a"]}},
        "words": {"about": told | {"classes": "abcd"}},
        "mean": {"preprocess.mean": torch.zeros(3)},
    }[what]
    with pytest.raises(CheckpointError):
        checkpoints.read(changed(stored, tmp_path / "a.safetensors", **change)).network()


def states(stored, folder, *updates):
    """Leave training states as a killed run does, each told by its first bias."""
    for update in updates:
        bias = torch.full((4,), float(update))
        path = folder / "checkpoints" / f"update-{update:09d}.safetensors"
        changed(stored, path, **{"model.head.bias": bias, "optimizer.0.momentum_buffer": bias})
    return folder


def update_of(checkpoint):
    return checkpoint.model["head.bias"][0].item()


def test_the_newest_state_of_an_unfinished_run_is_taken(stored, tmp_path):
    found = checkpoints.newest(states(stored, tmp_path, 9, 10, 100, 20))
    assert update_of(found) == 100
    assert set(found.optimizer) == {"0.momentum_buffer"}


@pytest.mark.parametrize("damage", ["cut", "empty", "changed"])
def test_a_damaged_newest_state_is_passed_over_for_the_one_before(stored, tmp_path, damage):
    states(stored, tmp_path, 1, 2)
    newest = tmp_path / "checkpoints" / "update-000000002.safetensors"
    content = bytearray(newest.read_bytes())
    if damage == "changed":
        content[-10] ^= 1
    newest.write_bytes(content[: {"cut": len(content) // 2, "empty": 0}.get(damage)])
    assert update_of(checkpoints.newest(tmp_path)) == 1


def test_where_every_state_is_damaged_there_is_no_checkpoint(stored, tmp_path):
    states(stored, tmp_path, 1, 2)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    assert checkpoints.newest_state(tmp_path) is None
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        checkpoints.newest(tmp_path)


def test_a_state_of_a_newer_version_is_not_passed_over(stored, tmp_path, monkeypatch):
    states(stored, tmp_path, 1)
    monkeypatch.setattr(artifacts, "FORMAT", artifacts.FORMAT + 1)
    states(stored, tmp_path, 2)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"update-000000002.*newer resnets.*upgrade"):
        checkpoints.newest(tmp_path)


def test_a_file_that_a_kill_left_half_written_is_not_taken_for_a_state(stored, tmp_path):
    states(stored, tmp_path, 1)
    (tmp_path / "checkpoints" / ".update-000000002.safetensors.partial").write_bytes(b"half")
    assert update_of(checkpoints.newest(tmp_path)) == 1


def test_a_finished_network_comes_before_any_state(stored, finished, tmp_path):
    states(stored, tmp_path, 5)
    (tmp_path / "model.safetensors").write_bytes((finished / "model.safetensors").read_bytes())
    assert checkpoints.newest(tmp_path).path == tmp_path / "model.safetensors"


def test_a_damaged_finished_network_is_an_error_and_not_passed_over(stored, tmp_path):
    states(stored, tmp_path, 5)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoints.newest(tmp_path)


def test_a_folder_without_a_run_and_a_missing_path_are_refused_in_one_line(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in this folder; expected a run"):
        checkpoints.newest(tmp_path)
    with pytest.raises(CheckpointError, match="there is no such file") as caught:
        checkpoints.newest(tmp_path / "none")
    assert "\n" not in str(caught.value)


def test_a_tilde_means_the_home_folder(finished, monkeypatch):
    monkeypatch.setenv("HOME", str(finished.parent))
    monkeypatch.setenv("USERPROFILE", str(finished.parent))
    assert checkpoints.newest("~/finished").recipe.total_steps == 6
