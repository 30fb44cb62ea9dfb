import json
from dataclasses import replace

import pytest
import torch
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
        ("head", "linear", ""),
    ]
    first, second = found.layers[0], found.layers[2]
    assert (first.input_size, first.output_size, first.stride) == ((3, 8, 8), (8, 8, 8), 1)
    assert (second.input_size, second.output_size, second.stride) == ((8, 8, 8), (16, 4, 4), 2)
    assert (found.layers[-1].input_size, found.layers[-1].output_size) == ((16,), (10,))


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
