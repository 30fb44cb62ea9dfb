"""He et al. 2015, Table 1: the ImageNet networks, transcribed as literals."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from resnets.models import cost, network, zoo

DEPTHS = (18, 34, 50, 101, 152)
BLOCK = {18: "basic", 34: "basic", 50: "bottleneck", 101: "bottleneck", 152: "bottleneck"}
BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGE_SIDE_PX = {"conv2_x": 56, "conv3_x": 28, "conv4_x": 14, "conv5_x": 7}
STAGE_WIDTHS = (64, 128, 256, 512)
CONVOLUTIONS_OF = {"basic": ("3x3", "3x3"), "bottleneck": ("1x1", "3x3", "1x1")}
MULTIPLY_ADDS_E9 = {18: 1.8, 34: 3.6, 50: 3.8, 101: 7.6, 152: 11.3}
PARAMETERS = {
    18: 11_689_512,
    34: 21_797_672,
    50: 25_557_032,
    101: 44_549_160,
    152: 60_192_808,
}


@functools.cache
def resnet(name):
    with torch.device("meta"):
        return network.ResNet(zoo.named(name))


@functools.cache
def measured(name):
    return cost.measure(zoo.named(name), 224)


def count_weighted_layers(net):
    bodies = [block.body for stage in net.stages.values() for block in stage]
    places = [net.stem, *bodies, net.head]
    weighted = [m for place in places for m in place.modules() if hasattr(m, "weight")]
    return sum(isinstance(module, nn.Conv2d | nn.Linear) for module in weighted)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_network_has_as_many_weighted_layers_as_its_name_says(depth):
    net = resnet(f"resnet{depth}")
    assert count_weighted_layers(net) == depth
    assert net.spec.depth == depth


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_stage_has_the_blocks_of_the_table(depth):
    net = resnet(f"resnet{depth}")
    assert tuple(len(stage) for stage in net.stages.values()) == BLOCKS_PER_STAGE[depth]
    assert (
        tuple(stage.blocks for stage in measured(f"resnet{depth}").stages)
        == (BLOCKS_PER_STAGE[depth])
    )
    for stage, width in zip(net.stages.values(), STAGE_WIDTHS, strict=True):
        for block in stage:
            convs = [m for m in block.body if isinstance(m, nn.Conv2d)]
            kernels = tuple("x".join(map(str, conv.kernel_size)) for conv in convs)
            assert kernels == CONVOLUTIONS_OF[BLOCK[depth]]
            widths = [width, width] if BLOCK[depth] == "basic" else [width, width, 4 * width]
            assert [conv.out_channels for conv in convs] == widths


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_stem_and_every_stage_put_out_the_sizes_of_the_table(depth):
    found = measured(f"resnet{depth}")
    by_name = {layer.name: layer for layer in found.layers}
    conv1, pool = by_name["stem.conv1"], by_name["stem.pool"]
    assert (conv1.kernel, conv1.stride, conv1.output_size) == ("7x7", 2, (64, 112, 112))
    assert (pool.kernel, pool.stride, pool.output_size) == ("3x3", 2, (64, 56, 56))
    times = 1 if BLOCK[depth] == "basic" else 4
    expected = {
        name: (times * width, side, side)
        for (name, side), width in zip(STAGE_SIDE_PX.items(), STAGE_WIDTHS, strict=True)
    }
    assert {stage.name: stage.output_size for stage in found.stages} == expected


def test_the_last_layer_is_a_thousand_way_classifier_of_the_mean_over_space():
    assert measured("resnet34").layers[-1].input_size == (512,)
    assert measured("resnet50").layers[-1].input_size == (2048,)
    assert measured("resnet50").layers[-1].output_size == (1000,)


@pytest.mark.parametrize("depth", DEPTHS)
def test_multiply_adds_are_those_of_the_table(depth):
    found = measured(f"resnet{depth}").multiply_adds
    assert found / 1e9 == pytest.approx(MULTIPLY_ADDS_E9[depth], abs=0.1)


def test_stride_on_the_3x3_costs_4_1_and_adds_no_parameters():
    found = measured("resnet50-v1.5")
    assert found.multiply_adds / 1e9 == pytest.approx(4.1, abs=0.05)
    assert found.parameters == PARAMETERS[50]


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters_with_a_thousand_classes_are_exact(depth):
    assert sum(p.numel() for p in resnet(f"resnet{depth}").parameters()) == PARAMETERS[depth]
    assert measured(f"resnet{depth}").parameters == PARAMETERS[depth]


def test_the_table_ends_in_1000_classes_and_another_number_changes_only_the_last_layer():
    spec = zoo.imagenet(18)
    assert spec.classes == 1000
    with torch.device("meta"):
        smaller = network.ResNet(replace(spec, classes=37))
    assert PARAMETERS[18] - sum(p.numel() for p in smaller.parameters()) == (1000 - 37) * 513
