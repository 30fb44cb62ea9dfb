import json

import pytest

import resnets
from resnets.core.errors import CheckpointError, ModelError
from resnets.experiment import inspection
from resnets.inference import checkpoints
from resnets.recipes import codec


def test_a_network_as_json_has_the_keys_people_were_told():
    told = json.loads(json.dumps(inspection.inspect("cifar-resnet20").to_dict()))
    assert {"model", "parameters", "multiply_adds", "layers", "stages"} <= set(told)
    assert told["model"] == "cifar-resnet20"
    assert told["depth"] == 20
    assert {"weights_sha256", "recipe"}.isdisjoint(told)
    assert sum(layer["parameters"] for layer in told["layers"]) == told["parameters"]
    assert sum(layer["multiply_adds"] for layer in told["layers"]) == told["multiply_adds"]
    assert [stage["name"] for stage in told["stages"]] == ["conv2_x", "conv3_x", "conv4_x"]


def test_a_checkpoint_says_its_weights_and_its_recipe_too(finished, tiny):
    told = json.loads(json.dumps(inspection.inspect(finished.folder).to_dict()))
    assert told["weights_sha256"] == checkpoints.newest(finished.folder).weights_sha256
    assert codec.from_tree(told["recipe"]) == tiny
    assert told["model"] == str(finished.folder)
    assert (told["name"], told["update"], told["seed"]) == ("tiny", 10, 0)
    assert told["classes"] == ["red", "green", "blue", "dark"]
    assert told["data"]["name"] == "synthetic"
    assert told["depth"] == 8
    assert told["image_px"] == 32


def test_a_module_is_inspected_as_it_is():
    found = inspection.inspect(resnets.model("cifar-resnet20", classes=3))
    assert found.cost.parameters == inspection.inspect("cifar-resnet20").cost.parameters - 7 * 65
    assert found.cost.image_px == 32


def test_the_side_of_the_image_can_be_chosen():
    small, large = (inspection.inspect("cifar-resnet20", px).cost for px in (32, 64))
    assert large.parameters == small.parameters
    head = 640
    assert large.multiply_adds - head == 4 * (small.multiply_adds - head)


def test_it_prints_as_a_table_with_a_line_a_layer_and_the_totals():
    found = inspection.inspect("cifar-resnet20")
    title, header, *rows, totals = str(found).splitlines()
    assert title == "cifar-resnet20: 20 layers, one image of 3x32x32"
    assert header.split()[:2] == ["layer", "kind"]
    assert len(rows) == len(found.cost.layers)
    assert len({len(line.rstrip()) <= len(header) for line in rows}) == 1
    assert totals == f"{found.cost.parameters:,} parameters, 0.041e9 multiply-adds"


def test_it_shows_as_a_table_in_a_notebook(finished):
    found = inspection.inspect(finished.folder)
    shown = found._repr_html_()
    assert shown.count("<tr>") == 1 + len(found.cost.layers)
    assert checkpoints.newest(finished.folder).weights_sha256 in shown


def test_what_there_is_none_of_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cifar-resnet20"):
        inspection.inspect("cifar-resnet-20")
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        inspection.inspect(tmp_path)
