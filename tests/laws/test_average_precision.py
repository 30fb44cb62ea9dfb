"""Average precision: what holds for any images, and VOC's rules written out box by box."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from resnets.detection import coco_ap, voc_ap
from resnets.detection.detections import Detections
from scenes import as_found, found, objects

CLASSES = 2

many = settings(deadline=None, max_examples=300)
few = settings(deadline=None, max_examples=40)  # COCO's tool takes its time to begin

# Few different numbers, so that ties and overlaps of exactly a half are common.
corners = st.integers(0, 4)
sides = st.integers(1, 4)
labels = st.integers(0, CLASSES - 1)
finite = st.sampled_from([-math.inf, 0.0, 0.25, 0.5, 0.75, math.inf])
scores = st.one_of(finite, st.just(math.nan))


@st.composite
def boxes(draw):
    left, top = draw(corners), draw(corners)
    return left, top, left + draw(sides), top + draw(sides)


@st.composite
def some_objects(draw, kinds=((), ("ignored",), ("crowd",))):
    rows = draw(st.lists(st.tuples(boxes(), labels, st.sampled_from(kinds)), max_size=5))
    return [(*box, label, *kind) for box, label, kind in rows]


@st.composite
def some_detections(draw, scored=scores):
    rows = draw(st.lists(st.tuples(boxes(), labels, scored), max_size=6))
    return [(*box, label, score) for box, label, score in rows]


def images(scored=scores):
    return st.lists(st.tuples(some_objects(), some_detections(scored)), max_size=4)


def made(given_):
    there = [objects(*rows) for rows, _ in given_]
    return [found(*rows) for _, rows in given_], there


def overlap(a, b):
    """As the development kit: pixels are counted, so both ends of a side are in it."""
    a, b = ([box[0] + 1, box[1] + 1, box[2], box[3]] for box in (a, b))
    wide = min(a[2], b[2]) - max(a[0], b[0]) + 1
    high = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if wide <= 0 or high <= 0:
        return -math.inf
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def judged(given_, label):
    """Return how many are to be found, and of each detection that counts whether it is right."""
    queue = [
        (score, place, box)
        for place, (_, said) in enumerate(given_)
        for *box, of, score in sorted(said, key=lambda row: rank(row[5]))
        if of == label
    ]
    queue.sort(key=lambda each: rank(each[0]))
    taken, right = set(), []
    for score, place, box in queue:
        best, which = -math.inf, None
        for number, row in enumerate(given_[place][0]):
            if row[4] == label and overlap(box, row[:4]) > best:
                best, which = overlap(box, row[:4]), (place, number, row[5:])
        if best < 0.5 or math.isnan(score):
            right.append(False)
        elif not which[2]:
            right.append(which[:2] not in taken)
            taken.add(which[:2])
    there = sum(row[4:] == (label,) for rows, _ in given_ for row in rows)
    return there, right


def rank(score):
    return (math.isnan(score), 0 if math.isnan(score) else -score)


def both_aps(there, right):
    """Both averages of the definition, in whole numbers as far as they go."""
    points = [(sum(right[: i + 1]), i + 1) for i in range(len(right))]
    at_least = [
        max((tp / n for tp, n in points if 10 * tp >= tenth * there), default=0)
        for tenth in range(11)
    ]
    steps = [
        max(tp / n for tp, n in points if tp >= reached)
        for reached in range(1, max((tp for tp, _ in points), default=0) + 1)
    ]
    return sum(at_least) / 11, sum(steps) / there


@many
@given(images())
def test_vocs_ap_is_that_of_its_rules_written_out(given_):
    for label, curve in enumerate(voc_ap.curves(*made(given_), CLASSES)):
        there, right = judged(given_, label)
        assert (curve.objects, curve.right_n.tolist()) == (there, right)
        if there:
            expected = both_aps(there, right)
            assert (curve.ap_11_points, curve.ap_area) == pytest.approx(expected, abs=1e-12)
        else:
            assert math.isnan(curve.ap_area)
            assert math.isnan(curve.ap_11_points)


def every_ap(said, there):
    """Both of VOC's for each class, then COCO's and its AP50."""
    for curve in voc_ap.curves(said, there, CLASSES):
        yield from (curve.ap_11_points, curve.ap_area)
    measured = coco_ap.measure(said, there, CLASSES)
    yield from (*measured.by_class, *measured.by_class50)


def close(one, other):
    return np.testing.assert_allclose(list(one), list(other), rtol=0, atol=1e-9)


@few
@given(images())
def test_every_ap_is_a_share(given_):
    for ap in every_ap(*made(given_)):
        assert math.isnan(ap) or -1e-9 <= ap <= 1 + 1e-9


def distinct(given_):
    """Give every detection a score of its own."""
    count = 0
    for there, said in given_:
        rows = []
        for *box, label, _ in said:
            count += 1
            rows.append((*box, label, (count * 37 % 101) / 101))
        yield there, rows


@few
@given(images(), st.data())
def test_the_order_of_the_images_does_not_matter_where_there_are_no_ties(given_, data):
    given_ = list(distinct(given_))
    shuffled = data.draw(st.permutations(given_))
    close(every_ap(*made(shuffled)), every_ap(*made(given_)))


@few
@given(images(finite), labels, st.integers(0, 3))
def test_a_mistake_behind_all_others_changes_nothing_and_before_all_others_helps_nobody(
    given_, label, place
):
    assume(place < len(given_))
    far = (50, 50, 60, 60, label)
    before = list(every_ap(*made(given_)))
    there, said = given_[place]
    behind = [*given_[:place], (there, [*said, (*far, math.nan)]), *given_[place + 1 :]]
    close(every_ap(*made(behind)), before)
    lowest = [*given_[:place], (there, [*said, (*far, -math.inf)]), *given_[place + 1 :]]
    first = [*given_[:place], (there, [(*far, math.inf), *said]), *given_[place + 1 :]]
    for worse in (lowest, first):
        for ap, old in zip(every_ap(*made(worse)), before, strict=True):
            assert math.isnan(old) or ap <= old + 1e-9


@few
@given(st.lists(some_objects(kinds=((), ("crowd",))), max_size=4))
def test_what_is_there_given_as_what_was_found_is_all_right(given_):
    there = [objects(*{row[:5]: row for row in rows}.values()) for rows in given_]
    said = [as_found(each) for each in there]
    for ap in every_ap(said, there):
        assert math.isnan(ap) or ap == pytest.approx(1, abs=1e-9)


@few
@given(images())
def test_a_network_that_diverged_finds_nothing(given_):
    said, there = made(given_)
    lost = [
        Detections.of(each.boxes_n4, torch.full_like(each.scores_n, math.nan), each.classes_n)
        for each in said
    ]
    astray = [
        Detections(torch.full_like(each.boxes_n4, math.nan), each.scores_n, each.classes_n)
        for each in said
    ]
    for diverged in (lost, astray):
        assert all(math.isnan(ap) or abs(ap) < 1e-9 for ap in every_ap(diverged, there))


@many
@given(images())
def test_recall_and_the_best_precision_go_one_way(given_):
    for curve in voc_ap.curves(*made(given_), CLASSES):
        if curve.objects:
            assert all(a <= b for a, b in pairwise(curve.recall_n))
            assert all(a >= b for a, b in pairwise(curve.best_precision_n))
            assert (curve.best_precision_n >= curve.precision_n).all()
