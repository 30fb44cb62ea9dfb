import pytest
import torch

from resnets.core.errors import CheckpointError
from resnets.inference import converting, opening, published


@pytest.fixture
def asked(monkeypatch):
    """The published names that were asked for."""
    names = []
    monkeypatch.setattr(converting, "from_published", lambda name: names.append(name) or name)
    return names


def test_a_runs_folder_and_a_file_are_opened(finished, asked, monkeypatch):
    monkeypatch.chdir(finished.parent)
    for where in (finished, str(finished), finished / "model.safetensors", finished.name):
        assert opening.checkpoint(where).update == 6
    assert asked == []


@pytest.mark.parametrize("name", ["msra/resnet50", "torchvision/resnet50.imagenet1k-v2"])
def test_a_published_name_is_fetched(asked, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert opening.any_checkpoint(name) == name
    assert asked == [name]


def test_what_lies_here_comes_before_what_is_published(asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "msra" / "resnet50").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        opening.checkpoint("msra/resnet50")
    assert asked == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("msra/resnet51", "msra/resnet50"),
        ("torchvision/resnet50.imagenet1k-v3", "torchvision/resnet50.imagenet1k-v2"),
        ("torchvision/resnet50", "resnets weights list"),
        ("timm/", "resnets weights list"),
    ],
)
def test_a_name_that_nobody_published_is_told_the_nearest(name, near):
    with pytest.raises(CheckpointError) as caught:
        opening.checkpoint(name)
    assert near in str(caught.value)
    assert "nor is there a file or folder of that name" in str(caught.value)


@pytest.mark.parametrize(
    "where",
    ["nowhere", "nowhere.safetensors", "runs/nowhere", "", "x" * 5000, "~nobody-at-all/x", "a\0b"],
)
def test_what_is_no_name_and_no_file_costs_one_line(where, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        opening.checkpoint(where)
    assert "\n" not in str(caught.value)
    assert asked == []


def test_every_published_name_has_a_publisher_and_is_no_path_here():
    assert all(name.count("/") == 1 for name in published.NAMES)


def test_a_network_without_weights_is_no_checkpoint():
    with pytest.raises(
        CheckpointError, match=r"^resnet50: a network without weights; .*msra/resnet50"
    ):
        opening.checkpoint("resnet50")


def test_another_librarys_file_is_told_what_to_do_with(tmp_path):
    file = tmp_path / "theirs.pth"
    torch.save({"fc.weight": torch.ones(2, 2)}, file)
    with pytest.raises(CheckpointError, match="resnets weights convert"):
        opening.checkpoint(file)
