"""A detector explained: by its recipe's name, and as a module."""

import functools
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import torch

from resnets.core.errors import DataError, ModelError, RecipeError
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.experiment import inspect_detectors, inspection
from resnets.recipes import catalogue, codec

inspected = functools.cache(inspection.inspect)


def test_a_recipe_as_json_has_a_classifiers_keys_and_a_detectors():
    told = json.loads(json.dumps(inspected("voc.resnet101").to_dict()))
    network = inspected("resnet101").to_dict()
    assert set(network) <= set(told)
    assert (told["model"], told["network"], told["depth"]) == ("voc.resnet101", "resnet101", 101)
    assert (told["image_width_px"], told["image_height_px"]) == (1000, 600)
    assert (told["regions"], told["class_count"]) == (300, 20)
    assert told["anchors"] == 9 * 38 * 63
    assert told["anchor_scales_px"] == [128, 256, 512]
    assert codec.from_tree(told["recipe"]) == catalogue.DETECTORS["voc.resnet101"]
    assert {"weights_sha256", "classes"}.isdisjoint(told)


def test_it_prints_the_parts_apart_and_then_together():
    lines = str(inspected("voc.resnet101")).splitlines()
    assert lines[0] == (
        "voc.resnet101: Faster R-CNN of resnet101, one image of 3x600x1000, 300 regions"
    )
    rows = lines[3 : lines.index("", 3)]
    parts = [line.split("  ")[0] for line in rows if not line.startswith(" ")]
    assert parts == ["shared", "proposals", "regions, each"]
    (conv4,) = [line for line in rows if "conv4_x" in line]
    assert conv4.split()[1] == "38x63"
    assert any("RoI pooling" in line for line in rows)
    assert any("21-d fc" in line for line in rows)
    ends = {line.split()[0]: line for line in lines[-20:] if line and line[0] != " "}
    assert "multiply-adds: 300 times" in ends["regions"]
    assert "9 at each of 38x63 places, 21,546 in all" in ends["anchors"]
    assert "20, and background" in ends["classes"]
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", catalogue.DETECTORS)
def test_every_recipe_is_inspected(name):
    found = inspected(name)
    with torch.device("meta"):
        detector = FasterRCNN(found.spec)
    assert found.cost.parameters == sum(p.numel() for p in detector.parameters())
    assert name in str(found)


def test_it_shows_as_tables_in_a_notebook():
    found = inspected("coco.vgg16")
    shown = ET.fromstring(f"<div>{found._repr_html_()}</div>")
    stages, _, layers = [len(list(table.iter("tr"))) for table in shown.iter("table")]
    assert layers == 1 + sum(len(part.cost.layers) for part in found.cost.parts)
    assert stages == 1 + 5 + 3 + 5  # stages, layers of proposals, layers of regions


def test_the_shorter_side_can_be_chosen_and_the_longer_follows():
    small = inspected("voc.resnet50", 300)
    assert small.cost.size == (500, 300)
    assert small.cost.parameters == inspected("voc.resnet50").cost.parameters
    with pytest.raises(DataError, match="needs 32 <= shorter"):
        inspection.inspect("voc.resnet50", 10)


def test_a_module_is_inspected_as_it_is():
    spec = replace(catalogue.DETECTORS["voc.resnet50"].model, classes=3, global_context=True)
    with torch.device("meta"):
        found = inspection.inspect(FasterRCNN(spec))
    assert isinstance(found, inspect_detectors.DetectorInspection)
    assert "context " in str(found)
    assert found.to_dict()["parts"][-1]["part"] == "context"
    assert "recipe" not in found.to_dict()


def test_what_there_is_none_of_is_refused():
    with pytest.raises(RecipeError, match=r"did you mean voc\.resnet101"):
        inspection.inspect("voc.resnet11")
    with pytest.raises(ModelError, match="resnets inspect vgg16 --diagram"):
        inspected("coco.vgg16").diagram()
