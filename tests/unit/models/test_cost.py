import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from resnets.core.errors import ModelError
from resnets.models import cost, network, spec, zoo

ONE_BLOCK = spec.ResNetSpec(
    stem=spec.StemSpec(kernel=3, width=8, stride=1, pool=False),
    block="basic",
    stages=(spec.StageSpec(blocks=1, width=16, stride=2),),
    shortcut="B",
    classes=10,
)


def test_one_block_costs_what_it_costs_by_hand():
    found = cost.measure(ONE_BLOCK, 8)
    by_hand = {
        "stem.conv1": 3 * 8 * 9 * 8 * 8,
        "stages.conv2_x.0.body.conv1": 8 * 16 * 9 * 4 * 4,
        "stages.conv2_x.0.body.conv2": 16 * 16 * 9 * 4 * 4,
        "stages.conv2_x.0.shortcut.conv": 8 * 16 * 4 * 4,
        "head": 16 * 10,
    }
    counted = {layer.name: layer.multiply_adds for layer in found.layers if layer.multiply_adds}
    assert counted == by_hand
    assert found.multiply_adds == sum(by_hand.values())
    stage = sum(count for name, count in by_hand.items() if name.startswith("stages."))
    assert [s.multiply_adds for s in found.stages] == [stage]
    batch_norms = 2 * 8 + 2 * 16 + 2 * 16 + 2 * 16
    convolutions = 3 * 8 * 9 + 8 * 16 * 9 + 16 * 16 * 9 + 8 * 16
    assert found.parameters == convolutions + batch_norms + 16 * 10 + 10
    assert found.depth == 4


def test_layers_stand_in_the_order_they_run_with_their_sizes():
    found = cost.measure(ONE_BLOCK, 8)
    assert [(layer.name.split(".")[-1], layer.kind, layer.kernel) for layer in found.layers] == [
        ("conv1", "convolution", "3x3"),
        ("bn1", "batch norm", ""),
        ("conv1", "convolution", "3x3"),
        ("bn1", "batch norm", ""),
        ("conv2", "convolution", "3x3"),
        ("bn2", "batch norm", ""),
        ("conv", "convolution", "1x1"),
        ("bn", "batch norm", ""),
        ("pool", "average pool", "4x4"),
        ("head", "linear", ""),
    ]
    first, second = found.layers[0], found.layers[2]
    assert (first.input_size, first.output_size, first.stride) == ((3, 8, 8), (8, 8, 8), 1)
    assert (second.input_size, second.output_size, second.stride) == ((8, 8, 8), (16, 4, 4), 2)
    assert [layer.padding for layer in found.layers if layer.kind == "convolution"] == [1, 1, 1, 0]
    assert (found.layers[-1].input_size, found.layers[-1].output_size) == ((16,), (10,))


def test_the_operations_of_a_block_stand_in_order_and_in_their_parts():
    ((block,),) = cost.measure(ONE_BLOCK, 8).blocks.values()
    assert (block.shortcut, block.gated, block.residual, block.parallel) == (
        *("projection", False, True, False),
    )
    body = ["convolution", "batch norm", "relu", "convolution", "batch norm"]
    assert [each.kind for each in block.body] == body
    assert [each.kind for each in block.carried] == ["convolution", "batch norm"]
    assert block.gate == ()
    assert block.operations == (*block.body, *block.carried, *block.operations[-2:])
    assert [each.kind for each in block.operations[-2:]] == ["addition", "relu"]
    assert block.multiply_adds == cost.measure(ONE_BLOCK, 8).stages[0].multiply_adds


def test_a_gated_block_carries_its_input_and_has_a_sigmoid():
    block = cost.measure(zoo.named("cifar-highway20")).blocks["conv3_x"][0]
    assert block.gated
    assert [each.kind for each in block.carried] == ["zero padding"]
    assert [each.kind for each in block.gate] == ["convolution", "sigmoid"]


