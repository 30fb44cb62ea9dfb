"""VOC's AP, by numbers that can be worked out by hand."""

import math

import numpy as np
import pytest

from resnets.data.annotated import Objects
from resnets.detection import voc_ap
from resnets.detection.detections import Detections
from scenes import found, objects


def curve(said, there, classes=1, label=0):
    return voc_ap.curves(said, there, classes)[label]


A, B, FAR = (0, 0, 10, 10), (20, 20, 40, 40), (60, 60, 70, 70)


def test_the_two_rules_give_what_they_define():
    there = [objects((*A, 0), (*B, 0), (*FAR, 0)), objects((*A, 0))]
    said = [
        found((*A, 0, 0.9), (50, 0, 60, 10, 0, 0.8), (*B, 0, 0.7)),
        found((50, 0, 60, 10, 0, 0.6), (*A, 0, 0.5)),
    ]
    made = curve(said, there)
    assert made.right_n.tolist() == [True, False, True, False, True]
    assert made.recall_n.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75]
    assert made.precision_n == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4, 3 / 5])
    assert made.best_precision_n == pytest.approx([1, 2 / 3, 2 / 3, 3 / 5, 3 / 5])
    # Recall 0, .1, .2 at precision 1; .3, .4, .5 at 2/3; .6, .7 at 3/5; the rest is never reached.
    assert made.ap_11_points == pytest.approx((3 + 3 * 2 / 3 + 2 * 3 / 5) / 11)
    assert made.ap_area == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_an_overlap_of_exactly_the_threshold_is_enough():
    there = [objects((0, 0, 10, 10, 0))]
    assert curve([found((0, 0, 10, 5, 0, 1.0))], there).ap_area == 1  # 50 / 100
    assert curve([found((0, 0, 10, 4.99, 0, 1.0))], there).ap_area == 0
    (made,) = voc_ap.curves([found((0, 0, 10, 5, 0, 1.0))], there, 1, min_overlap=0.51)
    assert made.ap_area == 0


def test_only_the_surest_of_several_detections_of_a_box_is_right():
    there = [objects((*A, 0))]
    made = curve([found((*A, 0, 0.5), (0, 0, 10, 9, 0, 0.9), (*A, 0, 0.7))], there)
    assert made.right_n.tolist() == [True, False, False]
    assert made.scores_n == pytest.approx([0.9, 0.7, 0.5])


def test_a_detection_does_not_fall_back_on_its_second_box():
    there = [objects((0, 0, 10, 10, 0), (0, 2, 10, 12, 0))]
    made = curve([found((0, 0, 10, 10, 0, 0.9), (0, 0.5, 10, 10.5, 0, 0.8))], there)
    assert made.right_n.tolist() == [True, False]


def test_of_boxes_that_overlap_equally_the_first_is_taken():
    box = (0, 1, 10, 11, 0)
    said = [found((*box, 0.9))]
    easy, hard = (0, 0, 10, 10, 0), (0, 2, 10, 12, 0, "ignored")
    assert curve(said, [objects(easy, hard)]).right_n.tolist() == [True]
    assert curve(said, [objects(hard, easy)]).right_n.tolist() == []


def test_what_is_difficult_is_neither_missed_nor_a_mistake_to_find():
    there = [objects((*A, 0), (*B, 0, "ignored"))]
    made = curve([found((*A, 0, 0.5), (*B, 0, 0.9), (*B, 0, 0.8))], there)
    assert made.objects == 1
    assert made.right_n.tolist() == [True]
    assert made.ap_area == made.ap_11_points == 1


def test_a_box_of_another_class_or_image_is_not_found():
    there = [objects((*A, 0), (*B, 1)), objects((*B, 0))]
    said = [found((*A, 1, 0.9), (*B, 0, 0.8)), found((*A, 0, 0.7))]
    first, second = voc_ap.curves(said, there, 2)
    assert first.right_n.tolist() == [False, False]
    assert second.right_n.tolist() == [False]
    assert first.ap_area == second.ap_area == 0


def test_of_equal_scores_the_one_given_first_is_first():
    there = [objects((*A, 0)), objects((*A, 0))]
    right, wrong = found((*A, 0, 0.5)), found((*FAR, 0, 0.5))
    assert curve([right, wrong], there).right_n.tolist() == [True, False]
    assert curve([wrong, right], there).right_n.tolist() == [False, True]
    one_image = [found((*FAR, 0, 0.5), (*A, 0, 0.5)), found()]
    assert curve(one_image, there).right_n.tolist() == [False, True]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_box_that_is_not_finite_is_a_mistake(value):
    there = [objects((*A, 0))]
    for place in range(4):
        box = list(A)
        box[place] = value
        made = curve([found((*box, 0, 0.9), (*A, 0, 0.5))], there)
        assert made.right_n.tolist() == [False, True]
    assert curve([found((*[value] * 4, 0, 0.9))], there).ap_11_points == 0


def test_a_score_that_is_nan_is_a_mistake_behind_all_others():
    there = [objects((*A, 0), (*B, 0)), objects((*A, 0, "ignored"))]
    said = [
        found((*A, 0, math.nan), (*B, 0, -math.inf)),
        found((*A, 0, math.nan), (*FAR, 0, 0.5)),
    ]
    made = curve(said, there)
    assert made.right_n.tolist() == [False, True, False, False]
    diverged = curve([found((*A, 0, math.nan), (*B, 0, math.nan)), found()], there)
    assert diverged.ap_area == diverged.ap_11_points == 0


def test_boxes_without_area_overlap_nothing():
    there = [objects((*A, 0))]
    said = [found((5, 5, 5, 5, 0, 0.9), (10, 10, 0, 0, 0, 0.8), (0, 0, 10, 0, 0, 0.7))]
    assert curve(said, there).right_n.tolist() == [False, False, False]


def test_a_class_without_an_object_has_no_ap_and_is_in_no_mean():
    there = [objects((*A, 0), (*B, 1, "ignored"))]
    made = voc_ap.curves([found((*A, 0, 0.9), (*A, 1, 0.9))], there, 3)
    assert [each.objects for each in made] == [1, 0, 0]
    for rule in ("ap_area", "ap_11_points"):
        aps = [getattr(each, rule) for each in made]
        assert aps[0] == 1
        assert math.isnan(aps[1])
        assert math.isnan(aps[2])
        assert voc_ap.mean(aps) == 1
    assert np.isnan(made[1].recall_n).all()
    assert math.isnan(voc_ap.mean([math.nan]))
    assert math.isnan(voc_ap.mean([]))


def test_what_was_never_found_has_an_ap_of_nothing():
    (made,) = voc_ap.curves([Detections.none()], [objects((*A, 0))], 1)
    assert made.ap_area == made.ap_11_points == 0
    assert len(made.recall_n) == len(made.precision_n) == 0


def test_no_image_is_no_object():
    (made,) = voc_ap.curves([], [], 1)
    assert math.isnan(made.ap_area)
    (made,) = voc_ap.curves([Detections.none()], [Objects.none()], 1)
    assert math.isnan(made.ap_11_points)


@pytest.mark.parametrize("tenths", range(1, 10))
def test_a_recall_that_is_reached_exactly_counts(tenths):
    boxes = [(30 * i, 0, 30 * i + 10, 10) for i in range(10)]
    there = [objects(*((*box, 0) for box in boxes))]
    made = curve([found(*((*box, 0, 0.9) for box in boxes[:tenths]))], there)
    assert made.ap_11_points == pytest.approx((tenths + 1) / 11, abs=1e-15)
