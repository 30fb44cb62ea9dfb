"""The metrics of detection on COCO's own annotations, in ../shared/data."""

import contextlib
import io
import json
import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnets.core.random import generator
from resnets.data.annotated import Objects
from resnets.detection import submissions
from resnets.detection.detections import Detections
from resnets.detection.scoring import Scoring
from scenes import as_found

pytestmark = pytest.mark.real

FILE = Path(__file__).parents[3] / "shared/data/coco128/annotations/instances_train2017.json"


@pytest.fixture(scope="module")
def told():
    if not FILE.is_file():
        pytest.fail(f"{FILE} is missing; it holds the annotations of these tests")
    return json.loads(FILE.read_text())


@pytest.fixture(scope="module")
def split(told):
    """The objects of each image, the images' numbers, the categories' numbers."""
    ids = [each["id"] for each in told["images"]]
    categories = sorted(each["id"] for each in told["categories"])
    return [objects_of(told, image_id, categories) for image_id in ids], ids, categories


def objects_of(told, image_id, categories):
    own = [each for each in told["annotations"] if each["image_id"] == image_id]
    boxes = torch.tensor([each["bbox"] for each in own], dtype=torch.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    crowd = torch.tensor([bool(each["iscrowd"]) for each in own], dtype=torch.bool)
    return Objects(
        boxes.float(),
        torch.tensor([categories.index(each["category_id"]) for each in own], dtype=torch.int64),
        crowd,
        crowd,
        torch.tensor([each["area"] for each in own]),
    )


def scored(there, said, classes):
    made = Scoring(there, classes)
    for index, each in enumerate(said):
        made.add(index, each)
    return made


def test_what_is_there_given_as_what_was_found_is_all_right_by_both_metrics(split):
    there, _, categories = split
    assert sum(len(each) for each in there) == 939
    assert sum(int(each.crowd_n.sum()) for each in there) == 10
    made = scored(there, map(as_found, there), len(categories))
    for protocol in ("voc2007", "voc2010"):
        scores = made.scores(protocol)
        assert scores.values["ap50_percent"] == pytest.approx(100, abs=1e-9)
        aps = [ap for ap in scores.by_class if not math.isnan(ap)]
        assert len(aps) == len(categories) - len(scores.left_out) > 60
        assert aps == pytest.approx([100] * len(aps), abs=1e-9)
    values = made.scores("coco").values
    assert len(values) == 12
    for name in ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100"):
        assert values[f"{name}_percent"] == pytest.approx(100, abs=1e-9)


def guesses(there, classes):
    """Two boxes near each object, some of another class, with scores in steps of a hundredth."""
    for index, own in enumerate(there):
        draw = generator(0, "guess", index)
        boxes = own.boxes_n4.repeat(2, 1)
        sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        moved = boxes + 0.08 * sides * torch.randn(boxes.shape, generator=draw)
        labels = own.classes_n.repeat(2)
        wrong = torch.rand(len(labels), generator=draw) < 0.2
        labels[wrong] = torch.randint(classes, (int(wrong.sum()),), generator=draw)
        scores = torch.randint(100, (len(labels),), generator=draw) / 100
        yield Detections.of(moved, scores, labels)


def test_cocos_own_tool_measures_the_same_from_its_file_and_the_one_we_hand_in(
    told, split, tmp_path
):
    there, ids, categories = split
    said = list(guesses(there, len(categories)))
    submissions.write_coco(tmp_path / "found.json", ids, said, categories)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(FILE)
        judge = COCOeval(truth, truth.loadRes(str(tmp_path / "found.json")), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    made = scored(there, said, len(categories))
    ours = list(made.scores("coco").values.values())
    assert all(0.05 < value < 0.95 for value in judge.stats)
    np.testing.assert_allclose(ours, 100 * judge.stats, rtol=0, atol=1e-9)
    again = scored(there, submissions.read_coco(tmp_path / "found.json", ids, categories), 80)
    assert astuple(again.scores("voc2010"))[:3] == astuple(made.scores("voc2010"))[:3]
