import functools
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

import resnets
from resnets.cli.main import app
from resnets.core.errors import CheckpointError, ModelError, StorageError
from resnets.experiment import anatomy, inspection, paper
from resnets.inference import checkpoints
from resnets.models import zoo
from resnets.recipes import codec

inspected = functools.cache(inspection.inspect)


def run(*words):
    """Run the command in this process; its errors come out as they are."""
    return app(list(words), prog_name="resnets", standalone_mode=False)


def test_a_network_as_json_has_the_keys_people_were_told():
    told = json.loads(json.dumps(inspected("cifar-resnet20").to_dict()))
    assert {"model", "parameters", "multiply_adds", "layers", "stages", "blocks"} <= set(told)
    assert told["model"] == "cifar-resnet20"
    assert told["depth"] == 20
    assert {"weights_sha256", "recipe"}.isdisjoint(told)
    assert sum(layer["parameters"] for layer in told["layers"]) == told["parameters"]
    assert sum(layer["multiply_adds"] for layer in told["layers"]) == told["multiply_adds"]
    assert [stage["name"] for stage in told["stages"]] == ["conv2_x", "conv3_x", "conv4_x"]


def test_json_has_every_operation_of_each_different_block():
    blocks = inspected("cifar-resnet20").to_dict()["blocks"]
    assert [(block["stage"], block["shortcut"]) for block in blocks] == [
        ("stem", "none"),
        ("conv2_x", "identity"),
        ("conv3_x", "zero padding"),
        ("conv3_x", "identity"),
        ("conv4_x", "zero padding"),
        ("conv4_x", "identity"),
        ("head", "none"),
    ]
    first = blocks[2]["operations"]
    assert [each["kind"] for each in first] == [
        *("convolution", "batch norm", "relu", "convolution", "batch norm"),
        *("zero padding", "addition", "relu"),
    ]
    assert first[0]["formula"] == "floor((32 + 2*1 - 3)/2) + 1 = 16"
    assert (first[0]["stride"], first[0]["padding"]) == (2, 1)


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
    assert found.cost.parameters == inspected("cifar-resnet20").cost.parameters - 7 * 65
    assert found.cost.image_px == 32
    assert "sec. 4.2" in str(found)


def test_the_side_of_the_image_can_be_chosen():
    small, large = (inspected("cifar-resnet20", px).cost for px in (32, 64))
    assert large.parameters == small.parameters
    head = 640
    assert large.multiply_adds - head == 4 * (small.multiply_adds - head)


def test_it_prints_the_stages_beside_table_1():
    title, _, header, *lines = str(inspected("resnet34")).splitlines()
    assert title == "resnet34: 34 layers, one image of 3x224x224"
    assert header.split()[:2] == ["stage", "output"]
    rows = {line.split()[0]: line for line in lines[: lines.index("")]}
    ours, paper_s = rows["conv3_x"].split("1,116,416    873,463,808")
    assert ours.split(maxsplit=1)[1].strip() == "28x28    [3x3, 128; 3x3, 128] x 4"
    assert paper_s.strip() == "28x28    [3x3, 128; 3x3, 128] x 4"
    assert lines[-1] == (
        "21,797,672 parameters, 3.664e9 multiply-adds; the paper prints 3.6e9 multiply-adds "
        "(Table 1)"
    )


@pytest.mark.parametrize("depth", zoo.TABLE_1)
def test_our_stages_are_those_of_table_1(depth):
    found = inspected(f"resnet{depth}")
    told = paper.printed(found.spec)
    rows = {row[0]: row for row in anatomy.stages(found.cost)}
    for name in ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x"):
        assert told.stages[name].split(maxsplit=1) == rows[name][1:3]


@pytest.mark.parametrize(
    ("name", "where", "total"),
    [
        ("resnet18", "Table 1", "1.8e9 multiply-adds"),
        ("resnet152", "Table 1", "11.3e9 multiply-adds"),
        ("plain34", "Table 1", "3.6e9 multiply-adds"),
        ("cifar-resnet110", "sec. 4.2, Table 6", "1.7e6 parameters"),
        ("cifar-resnet1202", "sec. 4.2, Table 6", "19.4e6 parameters"),
        ("cifar-resnet26", "sec. 4.2", ""),
        ("cifar-plain20", "sec. 4.2", ""),
    ],
)
def test_what_the_paper_prints_is_found(name, where, total):
    told = paper.printed(zoo.named(name))
    assert (told.where, told.total) == (where, total)


def test_the_paper_prints_nothing_about_other_networks():
    assert paper.printed(zoo.named("highway34")) is None
    assert paper.printed(zoo.named("resnet18-small")) is None
    other = zoo.named("resnet18")
    assert paper.printed(replace(other, stages=other.stages[:3])) is None
    assert "not, as here, on the 3x3" in paper.printed(zoo.named("resnet50-v1.5")).total
    assert "the paper" not in str(inspected("highway34"))


