"""Simonyan, Zisserman 2015, Table 1, columns D and E; the counts of He et al. 2015, Fig. 3."""

import functools

import pytest
import torch
from torch import nn

from resnets.models import cost, making, zoo

NAMES = ["vgg16", "vgg19"]
PARAMETERS = {"vgg16": 138_357_544, "vgg19": 143_667_240}
MULTIPLY_ADDS_E9 = {"vgg16": 15.47, "vgg19": 19.63}
OF_CONVOLUTIONS_E9 = {"vgg16": 15.35, "vgg19": 19.51}
CONVOLUTIONS = {
    "vgg16": {"conv1_x": 2, "conv2_x": 2, "conv3_x": 3, "conv4_x": 3, "conv5_x": 3},
    "vgg19": {"conv1_x": 2, "conv2_x": 2, "conv3_x": 4, "conv4_x": 4, "conv5_x": 4},
}
OUTPUT = {
    "conv1_x": (64, 224, 224),
    "conv2_x": (128, 112, 112),
    "conv3_x": (256, 56, 56),
    "conv4_x": (512, 28, 28),
    "conv5_x": (512, 14, 14),
}


@functools.cache
def measured(name):
    return cost.measure(zoo.named(name))


@functools.cache
def network(name):
    with torch.device("meta"):
        return making.make(zoo.named(name))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_exact(name):
    assert measured(name).parameters == PARAMETERS[name]
    assert sum(p.numel() for p in network(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds_are_those_counted_with_and_without_the_linear_layers(name):
    found = measured(name)
    of_convolutions = sum(each.multiply_adds for each in found.layers if each.kind == "convolution")
    assert found.multiply_adds / 1e9 == pytest.approx(MULTIPLY_ADDS_E9[name], abs=0.005)
    assert of_convolutions / 1e9 == pytest.approx(OF_CONVOLUTIONS_E9[name], abs=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_as_many_weighted_layers_as_its_name_says(name):
    weighted = [m for m in network(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == measured(name).depth == int(name.removeprefix("vgg"))


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_has_the_convolutions_and_the_size_of_the_table(name):
    found = network(name)
    convolutions = {
        stage: [m for m in made if isinstance(m, nn.Conv2d)] for stage, made in found.stages.items()
    }
    assert {stage: len(made) for stage, made in convolutions.items()} == CONVOLUTIONS[name]
    for conv in (each for made in convolutions.values() for each in made):
        assert (conv.kernel_size, conv.stride, conv.padding) == ((3, 3), (1, 1), (1, 1))
        assert conv.bias is not None
    assert {stage.name: stage.output_size for stage in measured(name).stages} == OUTPUT
    assert not [m for m in found.modules() if isinstance(m, nn.BatchNorm2d)]


def test_five_2x2_pools_of_stride_2_bring_224_px_to_the_7x7_that_fc6_takes():
    pools = [each for each in measured("vgg16").layers if each.kind == "max pool"]
    assert [(each.kernel, each.stride) for each in pools] == [("2x2", 2)] * 5
    assert pools[-1].output_size == (512, 7, 7)
    linear = [each for each in measured("vgg16").layers if each.kind == "linear"]
    sizes = [(each.input_size, each.output_size) for each in linear]
    assert sizes == [((512 * 7 * 7,), (4096,)), ((4096,), (4096,)), ((4096,), (1000,))]


def test_half_of_what_the_first_two_linear_layers_put_out_is_dropped():
    assert network("vgg16").dropout.p == 0.5
