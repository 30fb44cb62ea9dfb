"""What was found in all images becomes numbers; several processes make the same ones."""

import json
import math
import os
from pathlib import Path

import pytest

import forked
from resnets.core.processes import ALONE
from resnets.data.annotated import Objects
from resnets.detection.detections import Detections
from resnets.detection.scoring import PROTOCOLS, Scoring
from scenes import as_found, found, objects

SCRIPT = Path(__file__).parent / "together.py"
A, B = (0, 0, 10, 10), (20, 20, 40, 40)


def scored(there, said, classes):
    made = Scoring(there, classes)
    for index, each in enumerate(said):
        made.add(index, each)
    return made


def test_vocs_number_is_of_the_protocol_that_is_asked_for():
    there = [objects((*A, 0), (*B, 0))]
    made = scored(there, [found((*A, 0, 0.9))], 1)
    assert made.scores("voc2010").values == {"ap50_percent": 50}
    assert made.scores("voc2007").values == {"ap50_percent": pytest.approx(600 / 11)}
    assert made.scores("voc2007").by_class == (pytest.approx(600 / 11),)


def test_cocos_numbers_have_their_names():
    there = [objects((*A, 0), (50, 50, 100, 100, 0), (100, 100, 300, 300, 0))]
    made = scored(there, map(as_found, there), 1).scores("coco")
    names = [
        *("ap_percent", "ap50_percent", "ap75_percent"),
        *("ap_small_percent", "ap_medium_percent", "ap_large_percent"),
        *("ar1_percent", "ar10_percent", "ar100_percent"),
        *("ar_small_percent", "ar_medium_percent", "ar_large_percent"),
    ]
    assert list(made.values) == names
    assert made.values["ar1_percent"] == pytest.approx(100 / 3)
    assert made.values["ap_percent"] == pytest.approx(100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_class_without_an_object_is_left_out_and_this_is_said(protocol):
    there = [objects((*A, 0), (*B, 2, "crowd"))]
    made = scored(there, map(as_found, there), 3).scores(protocol)
    assert made.left_out == (1, 2)
    assert made.values["ap50_percent"] == pytest.approx(100)
    named = dict(made.named("test"))
    assert named["test_ap50_percent"] == pytest.approx(100)
    assert (named["test_images"], named["test_classes_left_out"]) == (1, 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_number_that_nothing_can_be_said_of_is_missing_so_that_json_stays_json(protocol):
    made = scored([Objects.none()], [found((*A, 0, 0.9))], 1).scores(protocol)
    assert made.values == {}
    assert math.isnan(made.by_class[0])
    json.dumps(dict(made.named("test")), allow_nan=False)


def test_an_image_is_answered_once():
    made = scored([objects((*A, 0))] * 2, [Detections.none()], 1)
    with pytest.raises(ValueError, match="image 0: was answered before"):
        made.add(0, Detections.none())
    with pytest.raises(ValueError, match="image 2: there are 2"):
        made.add(2, Detections.none())
    with pytest.raises(ValueError, match="image -1: there are 2"):
        made.add(-1, Detections.none())
    with pytest.raises(ValueError, match=r"image 1: labels must be in \[0, 1\)"):
        made.add(1, found((*A, 1, 0.5)))


def test_there_are_no_numbers_of_a_part_of_the_images():
    made = scored([objects((*A, 0))] * 3, [Detections.none()], 1)
    with pytest.raises(ValueError, match="2 images were not answered, image 1 first"):
        made.scores("voc2010")


def test_one_process_has_everything():
    there = [objects((*A, 0)), Objects.none()]
    made = scored(there, [found((*B, 0, math.nan), (*A, 0, 0.5)), Detections.none()], 1)
    again = made.together(ALONE)
    assert again.scores("voc2010") == made.scores("voc2010")
    assert math.isnan(again.found[0].scores_n[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_several_processes_measure_in_any_order_what_one_does(tmp_path):
    forked.run(SCRIPT, 3, tmp_path)
    for rank in range(3):
        made = json.loads((tmp_path / f"{rank}.json").read_text())
        alone, forwards, backwards, images = made
        values = [protocol[2]["ap50_percent"] for protocol in alone[0]]
        assert all(5 < value < 95 for value in values)
        assert forwards[:2] == backwards[:2] == alone[:2]
        assert forwards[2] == "image 0: was answered before"
        assert images == 1
