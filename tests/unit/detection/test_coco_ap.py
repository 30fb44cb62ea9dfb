"""COCO's numbers. That they are those of COCO's own tool is in tests/oracle/test_coco_ap.py."""

import importlib.util
import math
from dataclasses import fields

import pytest
import torch

from resnets.core.errors import RunError
from resnets.data.annotated import Objects
from resnets.detection import coco_ap
from resnets.detection.detections import Detections
from scenes import as_found, found, objects

SMALL, MEDIUM, LARGE = (0, 0, 10, 10), (20, 20, 70, 70), (100, 100, 300, 300)


def numbers(measured):
    return {
        each.name: getattr(measured, each.name)
        for each in fields(measured)
        if not each.name.startswith("by_class")
    }


def test_objects_that_are_found_as_they_are_give_one_twelve_times():
    there = [objects((*SMALL, 0), (*MEDIUM, 0), (*LARGE, 0)), objects(), objects((*MEDIUM, 1))]
    measured = coco_ap.measure([as_found(each) for each in there], there, 2)
    made = numbers(measured)
    assert len(made) == 12
    assert made.pop("ar1") == pytest.approx((1 / 3 + 1) / 2)
    assert all(value == pytest.approx(1, abs=1e-12) for value in made.values())
    assert measured.by_class == pytest.approx((1, 1), abs=1e-12)
    assert measured.by_class50 == pytest.approx((1, 1), abs=1e-12)


def test_half_of_the_thresholds_are_half_of_the_ap():
    there = [objects((0, 0, 100, 100, 0))]
    said = [found((0, 0, 100, 70, 0, 0.9))]  # overlaps by 0.7: five of the ten thresholds
    measured = coco_ap.measure(said, there, 1)
    assert measured.ap50 == pytest.approx(1)
    assert measured.ap75 == 0
    assert measured.ap == measured.by_class[0] == pytest.approx(0.5)


def test_what_there_is_none_of_is_not_measured():
    there = [objects((*SMALL, 0), (*MEDIUM, 1, "crowd"))]
    measured = coco_ap.measure([as_found(each) for each in there], there, 3)
    assert measured.ap == measured.ap_small == pytest.approx(1)
    assert math.isnan(measured.ap_medium)
    assert math.isnan(measured.ar_large)
    assert measured.by_class[0] == pytest.approx(1)
    assert all(math.isnan(each) for each in (*measured.by_class[1:], *measured.by_class50[1:]))


@pytest.mark.parametrize(
    ("there", "said"), [([], []), ([Objects.none()], [Detections.none()])], ids=["none", "empty"]
)
def test_where_there_is_nothing_no_number_is_made_up(there, said):
    measured = coco_ap.measure(said, there, 1)
    assert all(math.isnan(value) for value in numbers(measured).values())


def test_what_was_never_found_has_an_ap_of_nothing():
    measured = coco_ap.measure([Detections.none()], [objects((*SMALL, 0))], 1)
    assert measured.ap == measured.ar100 == measured.ap_small == 0


def test_a_detection_inside_a_crowd_is_no_mistake_and_neither_is_a_second():
    crowd = (*LARGE, 0, "crowd")
    inside = [(100 + 40 * i, 100, 130 + 40 * i, 200, 0, 0.9) for i in range(3)]
    measured = coco_ap.measure([found(*inside, (*SMALL, 0, 0.5))], [objects((*SMALL, 0), crowd)], 1)
    assert measured.ap == pytest.approx(1)


def test_what_is_difficult_is_no_crowd_and_neither_missed_nor_a_mistake_to_find():
    there = [objects((*SMALL, 0), (*LARGE, 0, "ignored"))]
    only = coco_ap.measure([found((*SMALL, 0, 0.5))], there, 1)
    both = coco_ap.measure([found((*SMALL, 0, 0.5), (*LARGE, 0, 0.9))], there, 1)
    assert only.ap == both.ap == pytest.approx(1)
    assert math.isnan(both.ap_large)
    inside = coco_ap.measure([found((*SMALL, 0, 0.5), (100, 100, 150, 150, 0, 0.9))], there, 1)
    assert inside.ap == pytest.approx(0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_box_that_is_not_finite_is_a_mistake(value):
    there = [objects((*SMALL, 0))]
    for place in range(4):
        box = list(SMALL)
        box[place] = value
        measured = coco_ap.measure([found((*box, 0, 0.9), (*SMALL, 0, 0.5))], there, 1)
        assert measured.ap == pytest.approx(0.5)
    alone = coco_ap.measure([found((*[value] * 4, 0, 0.9))], there, 1)
    assert alone.ap == alone.ar100 == 0


def test_a_score_that_is_nan_is_a_mistake_behind_all_others():
    there = [objects((*SMALL, 0)), objects((*LARGE, 0))]
    said = [found((*SMALL, 0, math.nan)), found((*LARGE, 0, -math.inf), (*SMALL, 0, math.nan))]
    measured = coco_ap.measure(said, there, 1)
    assert measured.ar100 == pytest.approx(0.5)
    assert measured.ap_large == pytest.approx(1)
    assert measured.ap == pytest.approx(51 / 101)  # recall 0, 0.01, ..., 0.5 of 101
    diverged = [found(*((*box, 0, math.nan) for box in (SMALL, LARGE))) for _ in there]
    assert coco_ap.measure(diverged, there, 1).ap == 0


def test_infinite_scores_have_their_order():
    there = [objects((*SMALL, 0))]
    said = [found((*SMALL, 0, math.inf), (*LARGE, 0, -math.inf))]
    assert coco_ap.measure(said, there, 1).ap == pytest.approx(1)
    said = [found((*SMALL, 0, -math.inf), (*LARGE, 0, math.inf))]
    assert coco_ap.measure(said, there, 1).ap == pytest.approx(0.5)


def test_the_area_is_the_objects_and_not_its_boxs():
    box = objects((*LARGE, 0))
    thin = Objects(box.boxes_n4, box.classes_n, box.ignored_n, box.crowd_n, torch.tensor([900.0]))
    measured = coco_ap.measure([found((*LARGE, 0, 0.9))], [thin], 1)
    assert measured.ap_small == pytest.approx(1)
    assert math.isnan(measured.ap_large)


def test_the_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        RunError, match=r"needs faster-coco-eval, .*pip install \"resnets.detection"
    ):
        coco_ap.measure([], [], 1)
