"""Answers and counts of them agree with the counts of hits, whatever the scores."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from resnets.evaluation import answers, calibration
from resnets.evaluation.answers import Answers
from resnets.evaluation.metrics import ByClass, count_topk

scores = st.sampled_from([math.nan, -math.inf, -1.0, 0.0, 0.5, 1.0, math.inf])


@st.composite
def logits_and_labels(draw):
    classes = draw(st.integers(1, 6))
    row = st.lists(scores, min_size=classes, max_size=classes)
    logits = draw(st.lists(row, max_size=8))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=len(logits), max_size=len(logits)))
    return torch.tensor(logits).reshape(-1, classes), torch.tensor(labels, dtype=torch.int64)


def answered(logits, labels):
    return Answers.of(logits, labels, torch.arange(len(labels)))


@given(logits_and_labels())
def test_an_answer_is_right_exactly_where_a_hit_is_counted(given_):
    found = answered(*given_)
    for i, right in enumerate(found.right_n.tolist()):
        assert right == count_topk(given_[0][i : i + 1], given_[1][i : i + 1]).hit1


@given(logits_and_labels())
def test_classes_have_the_images_and_hits_that_are_counted_by_class(given_):
    counted = ByClass.count(*given_)
    for label, each in enumerate(answers.by_class(answered(*given_))):
        assert (each.images, each.hits) == (counted[label].images, counted[label].hit1)


@given(logits_and_labels())
def test_confusions_add_to_the_images_and_their_diagonal_to_the_hits(given_):
    counts = answers.confusion(answered(*given_))
    assert sum(counts.values()) == len(given_[1])
    right = sum(count for (label, said), count in counts.items() if label == said)
    assert right == count_topk(*given_).hit1
    assert all(count > 0 for count in counts.values())


@given(logits_and_labels(), st.randoms(use_true_random=False))
def test_the_order_of_parts_changes_nothing(given_, random):
    logits, labels = given_
    order = list(range(len(labels)))
    random.shuffle(order)
    parts = [Answers.of(logits[[i]], labels[[i]], torch.tensor([i])) for i in order]
    found, whole = Answers.together(parts, logits.shape[1]), answered(logits, labels)
    assert torch.equal(found.index_n, whole.index_n)
    assert torch.equal(found.predicted_n, whole.predicted_n)
    assert answers.confusion(found) == answers.confusion(whole)


@given(logits_and_labels(), st.integers(1, 20))
def test_a_calibration_counts_every_probability_once(given_, bins):
    found = answered(*given_)
    made = calibration.calibration(found.probability_n, found.right_n, bins)
    assert sum(each.images for each in made.bins) == made.images
    assert made.images + made.left_out == len(found)
    assert (made.error is None) == (made.images == 0)
    if made.error is not None:
        gap = abs(made.accuracy - made.probability)
        assert gap - 1e-12 <= made.error <= 1 + 1e-12  # bins can only add to the gap of the whole
