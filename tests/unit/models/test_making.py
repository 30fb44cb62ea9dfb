import pytest
import torch
from torch import nn

import resnets
from resnets.core.errors import ModelError
from resnets.models import cost, making, zoo
from resnets.models.spec import check_image_px

NETWORKS = ["resnet50", "cifar-resnet20", "vgg16", "vgg19", "googlenet", "prelu-net"]
SMALLEST_PX = {"vgg16": 32, "vgg19": 32, "googlenet": 31, "prelu-net": 15}


def on_meta(name):
    with torch.device("meta"):
        return making.make(zoo.named(name)).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_what_the_rest_of_the_package_uses(name):
    net = on_meta(name)
    assert isinstance(net, making.Network)
    assert net.spec == zoo.named(name)
    x = torch.empty(2, 3, net.spec.image_px, net.spec.image_px, device="meta")
    maps = net.features(x)
    assert list(maps) == list(net.stages)
    sides = [each.shape[2] for each in maps.values()]
    assert sides == sorted(sides, reverse=True)
    assert isinstance(net.head, nn.Linear)
    assert net(x).shape == (2, net.spec.classes)
    assert net.score_map(x).shape == (2, net.spec.classes, 1, 1)


@pytest.mark.parametrize("name", SMALLEST_PX)
def test_the_smallest_image_is_the_smallest_that_the_network_takes(name):
    smallest, net = SMALLEST_PX[name], on_meta(name)
    assert net.spec.smallest_px == smallest
    for run in (net, net.score_map):
        assert run(torch.empty(1, 3, smallest, smallest, device="meta")).shape[1] == 1000
        with pytest.raises(RuntimeError):
            run(torch.empty(1, 3, smallest - 1, smallest - 1, device="meta"))


@pytest.mark.parametrize("name", SMALLEST_PX)
def test_a_smaller_image_is_refused_in_one_line(name):
    described = zoo.named(name)
    check_image_px(described, described.smallest_px)
    message = rf"^image_px: {described.kind} needs images of at least {described.smallest_px} px"
    for refuse in (check_image_px, cost.measure):
        with pytest.raises(ModelError, match=rf"{message}, got {described.smallest_px - 1}$"):
            refuse(described, described.smallest_px - 1)


@pytest.mark.parametrize("image_px", [0, -3])
def test_an_image_without_pixels_is_refused(image_px):
    with pytest.raises(ModelError, match=rf"^image_px: must be positive, got {image_px}$"):
        check_image_px(zoo.named("resnet18"), image_px)


def test_the_facade_makes_them_with_as_many_classes_as_were_asked_for():
    net = resnets.model("googlenet", classes=37)
    assert net.head.weight.shape == (37, 1024)
    assert {each.head.out_features for each in net.auxiliary.values()} == {37}
    assert not net.head.bias.any()
