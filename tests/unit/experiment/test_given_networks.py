"""Runs that begin with a network from Python, and no name of weights."""

import shutil

import pytest
import torch
from torch import nn

import resnets
import samples
from resnets.core.errors import ModelError, RecipeError, RunError
from resnets.data import synthetic
from resnets.experiment import asking, manifests
from resnets.experiment.asking import Changes
from resnets.inference import checkpoints
from resnets.inference.checkpoints import BEGINNING, STATES

HERE = {"device": "cpu", "compiling": "off"}
SETTINGS = ("precision=float32", "total_steps=4")
DATA = synthetic.make()


class Killed(BaseException):
    """Stands for the end of the process: nothing after it is run."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    return samples.write_photos(tmp_path / "photos")


def tune(photos, net, out):
    return resnets.train(
        "folder.finetune", data=photos, model=net, out=out, settings=SETTINGS, **HERE
    )


def sha(folder):
    return checkpoints.newest(folder).weights_sha256


def test_a_network_made_from_weights_does_what_these_do_by_their_name(photos, finished, tmp_path):
    net = resnets.model("cifar-resnet8", weights=finished)
    before = net.head.weight.clone()
    ended = tune(photos, net, tmp_path / "run")
    named = resnets.train(
        "folder.finetune",
        data=photos,
        weights=finished,
        out=tmp_path / "named",
        settings=SETTINGS,
        **HERE,
    )
    assert sha(ended.folder) == sha(named.folder)
    first, second = (manifests.read(each.folder) for each in (ended, named))
    assert first["recipe"] == second["recipe"]
    assert first["recipe"]["transfer"]["weights"] == f"sha256:{sha(finished.folder)}"
    assert first["weights"] == {
        "name": "a network from Python",
        "where": None,
        "sha256": sha(finished.folder),
    }
    assert torch.equal(net.head.weight, before)  # it was copied
    assert not (ended.folder / STATES).exists()
    assert "a network from Python" in (ended.folder / "report.html").read_text()


def test_of_a_network_for_other_classes_the_last_layer_is_solved_for(photos, finished, tmp_path):
    net = resnets.model("cifar-resnet8", weights=finished, classes=9)
    ended = tune(photos, net, tmp_path / "run")
    assert checkpoints.newest(ended.folder).spec.classes == 4
    assert manifests.read(ended.folder)["recipe"]["transfer"]["fixed_bn"]


def test_killed_before_it_was_first_saved_it_begins_again_with_the_same_network(
    photos, finished, tmp_path, monkeypatch, loop
):
    net = resnets.model("cifar-resnet8", weights=finished, classes=4)
    whole = tune(photos, net, tmp_path / "whole")

    def kill(number):
        raise Killed

    loop.after_each(kill)
    with pytest.raises(Killed):
        tune(photos, net, tmp_path / "run")
    loop.undisturbed()
    assert (tmp_path / "run" / STATES / BEGINNING).exists()
    moved = shutil.move(tmp_path / "run", tmp_path / "moved")  # it is found where the run lies
    ended = resnets.resume(moved)
    assert sha(ended.folder) == sha(whole.folder)
    assert not (ended.folder / STATES).exists()


def test_killed_before_it_had_a_manifest_its_folder_can_be_taken_again(
    photos, finished, tmp_path, monkeypatch
):
    net = resnets.model("cifar-resnet8", weights=finished)

    def killed(folder, manifest):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "write", killed)
        with pytest.raises(Killed):
            tune(photos, net, tmp_path / "run")
    assert (tmp_path / "run" / STATES / BEGINNING).exists()
    assert tune(photos, net, tmp_path / "run").updates == 4
    (tmp_path / "own" / STATES).mkdir(parents=True)
    (tmp_path / "own" / STATES / "mine.txt").touch()
    with pytest.raises(RunError, match="exists and is not empty"):
        tune(photos, net, tmp_path / "own")


def test_a_new_network_begins_as_it_is_and_its_bn_learns(tmp_path):
    net = resnets.model("cifar-resnet8", classes=4)
    nn.init.constant_(net.head.bias, 3.0)
    ended = resnets.train(
        "sample.resnet20",
        data=DATA,
        model=net,
        out=tmp_path / "run",
        lr=1e-9,
        settings=(*SETTINGS, "true_averages=false"),
        **HERE,
    )
    found = checkpoints.newest(ended.folder)
    assert (found.recipe.transfer.head, found.recipe.transfer.fixed_bn) == ("kept", False)
    torch.testing.assert_close(found.model["head.bias"], torch.full((4,), 3.0))
    assert found.model["stem.bn1.running_mean"].any()
    assert found.recipe.data.test is None  # it sees images as the recipe has them


def test_a_new_network_of_another_number_of_classes_is_refused(tmp_path):
    net = resnets.model("cifar-resnet8")
    with pytest.raises(RecipeError, match="head: kept is of 10 classes, and the data has 4"):
        resnets.train("sample.resnet20", data=DATA, model=net, out=tmp_path / "run", **HERE)
    assert not (tmp_path / "run").exists()


def test_a_last_layer_may_be_kept_whatever_its_classes_are_called(photos, finished, tmp_path):
    net = resnets.model("cifar-resnet8", weights=finished, classes=4)
    changes = Changes(
        network=net, settings=(*SETTINGS, "transfer.head=kept", "transfer.head_rate_factor=0")
    )
    ended = asking.start("folder.finetune", photos, changes, out=tmp_path / "run", **HERE)
    kept = checkpoints.newest(ended.folder).model["head.weight"]
    assert torch.equal(kept, net.head.weight.detach())


def test_a_foreign_module_or_two_sets_of_weights_are_refused_before_any_data_is_opened(finished):
    with pytest.raises(ModelError, match=r"got torch\.nn\.modules\.linear\.Linear; another"):
        resnets.train("folder.finetune", data="nowhere", model=nn.Linear(1, 1))
    net = resnets.model("cifar-resnet8", classes=4)
    with pytest.raises(RecipeError, match="weights: the network that was given has its own"):
        resnets.train("folder.finetune", data="nowhere", model=net, weights=finished)


def test_a_run_that_began_with_a_network_is_resumed_by_its_recipes_name_alone(
    photos, finished, tmp_path
):
    ended = tune(photos, resnets.model("cifar-resnet8", weights=finished), tmp_path / "run")
    again = asking.resume(ended.folder, "folder.finetune", None, Changes())
    assert again.top1_error_percent == ended.top1_error_percent
    with pytest.raises(RunError, match=r"began with folder\.finetune, not sample\.resnet20"):
        asking.resume(ended.folder, "sample.resnet20", None, Changes())
