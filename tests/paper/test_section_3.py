"""He et al. 2015, sec. 3: initialisation, shortcuts, stride, where BN and the ReLU stand."""

import math

import pytest
import torch
from torch import nn

from resnets.models import blocks, network, spec, zoo

NARROW_BOTTLENECK = spec.ResNetSpec(
    stem=spec.StemSpec(kernel=7, width=16, stride=2, pool=True),
    block="bottleneck",
    stages=(
        spec.StageSpec(blocks=2, width=16, stride=1),
        spec.StageSpec(blocks=2, width=32, stride=2),
    ),
    shortcut="B",
    classes=100,
)
SPECS = {
    "basic, option B": zoo.named("cifar-resnet20-b"),
    "bottleneck": NARROW_BOTTLENECK,
    "highway": zoo.named("cifar-highway20"),
}
EVERY_KIND = (
    "resnet18",
    "resnet34-a",
    "resnet34-c",
    "plain34",
    "highway34",
    "resnet50",
    "resnet50-v1.5",
    "resnet18-small",
    "cifar-resnet20",
)


def on_meta(described):
    with torch.device("meta"):
        return network.ResNet(described)


def drawn(described, seed):
    net = on_meta(described).to_empty(device="cpu")
    network.he_init(net, torch.Generator().manual_seed(seed))
    return net


def bodies(net):
    return [block.body for stage in net.stages.values() for block in stage]


def count_parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("kind", SPECS)
def test_every_weight_has_a_standard_deviation_of_the_root_of_2_over_fan_in(kind):
    net = drawn(SPECS[kind], seed=1)
    weighted = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) >= net.spec.depth
    for module in weighted:
        weight = module.weight.detach()
        fan_in = weight[0].numel()
        expected = math.sqrt(2 / fan_in)
        n = weight.numel()
        # Five standard errors of a sample of n; fan_out in its place would be off by 29 %.
        assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * expected / math.sqrt(n)


@pytest.mark.parametrize("kind", SPECS)
def test_biases_start_at_0_bn_at_1_and_0_and_gates_at_minus_2(kind):
    net = drawn(SPECS[kind], seed=1)
    gates = [m.conv for m in net.modules() if isinstance(m, blocks.Gate)]
    assert len(gates) == (9 if kind == "highway" else 0)
    for conv in gates:
        assert torch.all(conv.bias == -2)
    assert torch.all(net.head.bias == 0)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) >= len([m for m in net.modules() if isinstance(m, nn.Conv2d)]) - len(gates)
    for bn in norms:
        assert torch.all(bn.weight == 1)
        assert torch.all(bn.bias == 0)
        assert torch.all(bn.running_mean == 0)
        assert torch.all(bn.running_var == 1)


