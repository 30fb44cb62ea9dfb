"""What a network in Python's hands is as a checkpoint."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import resnets
from resnets.core import artifacts
from resnets.core.errors import CheckpointError, ModelError
from resnets.data.preprocess import IMAGENET_MEAN, Preprocess
from resnets.inference import checkpoints, fused, opening, origins
from resnets.models import making, zoo
from resnets.models.spec import VggSpec

SPEC = replace(zoo.cifar(8), classes=4)


def test_a_network_made_from_weights_is_a_checkpoint_that_sees_images_as_they_did(finished):
    found = opening.checkpoint(finished)
    net = resnets.model("cifar-resnet8", weights=finished)
    made = origins.checkpoint(copy.deepcopy(net))
    assert made.weights_sha256 == found.weights_sha256
    assert (made.preprocess, made.classes) == (found.preprocess, found.classes)
    assert torch.equal(made.mean_hwc, found.mean_hwc)
    other = origins.checkpoint(resnets.model("cifar-resnet8", weights=finished, classes=5))
    assert other.classes == tuple("01234")
    assert other.preprocess == found.preprocess


def test_written_to_a_file_it_is_read_again_as_it_was(finished, tmp_path):
    made = origins.checkpoint(resnets.model("cifar-resnet8", weights=finished, classes=5))
    artifacts.save_tensors(tmp_path / "a.safetensors", made.tensors, made.about)
    again = checkpoints.read(tmp_path / "a.safetensors")
    assert again.weights_sha256 == made.weights_sha256
    assert (again.preprocess, again.classes, again.spec) == (
        made.preprocess,
        made.classes,
        made.spec,
    )


def test_what_is_done_to_the_network_afterwards_does_not_change_it(finished):
    net = resnets.model("cifar-resnet8", weights=finished)
    made = origins.checkpoint(net)
    before = made.weights_sha256
    with torch.no_grad():
        net.head.weight.zero_()
    assert made.weights_sha256 == before


def test_of_one_that_comes_from_nowhere_images_are_taken_as_usual():
    net = making.make(zoo.named("resnet18"))
    assert origins.checkpoint(net).preprocess == Preprocess(
        resize_px=256, crop_px=224, mean=IMAGENET_MEAN
    )
    half = origins.checkpoint(making.make(SPEC).bfloat16())
    assert all(t.dtype in (torch.float32, torch.int64) for t in half.model.values())


def test_a_network_is_new_until_an_average_of_its_bn_has_moved():
    net = making.make(SPEC)
    assert origins.is_new(net)
    net.train()(torch.randn(2, 3, 32, 32))
    assert not origins.is_new(net)
    with torch.device("meta"):  # without its 120 million weights
        without_bn = making.make(VggSpec(convolutions=(1,) * 5, classes=4))
    assert not origins.is_new(without_bn)


@pytest.mark.parametrize("wrapped", [nn.Sequential, nn.DataParallel, lambda net: "resnet8"])
def test_what_is_no_network_of_ours_is_refused_in_one_line(wrapped):
    with pytest.raises(ModelError, match=r"model: takes a name of .*, or a network that") as caught:
        origins.check(wrapped(making.make(SPEC)))
    assert "\n" not in str(caught.value)


def test_one_whose_layers_were_changed_is_refused():
    with pytest.raises(CheckpointError, match="model: its tensors do not fit its network"):
        origins.checkpoint(fused.fuse(making.make(SPEC).eval(), torch.float32))
