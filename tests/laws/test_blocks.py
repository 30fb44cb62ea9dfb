"""What holds for every block and every network, not only for those the paper names."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from resnets.models import blocks, cost, network, spec, zoo

few = settings(deadline=None, max_examples=15)
SHORTCUTS = ("A", "B", "C", "highway")


def ceil_div(a, b):
    return -(-a // b)


@st.composite
def made_blocks(draw, shortcuts=SHORTCUTS):
    """A block with random weights and statistics, and an input for it."""
    torch.manual_seed(draw(st.integers(0, 2**32)))
    c_in = draw(st.integers(1, 8))
    stride = draw(st.integers(1, 3))
    option = draw(st.sampled_from(shortcuts))
    width = draw(st.integers(c_in, 12))
    if draw(st.booleans()):
        body, c_out = blocks.basic(c_in, width, stride), width
    else:
        stride_on = draw(st.sampled_from(["1x1", "3x3"]))
        body, c_out = blocks.bottleneck(c_in, width, stride, stride_on), 4 * width
    block = blocks.Residual(
        body,
        blocks.shortcut(option, c_in, c_out, stride),
        blocks.gate(option, c_in, c_out, stride),
    )
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    height, width_px = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    x = torch.randn(2, c_in, height, width_px)
    return block.train(draw(st.booleans())), x


@st.composite
def specs(draw):
    option = draw(st.sampled_from(["none", *SHORTCUTS]))
    widths = sorted(draw(st.lists(st.integers(2, 6), min_size=2, max_size=4)))
    return spec.ResNetSpec(
        stem=spec.StemSpec(
            kernel=draw(st.sampled_from([1, 3, 5, 7])),
            width=widths[0],
            stride=draw(st.integers(1, 2)),
            pool=draw(st.booleans()),
        ),
        block=draw(st.sampled_from(["basic", "bottleneck"])),
        stages=tuple(
            spec.StageSpec(
                blocks=draw(st.integers(1, 2)), width=width, stride=draw(st.integers(1, 3))
            )
            for width in widths[1:]
        ),
        shortcut=option,
        classes=draw(st.integers(1, 5)),
        stride_on=draw(st.sampled_from(["1x1", "3x3"])),
    )


@few
@given(made_blocks(shortcuts=("A", "B", "C")))
def test_a_block_whose_last_bn_is_zero_is_the_relu_of_its_shortcut(made):
    block, x = made
    last = block.body[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    y = block(x)
    assert torch.equal(y, torch.relu(block.shortcut(x)))


@few
@given(made_blocks(shortcuts=("highway",)))
def test_a_closed_gate_carries_the_input_and_an_open_one_passes_the_body(made):
    block, x = made
    block.eval()
    nn.init.constant_(block.gate.conv.bias, -1e6)
    assert torch.equal(block(x), torch.relu(block.shortcut(x)))
    nn.init.constant_(block.gate.conv.bias, 1e6)
    assert torch.equal(block(x), torch.relu(block.body(x)))


@few
@given(made_blocks())
def test_a_block_never_changes_its_input_and_never_puts_out_a_negative_value(made):
    block, x = made
    kept = x.clone()
    assert torch.all(block(x) >= 0)
    assert torch.equal(x, kept)


@few
@given(n=st.integers(1, 5))
def test_plain_and_residual_cifar_networks_cost_the_same_at_any_depth(n):
    plain = cost.measure(zoo.named(f"cifar-plain{6 * n + 2}"))
    residual = cost.measure(zoo.named(f"cifar-resnet{6 * n + 2}"))
    assert (plain.depth, plain.parameters, plain.multiply_adds) == (
        residual.depth,
        residual.parameters,
        residual.multiply_adds,
    )
    assert [layer.output_size for layer in plain.layers] == [
        layer.output_size for layer in residual.layers
    ]


@settings(deadline=None, max_examples=8)
@given(specs())
def test_plain_and_option_a_have_equal_cost_whatever_the_network(described):
    plain, option_a = (
        cost.measure(replace(described, shortcut=option), 20) for option in ("none", "A")
    )
    assert (plain.parameters, plain.multiply_adds) == (option_a.parameters, option_a.multiply_adds)


@settings(deadline=None, max_examples=12)
@given(specs(), st.integers(1, 70), st.integers(1, 70))
def test_every_stride_divides_the_size_and_rounds_up(described, height, width):
    with torch.device("meta"):
        net = network.ResNet(described).eval()
        x = torch.empty(2, 3, height, width)
    maps = net.features(x)
    times = 4 if described.block == "bottleneck" else 1
    size = [ceil_div(side, described.stem.stride) for side in (height, width)]
    if described.stem.pool:
        size = [ceil_div(side, 2) for side in size]
    for stage, found in zip(described.stages, maps.values(), strict=True):
        size = [ceil_div(side, stage.stride) for side in size]
        assert found.shape == (2, times * stage.width, *size)
    assert net(x).shape == (2, described.classes)


@settings(deadline=None, max_examples=8)
@given(specs(), st.integers(0, 2**32))
def test_the_logits_are_the_head_of_the_last_features_mean_over_space(described, seed):
    net = network.ResNet(described).eval()
    network.he_init(net, torch.Generator().manual_seed(seed))
    x = torch.randn(1, 3, 7, 10, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        maps = net.features(x)
        logits = net(x)
        assert torch.equal(net.head(list(maps.values())[-1].mean(dim=(2, 3))), logits)
    assert list(maps) == [f"conv{i}_x" for i in range(2, 2 + len(described.stages))]


@few
@given(specs())
def test_depth_is_the_number_of_convolutions_in_stem_and_bodies_and_the_head(described):
    with torch.device("meta"):
        net = network.ResNet(described)
    bodies = [block.body for stage in net.stages.values() for block in stage]
    places = [net.stem, *bodies]
    convs = sum(isinstance(m, nn.Conv2d) for place in places for m in place.modules())
    assert described.depth == convs + 1
