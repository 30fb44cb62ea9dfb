"""Every kind of mistake in a scene of its own, and what was missed."""

import math

import pytest

import scenes
from resnets.data.annotated import Objects
from resnets.detection import mistakes
from resnets.detection.detections import Detections

CAT, DOG = 0, 1
OBJECT = (10, 10, 50, 50)


def review(found, objects, least_score=0.5, most=10):
    return mistakes.review(found, objects, 2, least_score=least_score, most=most)


def one(found, *objects):
    return review([scenes.found(*found)], [scenes.objects(*objects)])


@pytest.mark.parametrize(
    ("box", "label", "kind", "overlap"),
    [
        ((10, 10, 50, 50), DOG, "wrong class", 1.0),
        ((10, 10, 50, 30), DOG, "wrong class", 0.5),
        ((10, 10, 50, 15), DOG, "wrong class", 0.125),
        ((10, 10, 50, 28), CAT, "poor overlap", 0.45),
        ((10, 10, 50, 13), CAT, "background", 0.0),
        ((60, 60, 90, 90), CAT, "background", 0.0),
    ],
)
def test_a_mistake_is_of_the_kind_that_its_overlap_says(box, label, kind, overlap):
    (found,) = one([(*box, label, 0.9)], (*OBJECT, CAT)).mistakes
    assert (found.kind, found.label) == (kind, label)
    assert found.score == pytest.approx(0.9)
    assert found.box_px == box
    assert found.overlap == pytest.approx(overlap)
    assert found.there == (None if kind == "background" else mistakes.There(CAT, OBJECT))


def test_finding_an_object_again_is_a_mistake_of_its_own_kind():
    found = one([(*OBJECT, CAT, 0.9), (*OBJECT, CAT, 0.8)], (*OBJECT, CAT))
    assert [(each.kind, round(each.score, 1)) for each in found.mistakes] == [("found twice", 0.8)]
    assert found.missed == ()
    assert found.counted("found twice") == 1


def test_the_nearest_object_decides_between_a_wrong_class_and_a_poor_overlap():
    beside = (*OBJECT[:3], 22)  # of the same class, overlapped by less
    (found,) = one([(*OBJECT, DOG, 0.9)], (*OBJECT, CAT), (*beside, DOG)).mistakes
    assert found.kind == "wrong class"
    assert found.there.label == CAT


def test_the_surest_come_first_and_unsure_ones_are_explained_but_not_counted():
    rows = [(60, 60, 90, 90, CAT, score) for score in (0.2, 0.7, 0.6, 0.1)]
    found = one(rows, (*OBJECT, CAT))
    assert [round(each.score, 1) for each in found.mistakes] == [0.7, 0.6, 0.2, 0.1]
    assert (found.sure_mistakes, found.counted("background")) == (2, 2)
    few = review([scenes.found(*rows)], [scenes.objects((*OBJECT, CAT))], most=1)
    assert [round(each.score, 1) for each in few.mistakes] == [0.7, 0.6]


def test_what_was_not_found_at_all_comes_first_and_the_largest_of_these():
    small, large, unsure = (0, 0, 5, 5), (20, 20, 80, 80), (100, 0, 140, 40)
    found = one(
        [(*unsure, CAT, 0.3), (*OBJECT, DOG, 0.9)],
        *((*small, CAT), (*unsure, CAT), (*large, DOG), (*OBJECT, DOG)),
    )
    assert [each.there.box_px for each in found.missed] == [large, small, unsure]
    assert [each.score for each in found.missed[:2]] == [None, None]
    assert found.missed[2].score == pytest.approx(0.3)
    cat, dog = found.classes
    assert (cat.objects, cat.found, cat.wrong, cat.recall, cat.precision) == (2, 0, 0, 0, None)
    assert (dog.objects, dog.found, dog.wrong, dog.recall, dog.precision) == (2, 1, 0, 0.5, 1)


def test_ignored_objects_are_neither_missed_nor_is_finding_one_a_mistake():
    found = one([(*OBJECT, CAT, 0.9)], (*OBJECT, CAT, "ignored"))
    assert (found.mistakes, found.missed) == ((), ())
    assert found.classes[CAT].recall is None


def test_a_box_around_many_explains_nothing():
    (found,) = one([(*OBJECT, DOG, 0.9)], (*OBJECT, CAT, "crowd")).mistakes
    assert found.kind == "background"


def test_images_keep_their_numbers():
    empty = Objects.none()
    far = scenes.found((60, 60, 90, 90, DOG, 0.8))
    found = review(
        [Detections.none(), far, Detections.none()], [empty, empty, scenes.objects((*OBJECT, CAT))]
    )
    assert [each.image for each in found.mistakes] == [1]
    assert [(each.image, each.there.label) for each in found.missed] == [(2, CAT)]


def test_of_nothing_there_is_nothing():
    found = review([], [])
    assert (found.mistakes, found.missed, found.sure_mistakes) == ((), (), 0)


def test_scores_and_boxes_that_are_no_numbers_are_mistakes_that_nobody_is_sure_of():
    found = one([(*OBJECT, CAT, math.nan), (math.nan, 0, 1, 1, CAT, 0.9)], (*OBJECT, CAT))
    assert [each.kind for each in found.mistakes] == ["background", "found twice"]
    assert found.sure_mistakes == 1
    assert [each.score for each in found.missed] == [None]
