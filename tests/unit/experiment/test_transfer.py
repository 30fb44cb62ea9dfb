"""What a run takes from trained weights: its network, how it sees images, its first last layer."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import samples
from resnets.core.errors import CheckpointError, ModelError, RecipeError
from resnets.core.processes import ALONE
from resnets.data import synthetic
from resnets.data.crops import ResizedCrop
from resnets.data.preprocess import Preprocess
from resnets.experiment import build, transfer
from resnets.experiment.transfer import Weights
from resnets.inference.checkpoints import Checkpoint
from resnets.models import making, zoo
from resnets.models.freezing import FixedBatchNorm2d
from resnets.recipes import schema
from resnets.recipes.schema import DataSpec, EmaSpec, Transfer

CPU = torch.device("cpu")
VIEW = Preprocess(resize_px=36, crop_px=32, interpolation="bicubic", mean=(0.5, 0.4, 0.3))
FILES = DataSpec(name="photos", augment=ResizedCrop(crop_px=224))
CLASSES = synthetic.make().classes


def checkpoint(spec=None, classes=("a", "b", "c", "d"), view=VIEW):
    spec = replace(zoo.cifar(8), classes=len(classes)) if spec is None else spec
    mean = torch.full((32, 32, 3), 0.25) if view.mean is None else torch.tensor(view.mean)
    model = making.make(spec) if spec.kind != "resnet" else samples.trained(spec)
    return Checkpoint(
        path=Path("weights.safetensors"),
        about={"classes": list(classes), "update": 7},
        spec=spec,
        preprocess=view,
        mean_hwc=mean if view.mean is None else mean.view(1, 1, 3),
        recipe=None,
        model=model.state_dict(),
        optimizer={},
    )


def fitted(recipe, found, network=False, **began):
    asked = replace(recipe, transfer=Transfer(weights="", **began))
    return transfer.fitted(asked, Weights("weights.safetensors", found), network=network)


def begun(recipe, found, **began):
    """The parts of a run on small images that begins with weights."""
    asked = replace(recipe, transfer=Transfer(weights="w", **began))
    parts = build.build(asked, synthetic.make(), seed=0, device=CPU)
    transfer.start(parts, asked, lambda: found, CLASSES, ALONE)
    return parts


def body(model):
    return {n: t for n, t in model.state_dict().items() if not n.startswith("head")}


def test_the_network_and_how_it_sees_images_come_from_the_weights(tiny):
    recipe = replace(tiny, data=FILES, model=replace(zoo.named("resnet50"), classes=4))
    found = fitted(recipe, checkpoint())
    assert found.model == replace(zoo.cifar(8), classes=4)
    assert found.data.augment == replace(FILES.augment, crop_px=32)
    assert found.data.test == schema.TestView(resize_px=36, crop_px=32, interpolation="bicubic")
    assert found.data.mean == pytest.approx(VIEW.mean)
    assert found.data.std == VIEW.std
    assert build.tested_view(found) == replace(VIEW, mean=found.data.mean)
    assert found.expected is None


def test_of_a_mean_of_every_pixel_the_mean_of_each_channel_is_taken(tiny):
    view = replace(VIEW, mean=None, std=(1.0, 1.0, 1.0))
    found = fitted(replace(tiny, data=FILES), checkpoint(view=view))
    assert found.data.mean == (0.25, 0.25, 0.25)
    assert found.data.std == (1.0, 1.0, 1.0)


def test_small_images_are_seen_as_ever(tiny):
    assert fitted(tiny, checkpoint()).data == tiny.data


def test_a_run_drops_as_much_as_its_recipe_says_and_not_as_the_weights_did(tiny):
    dropped = replace(zoo.cifar(8), classes=4, drop_path=0.3)
    assert fitted(tiny, checkpoint(dropped)).model.drop_path == 0
    dropping = replace(tiny, model=replace(tiny.model, drop_path=0.1))
    assert fitted(dropping, checkpoint()).model.drop_path == 0.1


def test_a_network_that_was_asked_for_has_to_be_that_of_the_weights(tiny):
    assert fitted(tiny, checkpoint(), network=True).model == tiny.model
    with pytest.raises(ModelError, match="of cifar-resnet14, not of cifar-resnet8; train --model"):
        fitted(tiny, checkpoint(replace(zoo.cifar(14), classes=4)), network=True)
    wanted = replace(tiny, model=replace(zoo.named("resnet18"), classes=4))
    with pytest.raises(
        ModelError, match=r"--weights, .*; published for resnet18: torchvision/resnet18"
    ):
        fitted(wanted, checkpoint(), network=True)


def test_weights_are_called_by_their_published_name_or_by_their_tensors(tmp_path, monkeypatch):
    found = checkpoint()
    assert transfer.name_of("msra/resnet50", found) == "msra/resnet50"
    assert transfer.name_of("runs/a", found) == f"sha256:{found.weights_sha256}"
    # A folder of that name is what would be opened.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "msra/resnet50").mkdir(parents=True)
    assert transfer.name_of("msra/resnet50", found).startswith("sha256:")


def test_a_manifest_says_where_the_weights_are_from_wherever_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = checkpoint()
    assert Weights("runs/a", found).describe()["where"] == str(tmp_path / "runs/a")
    assert Weights("~/a", found).describe()["where"] == str(tmp_path / "home/a")
    assert Weights("msra/resnet50", found).describe()["where"] == "msra/resnet50"


def test_weights_that_are_no_longer_those_a_run_began_with_are_refused(finished):
    named = transfer.name_of(finished.folder, Weights.of(finished.folder).checkpoint)
    assert transfer.opened(finished.folder, named).about["update"] == 10
    with pytest.raises(RecipeError, match="holds other weights than the run began with"):
        transfer.opened(finished.folder, "sha256:0")
    with pytest.raises(CheckpointError, match="no such file"):
        transfer.opened(finished.folder / "gone", named)


def test_the_body_is_that_of_the_weights_and_the_last_layer_solves_the_data(tiny):
    found = checkpoint()
    parts = begun(tiny, found)
    own = body(parts.model)
    assert all(torch.equal(tensor, found.model[name]) for name, tensor in own.items())
    assert not torch.equal(parts.model.head.weight, found.model["head.weight"])
    solved = dict(parts.evaluator.run(parts.model))["test_top1_error_percent"]
    drawn = begun(tiny, found, head="random")
    guessed = dict(drawn.evaluator.run(drawn.model))["test_top1_error_percent"]
    assert solved < 40 < guessed


def test_a_random_last_layer_is_drawn_by_the_seed_as_from_scratch(tiny):
    parts = begun(tiny, checkpoint(), head="random")
    scratch = build.build(tiny, synthetic.make(), seed=0, device=CPU)
    assert torch.equal(parts.model.head.weight, scratch.model.head.weight)


def test_of_the_same_classes_the_last_layer_stays_and_of_others_as_many_it_is_new(tiny):
    same = checkpoint(classes=CLASSES)
    parts = begun(tiny, same)
    assert all(torch.equal(t, same.model[n]) for n, t in parts.model.state_dict().items())
    turned = checkpoint(classes=CLASSES[::-1])
    head = begun(tiny, turned, head="random").model.head.weight
    assert not torch.equal(head, turned.model["head.weight"])


def test_classes_that_are_mere_numbers_are_not_taken_for_the_same(tiny):
    numbers = ("0", "1", "2", "3")
    parts = build.build(
        replace(tiny, transfer=Transfer(weights="w", head="random")),
        synthetic.make(),
        seed=0,
        device=CPU,
    )
    recipe = replace(tiny, transfer=Transfer(weights="w", head="random"))
    found = checkpoint(classes=numbers)
    transfer.start(parts, recipe, lambda: found, numbers, ALONE)
    assert not torch.equal(parts.model.head.weight, found.model["head.weight"])


def test_weights_of_another_network_are_refused_and_nothing_is_changed(tiny):
    asked = replace(tiny, transfer=Transfer(weights="w"))
    parts = build.build(asked, synthetic.make(), seed=0, device=CPU)
    before = {name: tensor.clone() for name, tensor in parts.model.state_dict().items()}
    other = checkpoint(replace(zoo.cifar(14), classes=4))
    with pytest.raises(ModelError, match="weights of cifar-resnet14, not of cifar-resnet8"):
        transfer.start(parts, asked, lambda: other, CLASSES, ALONE)
    assert all(torch.equal(t, before[n]) for n, t in parts.model.state_dict().items())


def test_a_moving_average_begins_with_the_weights_too(tiny):
    parts = begun(replace(tiny, ema=EmaSpec(decay=0.9)), checkpoint())
    averaged, own = parts.kept.state_dict(), parts.model.state_dict()
    assert parts.kept is not parts.model
    assert all(torch.equal(averaged[name], tensor) for name, tensor in own.items())


def test_bn_is_fixed_and_stages_are_frozen_as_the_recipe_says(tiny):
    fixed = begun(tiny, checkpoint()).model
    norms = [m for m in fixed.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert all(isinstance(norm, FixedBatchNorm2d) for norm in norms)
    free = begun(tiny, checkpoint(), fixed_bn=False).model
    assert not any(isinstance(m, FixedBatchNorm2d) for m in free.modules())
    part = begun(tiny, checkpoint(), fixed_bn=False, frozen_stages=1).model
    assert not part.stem.conv1.weight.requires_grad
    assert part.head.weight.requires_grad


def test_the_last_layer_has_the_rate_that_was_asked_for_and_the_rest_the_recipes(tiny):
    parts = begun(tiny, checkpoint(), head_rate_factor=10.0)
    of = {id(p): g["rate_factor"] for g in parts.optimizer.param_groups for p in g["params"]}
    assert len(of) == len(list(parts.model.parameters()))
    for name, parameter in parts.model.named_parameters():
        assert of[id(parameter)] == (10.0 if name.startswith("head") else 1.0)


def test_three_last_layers_of_googlenet_are_new_and_its_main_one_is_solved():
    model = making.make(replace(zoo.named("googlenet"), classes=4))
    heads = transfer._heads(model)
    assert "head" in heads
    assert len(heads) == 3
