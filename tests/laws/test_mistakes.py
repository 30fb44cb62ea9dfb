"""Mistakes: every detection and every object is accounted for once, as AP does it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.detection import mistakes, voc_ap
from scenes import as_found, found, objects

CLASSES = 2
many = settings(deadline=None, max_examples=200)

# Few different numbers, so that ties and overlaps of exactly a half are common.
corners, sides, labels = st.integers(0, 4), st.integers(1, 4), st.integers(0, CLASSES - 1)
scores = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def boxes(draw):
    left, top = draw(corners), draw(corners)
    return left, top, left + draw(sides), top + draw(sides)


@st.composite
def scenes(draw, kinds=("", "ignored")):
    there = draw(st.lists(st.tuples(boxes(), labels, st.sampled_from(kinds)), max_size=5))
    said = draw(st.lists(st.tuples(boxes(), labels, scores), max_size=6))
    return (
        found(*((*box, label, score) for box, label, score in said)),
        objects(*((*box, label, *([kind] if kind else [])) for box, label, kind in there)),
    )


images = st.lists(scenes(), max_size=4)


def reviewed(given_, least_score):
    said, there = [each for each, _ in given_], [each for _, each in given_]
    return mistakes.review(said, there, CLASSES, least_score=least_score, most=10**6)


@many
@given(images, scores)
def test_every_detection_is_right_or_a_mistake_or_on_an_ignored_object(given_, least_score):
    said, there = [each for each, _ in given_], [each for _, each in given_]
    review = reviewed(given_, least_score)
    curves = voc_ap.curves(said, there, CLASSES)
    counted = sum(len(curve.right_n) for curve in curves)
    right = sum(int(curve.right_n.sum()) for curve in curves)
    assert len(review.mistakes) == counted - right
    assert review.sure_mistakes == sum(each.wrong for each in review.classes)
    assert sum(map(review.counted, mistakes.KINDS)) == review.sure_mistakes
    told = [each.score for each in review.mistakes]
    assert told == sorted(told, reverse=True)


@many
@given(images, scores)
def test_every_object_is_found_or_missed(given_, least_score):
    review = reviewed(given_, least_score)
    to_find = sum(int((~there.ignored_n).sum()) for _, there in given_)
    assert sum(each.objects for each in review.classes) == to_find
    assert sum(each.found for each in review.classes) + len(review.missed) == to_find
    assert all(each.score is None or each.score < least_score for each in review.missed)


@many
@given(st.lists(scenes(kinds=("",)), max_size=4))
def test_who_says_what_is_there_makes_no_mistake_but_finding_two_in_one_place(given_):
    """Of two objects of a class in one place the first is looked at by both detections."""
    review = reviewed([(as_found(there), there) for _, there in given_], 0.5)
    assert {each.kind for each in review.mistakes} <= {"found twice"}
    assert len(review.missed) == sum(map(review.counted, mistakes.KINDS))
