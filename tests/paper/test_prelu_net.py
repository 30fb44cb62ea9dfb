"""He et al. 2015b, Table 3, model C; its slopes and first weights."""

import functools
import math

import pytest
import torch
from torch import nn

from resnets.models import cost, making, network, zoo
from resnets.training import decay

OUTPUT = {
    "conv1": (96, 112, 112),
    "conv2_x": (384, 56, 56),
    "conv3_x": (768, 28, 28),
    "conv4_x": (896, 14, 14),
}
# The table prints 5.30e10. Its own layers come to 5.32e10 for the convolutions and 5.35e10 with the
# linear ones, though its models A and B do agree with their prints (1.90e10 and 2.32e10).
PRINTED_E10 = 5.30


@functools.cache
def measured():
    return cost.measure(zoo.named("prelu-net"))


@functools.cache
def net():
    with torch.device("meta"):
        return making.make(zoo.named("prelu-net"))


def operations_e10(width, depth):
    """Count a model of the table: widths on 56, 28 and 14 px, and convolutions on each."""
    channels, total = 96, 7 * 7 * 3 * 96 * 112**2
    for side, c_out in zip((56, 28, 14), width, strict=True):
        for _ in range(depth):
            total += channels * c_out * 9 * side**2
            channels = c_out
    return (total + 63 * channels * 4096 + 4096**2 + 4096 * 1000) / 1e10


def test_the_multiply_adds_are_those_of_its_layers_and_1_percent_above_the_print():
    found = measured().multiply_adds / 1e10
    assert found == pytest.approx(operations_e10((384, 768, 896), 6), rel=1e-12)
    assert found == pytest.approx(5.346, abs=0.001)
    assert found == pytest.approx(PRINTED_E10, rel=0.01)
    of_convolutions = sum(
        each.multiply_adds for each in measured().layers if each.kind == "convolution"
    )
    assert of_convolutions / 1e10 == pytest.approx(5.321, abs=0.001)


def test_the_same_count_gives_the_prints_of_models_a_and_b():
    assert operations_e10((256, 512, 512), 5) == pytest.approx(1.90, abs=0.01)
    assert operations_e10((256, 512, 512), 6) == pytest.approx(2.32, abs=0.005)


def test_parameters_are_those_of_its_layers():
    convolutions, channels = 7 * 7 * 3 * 96 + 96, 96
    for width in (384, 768, 896):
        for _ in range(6):
            convolutions += channels * width * 9 + width
            channels = width
    slopes = 96 + 6 * (384 + 768 + 896) + 2 * 4096
    linear = (63 * 896 + 1) * 4096 + 4097 * 4096 + 4097 * 1000
    assert measured().parameters == convolutions + slopes + linear == 330_623_944
    assert sum(p.numel() for p in net().parameters()) == 330_623_944


def test_it_has_19_convolutions_and_3_linear_layers():
    kinds = [each.kind for each in measured().layers]
    assert (kinds.count("convolution"), kinds.count("linear")) == (19, 3)
    assert measured().depth == 22


def test_every_stage_has_the_convolutions_and_the_size_of_the_table():
    assert {stage.name: stage.output_size for stage in measured().stages} == OUTPUT
    first, *rest = net().stages.values()
    (conv1,) = (m for m in first if isinstance(m, nn.Conv2d))
    assert (conv1.kernel_size, conv1.stride, conv1.padding) == ((7, 7), (2, 2), (3, 3))
    for stage in rest:
        convolutions = [m for m in stage if isinstance(m, nn.Conv2d)]
        assert [m.kernel_size for m in convolutions] == [(3, 3)] * 6
        assert (stage[0].kernel_size, stage[0].stride) == (2, 2)
    assert sum(isinstance(m, nn.MaxPool2d) for m in net().modules()) == 3


def test_a_prelu_with_a_slope_of_each_channel_follows_every_layer_but_the_last():
    slopes = [m for m in net().modules() if isinstance(m, nn.PReLU)]
    assert [m.num_parameters for m in slopes] == [
        *(96, *[384] * 6, *[768] * 6, *[896] * 6, 4096, 4096)
    ]
    assert not [m for m in net().modules() if isinstance(m, nn.ReLU | nn.BatchNorm2d)]
    assert net().dropout.p == 0.5


@pytest.mark.parametrize("on", ["all", "weights"])
def test_weight_decay_leaves_the_slopes_alone(on):
    groups = decay.parameter_groups(net(), 5e-4, on)
    slopes = {id(m.weight) for m in net().modules() if isinstance(m, nn.PReLU)}
    rates = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert set(rates) == {id(p) for p in net().parameters()}
    assert {rates[each] for each in slopes} == {0.0}
    weights = {id(m.weight) for m in net().modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert {rates[each] for each in weights} == {5e-4}


def test_weights_begin_with_a_deviation_that_knows_of_the_slopes():
    made = nn.Sequential(nn.Conv2d(64, 200, 3), nn.PReLU(200), nn.Linear(300, 400))
    nn.init.ones_(made[1].weight)
    network.he_init(made, torch.Generator().manual_seed(0))
    for module, fan_in in ((made[0], 64 * 9), (made[2], 300)):
        expected = math.sqrt(2 / ((1 + 0.25**2) * fan_in))
        assert module.weight.std().item() == pytest.approx(expected, rel=0.01)
        assert not module.bias.any()
    assert torch.equal(made[1].weight, torch.full((200,), 0.25))


def test_where_there_is_no_prelu_the_deviation_is_that_of_relu():
    made = nn.Conv2d(64, 200, 3)
    network.he_init(made, torch.Generator().manual_seed(0))
    assert made.weight.std().item() == pytest.approx(math.sqrt(2 / 576), rel=0.01)
