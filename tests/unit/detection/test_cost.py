"""What a detector costs, worked out by hand and counted while it runs."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from resnets.core.errors import ModelError
from resnets.detection import cost
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.spec import FasterRCNNSpec
from resnets.models import zoo

SIZE = (192, 160)


def by_name(found, part):
    (own,) = [each.cost for each in found.parts if each.name == part]
    return {each.name: each for each in own.layers}


def test_each_part_costs_what_it_costs_by_hand(spec):
    found = cost.measure(spec, SIZE, regions=50)
    assert found.map_size == (12, 10)
    shared = by_name(found, "shared")
    assert shared["stem.conv1"].multiply_adds == 3 * 8 * 49 * 80 * 96
    assert not [name for name in shared if name.startswith("stages.conv5_x")]
    proposals = by_name(found, "proposals")
    counted = {name: layer.multiply_adds for name, layer in proposals.items()}
    assert counted == {
        "conv": 16 * 512 * 9 * 10 * 12,
        "scores": 512 * 6 * 10 * 12,
        "deltas": 512 * 24 * 10 * 12,
    }
    region = by_name(found, "regions")
    counted = {name: each.multiply_adds for name, each in region.items() if each.multiply_adds}
    assert counted == {
        "stages.conv5_x.0.body.conv1": 16 * 32 * 9 * 7 * 7,
        "stages.conv5_x.0.body.conv2": 32 * 32 * 9 * 7 * 7,
        "stages.conv5_x.0.shortcut.conv": 16 * 32 * 7 * 7,
        "scores": 32 * 3,
        "deltas": 32 * 8,
    }
    once = sum(each.multiply_adds for each in (*shared.values(), *proposals.values()))
    assert found.multiply_adds == once + 50 * sum(counted.values())
    assert (found.anchors, found.anchors_in_all) == (6, 6 * 12 * 10)


@pytest.mark.parametrize("changes", [{}, {"global_context": True}, {"aligned": True}])
def test_it_is_what_torch_counts_while_the_detector_runs(spec, make, changes):
    detector = make(spec, **changes).eval()
    found = cost.measure(detector.spec, SIZE, regions=7)
    image_1chw = torch.zeros(1, 3, *SIZE[::-1])
    regions_r4 = torch.tensor([[10.0, 20.0, 90.0, 100.0]]).repeat(7, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        map_1chw = detector.shared(image_1chw)
        detector.propose(map_1chw)
        # What RoIAlign interpolates by is a product of matrices, and no layer.
        pooled = detector.pooled(map_1chw, regions_r4)
        context = detector.context(map_1chw)
        detector.judge(pooled, context)
    counts = counter.get_flop_counts()["Global"]
    layers = sum(n for op, n in counts.items() if "convolution" in str(op) or "addmm" in str(op))
    assert 2 * found.multiply_adds == layers
    assert found.parameters == sum(p.numel() for p in detector.parameters())
    assert bool(found.context_multiply_adds) == ("global_context" in changes)


def test_layers_and_parts_add_up_and_are_json(spec):
    told = json.loads(json.dumps(cost.measure(spec, SIZE, regions=50).to_dict()))
    assert (told["image_px"], told["image_width_px"], told["image_height_px"]) == (160, 192, 160)
    assert sum(each["parameters"] for each in told["layers"]) == told["parameters"]
    assert sum(each["parameters"] for each in told["parts"]) == told["parameters"]
    assert sum(each["multiply_adds"] for each in told["parts"]) == told["multiply_adds"]
    runs = sum(each["runs"] * each["multiply_adds"] for each in told["layers"])
    assert runs == told["multiply_adds"]
    assert [(each["part"], each["runs"]) for each in told["parts"]] == [
        *(("shared", 1), ("proposals", 1), ("regions", 50))
    ]
    assert [(each["part"], each["name"]) for each in told["stages"]] == [
        *(("shared", f"conv{number}_x") for number in (2, 3, 4)),
        ("regions", "conv5_x"),
    ]
    kinds = [each["kind"] for each in told["layers"] if each["part"] == "regions"]
    assert (kinds[0], kinds[-3:]) == ("RoI pooling", ["average pool", "linear", "linear"])


def test_of_vgg_every_region_runs_through_the_linear_layers():
    spec = FasterRCNNSpec(backbone=zoo.named("vgg16"), classes=20)
    found = cost.measure(spec, (1000, 600), regions=300)
    region = by_name(found, "regions")
    assert list(region) == ["pool", "fc6", "fc7", "deltas", "scores"]
    assert region["fc6"].multiply_adds == 512 * 49 * 4096
    kinds = [each.kind for each in by_name(found, "shared").values()]
    assert (kinds.count("convolution"), kinds.count("max pool")) == (13, 4)
    assert found.map_size == (62, 37)
    assert found.depth == 16
    with torch.device("meta"):
        detector = FasterRCNN(spec)
    assert found.parameters == sum(p.numel() for p in detector.parameters())


def test_no_region_at_all_is_refused(spec):
    with pytest.raises(ModelError, match="regions: must be positive"):
        cost.measure(spec, SIZE, regions=0)
