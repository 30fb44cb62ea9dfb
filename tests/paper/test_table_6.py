"""He et al. 2015, sec. 4.2 and Table 6: the CIFAR-10 networks, transcribed as literals."""

import functools

import pytest
import torch
from torch import nn

from resnets.models import cost, network, zoo

PARAMETERS_M = {20: "0.27", 32: "0.46", 44: "0.66", 56: "0.85", 110: "1.7", 1202: "19.4"}
DEPTHS = tuple(PARAMETERS_M)


@functools.cache
def built(name):
    with torch.device("meta"):
        return network.ResNet(zoo.named(name))


def count_parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters_are_those_of_the_table_at_its_precision(depth):
    printed = PARAMETERS_M[depth]
    digits = len(printed.split(".")[1])
    assert f"{count_parameters(built(f'cifar-resnet{depth}')) / 1e6:.{digits}f}" == printed


def test_resnet_20_has_exactly_269722_parameters():
    assert count_parameters(built("cifar-resnet20")) == 269_722
    assert cost.measure(zoo.named("cifar-resnet20")).parameters == 269_722


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_network_has_6n_plus_2_weighted_layers_in_three_stages_of_2n(depth):
    net = built(f"cifar-resnet{depth}")
    n = (depth - 2) // 6
    convs_per_stage = [
        sum(isinstance(m, nn.Conv2d) for block in stage for m in block.body)
        for stage in net.stages.values()
    ]
    assert convs_per_stage == [2 * n, 2 * n, 2 * n]
    stem_convs = sum(isinstance(m, nn.Conv2d) for m in net.stem)
    assert (stem_convs, net.head.out_features) == (1, 10)
    assert stem_convs + sum(convs_per_stage) + 1 == 6 * n + 2 == depth == net.spec.depth


@pytest.mark.parametrize("name", ["cifar-resnet20", "cifar-plain20", "cifar-resnet56"])
def test_the_stages_work_on_32_16_and_8_pixels_with_16_32_and_64_filters(name):
    found = cost.measure(zoo.named(name))
    assert found.image_px == 32
    assert [stage.output_size for stage in found.stages] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    kernels = {layer.kernel for layer in found.layers if layer.kind == "convolution"}
    assert kernels == {"3x3"}
    assert not any(layer.kind == "max pool" for layer in found.layers)


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_the_residual_network_has_the_parameters_of_the_plain_one(depth):
    residual, plain = built(f"cifar-resnet{depth}"), built(f"cifar-plain{depth}")
    assert {n: p.shape for n, p in residual.named_parameters()} == {
        n: p.shape for n, p in plain.named_parameters()
    }


def test_only_option_a_adds_no_parameters():
    plain = count_parameters(built("cifar-plain20"))
    assert count_parameters(built("cifar-resnet20")) == plain
    # By hand: 1x1 convolutions 16x32 and 32x64, each with a BN of two values a channel.
    assert count_parameters(built("cifar-resnet20-b")) == plain + 16 * 32 + 64 + 32 * 64 + 128
    assert count_parameters(built("cifar-resnet20-c")) > count_parameters(built("cifar-resnet20-b"))
    # By hand: each gate is a 3x3 convolution of the block's shape with a bias.
    gates = 9 * (3 * 16 * 16 + 16 * 32 + 2 * 32 * 32 + 32 * 64 + 2 * 64 * 64) + 3 * (16 + 32 + 64)
    assert count_parameters(built("cifar-highway20")) == plain + gates