def test_every_operation_of_each_different_block_is_worked_out_in_order():
    found = {block.title: block.rows for block in anatomy.blocks(inspected("resnet34").cost)}
    assert list(found) == [
        "before the stages",
        "conv2_x, blocks 1 to 3 of 3: identity shortcut",
        "conv3_x, block 1 of 4: projection shortcut",
        "conv3_x, blocks 2 to 4 of 4: identity shortcut",
        "conv4_x, block 1 of 6: projection shortcut",
        "conv4_x, blocks 2 to 6 of 6: identity shortcut",
        "conv5_x, block 1 of 3: projection shortcut",
        "conv5_x, blocks 2 to 3 of 3: identity shortcut",
        "after the stages",
    ]
    halved = "floor((56 + 2*1 - 3)/2) + 1 = 28"
    kept = "floor((28 + 2*1 - 3)/1) + 1 = 28"
    carried = "floor((56 + 2*0 - 1)/2) + 1 = 28"
    small = "128x28x28"
    assert found["conv3_x, block 1 of 4: projection shortcut"] == [
        ["F(x)", "3x3 conv, 128; batch norm; relu", "2", "1", halved, f"64x56x56 -> {small}"],
        ["F(x)", "3x3 conv, 128; batch norm", "1", "1", kept, f"{small} -> {small}"],
        ["S(x)", "1x1 conv, 128; batch norm", "2", "0", carried, f"64x56x56 -> {small}"],
        ["y", "F(x) + S(x); relu", "", "", "", small],
    ]


@pytest.mark.parametrize(
    ("name", "last", "shortcut"),
    [
        ("plain18", "F(x); relu", None),
        ("resnet18-a", "F(x) + S(x); relu", "every 2nd pixel; 64 channels of 0"),
        ("highway34", "F(x) T(x) + S(x) (1 - T(x)); relu", "every 2nd pixel; 64 channels of 0"),
    ],
)
def test_each_kind_of_shortcut_is_told(name, last, shortcut):
    rows = anatomy.blocks(inspected(name).cost)[2].rows
    assert rows[-1][1] == last
    assert [row[1] for row in rows if row[0] == "S(x)"] == [shortcut] * (shortcut is not None)
    assert [row[1] for row in rows if row[0] == "T(x)"] == (
        ["3x3 conv, 128; sigmoid"] if name == "highway34" else []
    )


def test_it_says_why_filters_double_with_the_networks_own_numbers():
    why = anatomy.why_filters_double(inspected("resnet50").cost)
    assert "conv2_x: 64*64*3*3*56*56 = 115,605,504" in why
    assert "conv5_x: 512*512*3*3*7*7 = 115,605,504: equal." in why


def test_an_odd_size_is_rounded_and_said_to_be():
    found = inspected("resnet18", 97)
    text = str(found)
    assert "floor((97 + 2*3 - 7)/2) + 1 = 49" in text
    assert "floor((25 + 2*1 - 3)/2) + 1 = 13" in text
    assert "the paper, Table 1, 224x224" in text
    assert text.endswith("the paper prints 1.8e9 multiply-adds (Table 1, 224x224)")
    why = anatomy.why_filters_double(found.cost)
    assert why.endswith("because half of an odd size is rounded up.")
    assert "floor((225 + 2*3 - 7)/2) + 1 = 113" in str(inspected("resnet18", 225))


def test_filters_that_do_not_double_are_not_explained():
    base = zoo.named("cifar-resnet20")
    stages = tuple(replace(stage, width=16) for stage in base.stages)
    found = inspection.inspect(resnets.model("cifar-resnet20"))
    assert anatomy.why_filters_double(found.cost)
    same = replace(base, stages=stages)
    assert anatomy.why_filters_double(inspection.cost.measure(same)) == ""
    one = replace(base, stages=base.stages[:1])
    assert anatomy.why_filters_double(inspection.cost.measure(one)) == ""


def test_no_line_of_the_34_layer_network_is_longer_than_a_wide_terminal():
    lines = str(inspected("resnet34")).splitlines()
    assert max(map(len, lines)) <= 120
    assert len(lines) <= 70


def test_it_shows_as_tables_in_a_notebook(finished):
    found = inspection.inspect(finished.folder)
    shown = found._repr_html_()
    assert checkpoints.newest(finished.folder).weights_sha256 in shown
    tables = ET.fromstring(f"<div>{shown}</div>").iter("table")
    stages, blocks, layers = [len(list(table.iter("tr"))) for table in tables]
    assert layers == 1 + len(found.cost.layers)
    assert stages == 1 + len(anatomy.stages(found.cost))
    assert blocks == 1 + sum(1 + len(each.rows) for each in anatomy.blocks(found.cost))


def test_the_command_draws_a_diagram_beside_what_it_prints(tmp_path, capsys):
    run("inspect", "resnet34", "--diagram", str(tmp_path / "x.svg"), "--json")
    assert json.loads(capsys.readouterr().out)["model"] == "resnet34"
    root = ET.parse(tmp_path / "x.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


@pytest.mark.parametrize("name", ["x.png", "x", ".svg"])
def test_a_diagram_under_another_name_is_refused_before_anything_is_done(name, tmp_path, capsys):
    with pytest.raises(StorageError, match=r"ends in \.svg") as caught:
        run("inspect", "resnet34", "--diagram", str(tmp_path / name))
    assert caught.value.exit_status == 2
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_diagram_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write") as caught:
        run("inspect", "cifar-resnet8", "--diagram", str(tmp_path / "file" / "x.svg"))
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_what_there_is_none_of_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cifar-resnet20"):
        inspection.inspect("cifar-resnet-20")
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        inspection.inspect(tmp_path)
