import pytest
import torch
from torch import nn

from resnets.models import layers, zoo
from resnets.models.network import ResNet, without_bn


def named(name):
    with torch.device("meta"):
        return ResNet(zoo.named(name))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cifar-resnet20", 19),
        ("cifar-plain56", 55),
        ("cifar-resnet20-c", 19),
        ("cifar-highway32", 31),  # gates are 3x3 too, but no layers of their own
        ("resnet34", 32),  # conv1 is 7x7
        ("resnet50", 16),
        ("resnet50-v1.5", 16),
        ("resnet50-small", 17),
    ],
)
def test_there_are_as_many_3x3_layers_as_the_paper_counts(name, count):
    network = named(name)
    found = layers.conv3x3(network)
    assert len(found) == len({each.name for each in found}) == count
    for layer in found:
        assert layer.conv is network.get_submodule(layer.name)
        place, _, number = layer.name.rpartition(".conv")
        assert layer.norm is network.get_submodule(f"{place}.bn{number}")
        assert layer.norm.num_features == layer.conv.out_channels


def test_without_bn_the_same_layers_are_followed_by_nothing():
    network = named("cifar-resnet20")
    found = layers.conv3x3(without_bn(network))
    assert [each.name for each in found] == [each.name for each in layers.conv3x3(network)]
    assert all(isinstance(each.norm, nn.Identity) for each in found)