@pytest.mark.parametrize(
    ("name", "shortcuts"),
    [
        ("plain18", ["none", "none", "none", "none"]),
        ("resnet18-a", ["identity", "identity", "zero padding", "identity"]),
        ("resnet18", ["identity", "identity", "projection", "identity"]),
        ("resnet34-c", ["projection"] * 7),
    ],
)
def test_shortcuts_are_those_of_the_options(name, shortcuts):
    found = cost.measure(zoo.named(name)).blocks
    assert [block.shortcut for stage in list(found)[:2] for block in found[stage]] == shortcuts


def test_equal_neighbours_are_a_run():
    found = cost.measure(zoo.named("resnet34"))
    runs = [(stage, len(run)) for stage, run in found.runs()]
    assert runs == [
        *(("conv2_x", 3), ("conv3_x", 1), ("conv3_x", 3), ("conv4_x", 1), ("conv4_x", 5)),
        *(("conv5_x", 1), ("conv5_x", 2)),
    ]
    assert [block for _, block in found.different()] == [run[0] for _, run in found.runs()]


def worked_out(formula):
    """Return what the left side of a formula comes to, and what its right side says."""
    left, right = formula.split(" = ")
    return eval(left, {"floor": math.floor, "ceil": math.ceil}), int(right)


# Every network of the zoo but those that only have more of the same blocks.
SHALLOW = [name for name in zoo.NAMES if zoo.named(name).depth <= 50]


@pytest.mark.parametrize("name", SHALLOW)
def test_the_formula_comes_to_the_size_that_torch_gives(name):
    described = zoo.named(name)
    for image_px in (described.image_px, 97):
        found = cost.measure(described, image_px)
        blocks = [found.stem, *(b for made in found.blocks.values() for b in made), found.head]
        formulas = [each.formula for block in blocks for each in block.operations if each.formula]
        assert len(formulas) > len([layer for layer in found.layers if layer.kernel]) - 1
        for formula in formulas:
            result, told = worked_out(formula)
            assert result == told, formula


@given(image_px=st.integers(1, 80), kernel=st.sampled_from([1, 3, 5, 7]), stride=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_formula_holds_for_any_image_kernel_and_stride(image_px, kernel, stride):
    stem = spec.StemSpec(kernel=kernel, width=4, stride=stride, pool=True)
    found = cost.measure(replace(ONE_BLOCK, stem=stem), image_px)
    for layer in found.layers:
        if layer.formula:
            result, told = worked_out(layer.formula)
            assert result == told == layer.output_size[1], layer.formula


def test_a_formula_that_is_wrong_would_be_noticed():
    layer = cost.measure(ONE_BLOCK, 8).layers[0]
    assert layer.formula == "floor((8 + 2*1 - 3)/1) + 1 = 8"
    assert worked_out(replace(layer, padding=0).formula) == (6, 8)
    assert worked_out(replace(layer, stride=2).formula) == (4, 8)
    assert worked_out(replace(layer, stride=2, rounds_up=True).formula) == (5, 8)
    assert cost.measure(ONE_BLOCK, 8).layers[1].formula == ""


def test_an_image_that_a_network_cannot_take_is_refused():
    with pytest.raises(ModelError, match=r"image_px: .* 32 px, got 16"):
        cost.measure(spec.VggSpec(convolutions=(1, 1, 1, 1, 1), classes=3), 16)


def test_layers_outside_residual_blocks_are_one_block_a_stage():
    found = cost.measure(spec.VggSpec(convolutions=(1, 2, 1, 1, 1), classes=3))
    assert {len(made) for made in found.blocks.values()} == {1}
    assert not any(block.residual for made in found.blocks.values() for block in made)
    everything = [*(b for made in found.blocks.values() for b in made), found.head]
    assert sum(block.multiply_adds for block in everything) == found.multiply_adds
    convolutions = [
        sum(each.kind == "convolution" for each in made[0].operations)
        for made in found.blocks.values()
    ]
    assert convolutions == [1, 2, 1, 1, 1]


def test_an_inception_module_runs_branches_side_by_side():
    found = cost.measure(spec.GoogLeNetSpec(classes=3))
    parallel = [b for made in found.blocks.values() for b in made if b.parallel]
    assert len(parallel) == 9
    assert parallel[0].operations[-1].output_size == (256, 28, 28)


def test_a_spatial_pyramid_is_recognised_by_its_sizes():
    found = cost.measure(spec.PReLUNetSpec(classes=3))
    first = found.head.operations[0]
    assert (first.kind, first.output_size) == ("spatial pyramid", (896 * 63,))


NAMES = ["resnet18", "resnet50", "resnet34-a", "cifar-highway20", "resnet18-small"]


@pytest.mark.parametrize("name", NAMES)
def test_the_sum_over_layers_is_the_total(name):
    found = cost.measure(zoo.named(name))
    assert found.multiply_adds == sum(layer.multiply_adds for layer in found.layers)
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    with torch.device("meta"):
        net = network.ResNet(zoo.named(name))
    assert found.parameters == sum(p.numel() for p in net.parameters())
    outside = [layer for layer in found.layers if not layer.name.startswith("stages.")]
    for what in ("multiply_adds", "parameters"):
        total = sum(getattr(part, what) for part in (*found.stages, *outside))
        assert total == getattr(found, what)
    assert len({layer.name for layer in found.layers}) == len(found.layers)


@pytest.mark.parametrize("name", ["resnet50", "resnet50-v1.5", "cifar-highway20"])
def test_torchs_own_counter_agrees(name):
    described = zoo.named(name)
    side = described.image_px
    with torch.device("meta"):
        net = network.ResNet(described).eval()
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, side, side, device="meta"))
    assert counter.get_total_flops() == 2 * cost.measure(described).multiply_adds


