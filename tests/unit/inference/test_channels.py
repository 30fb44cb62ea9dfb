"""Weights of coloured images in networks of grey ones, and of any other number of channels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import resnets
import samples
from resnets.core.errors import ModelError
from resnets.data import batches
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from resnets.inference import channels, converting
from resnets.inference.checkpoints import Checkpoint
from resnets.inference.predictor import Classifier
from resnets.models import making, zoo
from resnets.models.spec import VggSpec

RESNET = replace(zoo.cifar(8), classes=4)
VGG = VggSpec(convolutions=(1, 1, 1, 1, 1), classes=4)
CPU = torch.device("cpu")
CAFFE = ((0.485, 0.458, 0.408), (1 / 255, 1 / 255, 1 / 255))


def checkpoint(spec=RESNET, view=(IMAGENET_MEAN, IMAGENET_STD)):
    model = samples.trained(spec) if spec.kind == "resnet" else making.make(spec)
    mean, std = view
    return Checkpoint(
        path=Path("weights.safetensors"),
        about={"classes": list("abcd"), "update": 7},
        spec=spec,
        preprocess=Preprocess(resize_px=36, crop_px=32, mean=mean, std=std),
        mean_hwc=torch.tensor(mean).view(1, 1, 3),
        recipe=None,
        model=model.state_dict(),
        optimizer={},
    )


def taking(found, in_channels):
    spec = zoo.taking(found.spec, in_channels)
    return replace(found, spec=spec, model=dict(channels.tensors(found, in_channels)))


def grey_images(side_px=32):
    levels = np.random.default_rng(0).integers(0, 256, (2, side_px, side_px, 1), dtype=np.uint8)
    return torch.from_numpy(levels).expand(-1, -1, -1, 3)


def prepared(found, images_nhwc):
    return batches.prepare(
        images_nhwc, found.mean_hwc, found.std_hwc, channels=found.spec.in_channels
    )


def first_layer(found, network, images_nhwc):
    """What comes out of the first convolution and its BN, where no padding is near."""
    layers = network.stem if found.spec.kind == "resnet" else network.stages["conv1_x"]
    with torch.inference_mode():
        y = prepared(found, images_nhwc)
        for layer in list(layers)[:2]:
            y = layer(y)
    return y[:, :, 1:-1, 1:-1]


@pytest.mark.parametrize("view", [(IMAGENET_MEAN, IMAGENET_STD), CAFFE], ids=["usual", "caffe"])
@pytest.mark.parametrize("spec", [RESNET, VGG], ids=["resnet", "vgg"])
def test_a_grey_picture_gives_what_it_gave_in_three_channels(spec, view):
    found = checkpoint(spec, view)
    grey = taking(found, 1)
    before = first_layer(found, found.network(), grey_images())
    after = first_layer(grey, grey.network(), grey_images())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_with_equal_means_and_deviations_the_weights_are_the_sum_and_nothing_else_changes():
    found = checkpoint(view=((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
    made = channels.tensors(found, 1)
    name = "stem.conv1.weight"
    torch.testing.assert_close(made[name], found.model[name].sum(1, keepdim=True))
    others = [n for n in found.model if n not in (name, "stem.bn1.running_mean")]
    assert all(torch.equal(made[n], found.model[n]) for n in others)
    torch.testing.assert_close(made["stem.bn1.running_mean"], found.model["stem.bn1.running_mean"])


@pytest.mark.parametrize("k", [2, 4, 6, 7])
def test_k_channels_take_the_weights_of_red_green_and_blue_in_turn(k):
    found = checkpoint()
    weight = found.model["stem.conv1.weight"]
    made = channels.tensors(found, k)["stem.conv1.weight"]
    assert made.shape == (16, k, 3, 3)
    for channel in range(k):
        torch.testing.assert_close(made[:, channel], weight[:, channel % 3] * 3 / k)


def test_in_six_equal_channels_an_image_gives_what_it_gave_in_three():
    found = checkpoint()
    x = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = found.network()(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(taking(found, 6).network()(x.expand(-1, 6, -1, -1)), expected)


def test_weights_of_other_images_than_coloured_ones_are_taken_as_they_are_or_not_at_all():
    grey = taking(checkpoint(), 1)
    assert channels.tensors(grey, 1) is grey.model
    with pytest.raises(ModelError, match=r"for images of 1 channels, not of 3; set model\.in_chan"):
        channels.tensors(grey, 3)


def test_a_grey_classifier_takes_image_files_and_explains_them(tmp_path):
    found = taking(checkpoint(), 1)
    samples.photo(48, 40).save(tmp_path / "a.png")
    samples.photo(48, 40).convert("L").save(tmp_path / "b.png")
    classifier = Classifier(found, CPU)
    rows = classifier.predict([tmp_path / "a.png", tmp_path / "b.png"], top=4)
    # Brightness is taken after resizing here and before it there, and rounded there.
    for one, other in zip(*(sorted(row, key=lambda p: p.class_index) for row in rows), strict=True):
        assert one.probability == pytest.approx(other.probability, abs=0.03)
    assert classifier.explain(tmp_path / "a.png").view.size == (32, 32)
    whole = torch.from_numpy(np.asarray(samples.photo(40, 40)).copy())[None]
    plain = Classifier(found, CPU, fuse=False)
    torch.testing.assert_close(classifier.logits(whole), plain.logits(whole), rtol=1e-3, atol=1e-3)


def test_a_network_of_four_channels_refuses_images_in_one_line():
    with pytest.raises(ModelError, match="an image has 3, or 1 as grey, and this network takes 4"):
        Classifier(taking(checkpoint(), 4), CPU)


def test_the_facade_makes_a_network_for_other_channels(finished):
    fresh = resnets.model("cifar-resnet8", in_channels=2, classes=5)
    assert fresh(torch.zeros(1, 2, 32, 32)).shape == (1, 5)
    net = resnets.model("cifar-resnet8", weights=finished, in_channels=4, classes=7)
    assert net(torch.zeros(1, 4, 32, 32)).shape == (1, 7)
    assert (net.spec.in_channels, net.spec.classes) == (4, 7)
    shown = str(resnets.inspect(net))
    assert "one image of 4x32x32" in shown
    same = resnets.model("cifar-resnet8", weights=finished)
    assert torch.equal(
        net.stages["conv2_x"][0].body.conv1.weight, same.stages["conv2_x"][0].body.conv1.weight
    )
    with pytest.raises(ModelError, match="must be from 1 to 64, got 65"):
        resnets.model("resnet50", in_channels=65)
    with pytest.raises(ModelError, match="googlenet takes 3, got 1"):
        resnets.model("googlenet", in_channels=1)


def test_exported_a_grey_network_has_their_names_and_says_how_its_images_are_made(tmp_path):
    told = converting.export(taking(checkpoint(), 1), tmp_path / "out.safetensors")
    assert "0.587" in told["preprocessing"]["channels"]
    coloured = converting.export(checkpoint(), tmp_path / "coloured.safetensors")
    assert "channels" not in coloured["preprocessing"]
