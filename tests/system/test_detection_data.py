"""Data sets with boxes on the command line: checked, and refused where classes are asked for."""

import json

import pytest

from samples import write_voc

DOG = ("dog", (1, 1, 20, 10), 0)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    wrong = ("dog", (30, 1, 99, 10), 1)
    folder = tmp_path_factory.mktemp("boxes") / "pets"
    lists = {"train": ["a", "b"], "val": ["c"]}
    return write_voc(folder, lists, {"a": [DOG, wrong], "b": [DOG], "c": [DOG]})


def test_a_check_says_what_is_wrong_with_boxes(boxes, ask):
    answer = ask("data", "check", boxes)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("pets: 3 images (2 train, 1 validation) with 4 boxes in 1 of 20")
    assert "warning  1 box partly outside of the image: cut off at its edge\n" in answer.out
    assert "train: JPEGImages/a.jpg: dog at 29, 0, 99, 10 in 60 x 40 px\n" in answer.out
    assert "flags    difficult 1\n" in answer.out
    tree = json.loads(ask("data", "check", boxes, "--json").out)
    assert (tree["train_boxes"], tree["flags"]) == (3, {"difficult": 1})
    assert "clipped" in [each["finding"] for each in tree["findings"]]


@pytest.mark.parametrize(
    "words",
    [
        ["train", "sample.resnet20", "--data"],
        ["train", "folder.finetune", "--data"],
        ["reproduce", "figure-6", "--quick", "--data"],
        ["evaluate", "FINISHED", "--data"],
    ],
)
def test_what_needs_classes_refuses_boxes_in_one_line(boxes, finished, ask, words):
    told = [str(finished) if word == "FINISHED" else word for word in words]
    answer = ask(*told, boxes)
    assert answer.status == 2
    assert answer.err == (
        "resnets: pets: images with boxes, for detection; this needs one class an image: one "
        "folder of images a class, or labels.csv\n"
    )
    assert answer.out == ""


def test_a_damaged_annotation_is_one_line_and_status_2(boxes, ask, tmp_path):
    folder = write_voc(tmp_path / "pets", {"train": ["a"]}, {"a": b"<!DOCTYPE a><annotation/>"})
    answer = ask("data", "check", folder)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert "has a document type" in answer.err