def test_convolutions_cost_in_proportion_to_the_image_and_the_head_does_not():
    small, large = (cost.measure(zoo.named("resnet18"), px) for px in (224, 448))
    head = 512 * 1000
    assert large.multiply_adds - head == 4 * (small.multiply_adds - head)
    assert (small.image_px, large.image_px) == (224, 448)
    assert small.parameters == large.parameters


def test_the_image_is_as_the_paper_gives_it_where_none_is_said():
    assert cost.measure(zoo.named("resnet18")).image_px == 224
    assert cost.measure(zoo.named("cifar-resnet20")).image_px == 32


@pytest.mark.parametrize("image_px", [0, -1, -224])
def test_an_image_without_pixels_is_refused(image_px):
    with pytest.raises(ModelError, match=rf"image_px: must be positive, got {image_px}$"):
        cost.measure(ONE_BLOCK, image_px)


def test_one_pixel_is_enough_for_a_network_that_pads():
    assert cost.measure(zoo.named("resnet18"), 1).stages[-1].output_size == (512, 1, 1)


def test_measuring_leaves_torchs_randomness_and_default_device_alone():
    state = torch.random.get_rng_state()
    cost.measure(ONE_BLOCK, 8)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.empty(0).device == torch.device("cpu")


def test_a_cost_is_json_with_the_numbers_it_shows():
    found = cost.measure(replace(ONE_BLOCK, classes=3), 8)
    value = json.loads(json.dumps(found.to_dict()))
    assert value["parameters"] == found.parameters
    assert value["multiply_adds"] == found.multiply_adds
    assert value["layers"][0]["output_size"] == [8, 8, 8]
    assert value["stages"][0]["name"] == "conv2_x"


def test_the_first_layer_of_a_grey_network_does_a_third():
    coloured, grey = (cost.measure(zoo.taking(zoo.named("resnet18"), k)) for k in (3, 1))
    assert grey.layers[0].input_size == (1, 224, 224)
    assert 3 * grey.layers[0].multiply_adds == coloured.layers[0].multiply_adds
    assert coloured.parameters - grey.parameters == 2 * 64 * 49