def test_the_seed_alone_fixes_the_weights_whatever_torch_drew_before():
    described = zoo.named("cifar-highway20")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = drawn(described, seed=5).state_dict()
        torch.manual_seed(2)
        torch.randn(17)
        before = torch.random.get_rng_state()
        again = drawn(described, seed=5).state_dict()
        assert torch.equal(torch.random.get_rng_state(), before)
    other = drawn(described, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.conv1.weight"], other["stem.conv1.weight"])
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_initialising_again_leaves_nothing_of_the_old_weights():
    net = drawn(SPECS["highway"], seed=1)
    expected = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        for value in net.state_dict().values():
            value.fill_(3)
    network.he_init(net, torch.Generator().manual_seed(1))
    assert all(torch.equal(expected[name], value) for name, value in net.state_dict().items())


def test_option_a_subsamples_the_input_and_appends_zero_channels():
    x = torch.randn(2, 16, 9, 8)
    y = blocks.shortcut("A", 16, 32, 2)(x)
    assert y.shape == (2, 32, 5, 4)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert torch.all(y[:, 16:] == 0)


@pytest.mark.parametrize("option", ["A", "B", "highway"])
def test_where_the_shape_stays_the_shortcut_is_the_identity(option):
    x = torch.randn(2, 16, 5, 5)
    assert torch.equal(blocks.shortcut(option, 16, 16, 1)(x), x)


@pytest.mark.parametrize(("option", "same_shape"), [("B", False), ("C", False), ("C", True)])
def test_a_projection_is_a_1x1_convolution_with_bn_and_the_stride_of_the_block(option, same_shape):
    c_out, stride = (16, 1) if same_shape else (32, 2)
    made = list(blocks.shortcut(option, 16, c_out, stride))
    conv, bn = made
    assert (conv.kernel_size, conv.stride, conv.bias) == ((1, 1), (stride, stride), None)
    assert (conv.in_channels, conv.out_channels, bn.num_features) == (16, c_out, c_out)


def projected(net):
    return [
        (stage_name, i)
        for stage_name, stage in net.stages.items()
        for i, block in enumerate(stage)
        if isinstance(block.shortcut, nn.Sequential)
    ]


def test_option_b_projects_only_where_the_shape_changes():
    changes = [("conv3_x", 0), ("conv4_x", 0), ("conv5_x", 0)]
    assert projected(on_meta(zoo.imagenet(34, shortcut="B"))) == changes
    # A bottleneck stage ends in four times its width, so the first stage changes it too.
    assert projected(on_meta(zoo.imagenet(50, shortcut="B"))) == [("conv2_x", 0), *changes]


def test_options_a_and_none_project_nowhere_and_option_c_everywhere():
    assert projected(on_meta(zoo.imagenet(34, shortcut="A"))) == []
    assert projected(on_meta(zoo.imagenet(34, shortcut="none"))) == []
    assert len(projected(on_meta(zoo.imagenet(34, shortcut="C")))) == 3 + 4 + 6 + 3


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_plain_and_option_a_have_equal_parameters_and_b_and_c_have_more(depth):
    counts = {
        option: count_parameters(on_meta(zoo.imagenet(depth, shortcut=option)))
        for option in ("none", "A", "B", "C")
    }
    assert counts["none"] == counts["A"] < counts["B"] < counts["C"]


@pytest.mark.parametrize(
    ("name", "strided", "others"),
    [
        ("resnet34", "conv1", ["conv2"]),
        ("cifar-resnet20", "conv1", ["conv2"]),
        ("resnet50", "conv1", ["conv2", "conv3"]),
        ("resnet101", "conv1", ["conv2", "conv3"]),
        ("resnet50-v1.5", "conv2", ["conv1", "conv3"]),
        ("resnet152-v1.5", "conv2", ["conv1", "conv3"]),
    ],
)
def test_the_first_block_of_each_later_stage_halves_the_size_in_the_right_convolution(
    name, strided, others
):
    net = on_meta(zoo.named(name))
    for number, stage in enumerate(net.stages.values()):
        for i, block in enumerate(stage):
            halves = number > 0 and i == 0
            assert block.body.get_submodule(strided).stride == ((2, 2) if halves else (1, 1))
            assert all(block.body.get_submodule(other).stride == (1, 1) for other in others)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_bn_follows_every_convolution_which_then_has_no_bias(name):
    net = on_meta(zoo.named(name))
    projections = [
        block.shortcut
        for stage in net.stages.values()
        for block in stage
        if isinstance(block.shortcut, nn.Sequential)
    ]
    seen = 0
    for place in (net.stem, *bodies(net), *projections):
        layers = list(place)
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.Conv2d):
                seen += 1
                assert layer.bias is None
                assert isinstance(layers[i + 1], nn.BatchNorm2d)
                assert layers[i + 1].num_features == layer.out_channels
    assert seen == net.spec.depth - 1 + len(projections)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_body_ends_in_bn_because_the_last_nonlinearity_follows_the_addition(name):
    for body in bodies(on_meta(zoo.named(name))):
        kinds = [type(layer) for layer in body]
        convolutions = kinds.count(nn.Conv2d)
        assert kinds == ([nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * convolutions)[:-1]


def test_a_block_is_the_relu_of_the_sum_and_a_plain_one_the_relu_of_its_body():
    body, carry = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
    x = torch.randn(2, 4, 6, 6)
    residual, plain = blocks.Residual(body, carry)(x), blocks.Residual(body, None)(x)
    assert torch.equal(residual, torch.relu(body(x) + carry(x)))
    assert torch.equal(plain, torch.relu(body(x)))
    assert not torch.equal(residual, plain)


def test_a_highway_block_is_the_relu_of_body_and_input_weighed_by_the_gate():
    body, made = nn.Conv2d(4, 4, 3, padding=1), blocks.gate("highway", 4, 4, 1)
    x = torch.randn(2, 4, 6, 6)
    t = torch.sigmoid(made.conv(x))
    expected = torch.relu(body(x) * t + x * (1 - t))
    torch.testing.assert_close(blocks.Residual(body, nn.Identity(), made)(x), expected)
    assert all(blocks.gate(option, 4, 4, 1) is None for option in ("none", "A", "B", "C"))
