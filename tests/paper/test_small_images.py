"""PAPER.md: parameters of Table 1's networks as they are used on 32x32 images, 10 classes."""

import pytest
import torch
from torch import nn

from resnets.models import cost, network, zoo

PARAMETERS = {
    18: 11_173_962,
    34: 21_282_122,
    50: 23_520_842,
    101: 42_512_970,
    152: 58_156_618,
}
PARAMETERS_M = {18: "11.174", 34: "21.282", 50: "23.521", 101: "42.513", 152: "58.157"}


def small(depth):
    with torch.device("meta"):
        return network.ResNet(zoo.named(f"resnet{depth}-small"))


@pytest.mark.parametrize("depth", PARAMETERS)
def test_parameters_are_exact_and_round_to_the_figure_in_circulation(depth):
    found = sum(p.numel() for p in small(depth).parameters())
    assert found == PARAMETERS[depth]
    assert f"{found / 1e6:.3f}" == PARAMETERS_M[depth]


@pytest.mark.parametrize("depth", PARAMETERS)
def test_the_stem_is_one_3x3_convolution_of_64_channels_with_no_pool(depth):
    net = small(depth)
    convs = [m for m in net.stem if isinstance(m, nn.Conv2d)]
    assert [(c.kernel_size, c.stride, c.out_channels) for c in convs] == [((3, 3), (1, 1), 64)]
    assert not any(isinstance(m, nn.MaxPool2d) for m in net.modules())
    assert net.spec.image_px == 32


def test_the_stages_put_out_32_16_8_and_4_pixels():
    found = cost.measure(zoo.named("resnet18-small"))
    assert found.image_px == 32
    assert [stage.output_size for stage in found.stages] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]


def test_bottlenecks_have_their_stride_on_the_3x3_and_shortcuts_are_option_b():
    net = small(50)
    assert net.spec.shortcut == "B"
    for stage in list(net.stages.values())[1:]:
        assert stage[0].body.conv1.stride == (1, 1)
        assert stage[0].body.conv2.stride == (2, 2)
