"""Counting errors: exact, additive, and never in favour of a diverged network."""

import math
from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from resnets.evaluation.metrics import TopK, count_topk

# Few different values, so that ties are common.
scores = st.sampled_from([math.nan, -math.inf, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, math.inf])


@st.composite
def logits_and_labels(draw, at_least=0):
    classes = draw(st.integers(1, 12))
    row = st.lists(scores, min_size=classes, max_size=classes)
    logits = draw(st.lists(row, min_size=at_least, max_size=8))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=len(logits), max_size=len(logits)))
    return torch.tensor(logits).reshape(-1, classes), torch.tensor(labels, dtype=torch.int64)


def by_sorting(logits_nk, labels_n):
    """Rank by sorting: NaN before everything, then the higher score, then the lower class."""
    hits = {1: 0, 5: 0}
    for scored, label in zip(logits_nk.tolist(), labels_n.tolist(), strict=True):
        nan = [math.isnan(score) for score in scored]
        falls = [0.0 if nan[c] else -score for c, score in enumerate(scored)]
        order = sorted(range(len(scored)), key=lambda c: (not nan[c], falls[c], c))
        for k in hits:
            hits[k] += label in order[:k] and not nan[label]
    return TopK(len(labels_n), hits[1], hits[5])


@given(logits_and_labels())
def test_the_counts_are_those_of_sorting(given_):
    assert count_topk(*given_) == by_sorting(*given_)


@given(logits_and_labels(), st.data())
def test_the_counts_of_the_parts_of_any_partition_add_to_those_of_the_whole(given_, data):
    logits, labels = given_
    cuts = data.draw(st.lists(st.integers(0, len(labels)), max_size=4))
    bounds = [0, *sorted(cuts), len(labels)]
    parts = [count_topk(logits[a:b], labels[a:b]) for a, b in pairwise(bounds)]
    assert sum(parts, TopK()) == count_topk(logits, labels)


@given(logits_and_labels(at_least=1), st.data())
def test_the_order_of_the_images_does_not_matter(given_, data):
    logits, labels = given_
    order = torch.tensor(data.draw(st.permutations(range(len(labels)))))
    assert count_topk(logits[order], labels[order]) == count_topk(logits, labels)


@given(st.permutations(range(9)), st.integers(0, 8), st.permutations(range(9)))
def test_the_names_of_the_classes_do_not_matter_where_there_are_no_ties(ranks, label, renamed):
    logits = torch.tensor([ranks], dtype=torch.float32)
    names = torch.tensor(renamed)
    moved = torch.empty_like(logits)
    moved[:, names] = logits
    found = count_topk(moved, names[label : label + 1])
    assert found == count_topk(logits, torch.tensor([label]))


@given(logits_and_labels())
def test_a_tie_is_worth_as_much_as_the_true_class_being_alone_in_its_place(given_):
    logits, labels = given_
    for scored, label in zip(logits, labels, strict=True):
        if not torch.isfinite(scored[label]):
            continue
        raised = scored.clone()
        raised[label] = torch.nextafter(scored[label], torch.tensor(math.inf))
        lowered = scored.clone()
        lowered[label] = torch.nextafter(scored[label], torch.tensor(-math.inf))
        low, tied, high = (count_topk(s[None], label[None]) for s in (lowered, scored, raised))
        assert low.hit1 <= tied.hit1 <= high.hit1
        assert low.hit5 <= tied.hit5 <= high.hit5


@given(logits_and_labels())
def test_at_most_one_class_is_a_top_1_hit_and_five_are_top_5_hits(given_):
    logits, _ = given_
    classes = torch.arange(logits.shape[1])
    for scored in logits:
        found = count_topk(scored.expand(len(classes), -1), classes)
        nans = int(scored.isnan().sum())
        assert found.hit1 == (0 if nans else 1)
        assert found.hit5 == max(0, min(5, len(classes)) - nans)


@given(logits_and_labels())
def test_a_top_1_hit_is_a_top_5_hit_and_neither_exceeds_the_images(given_):
    found = count_topk(*given_)
    assert 0 <= found.hit1 <= found.hit5 <= found.images == len(given_[1])


@given(st.integers(1, 10**6), st.data())
def test_the_interval_holds_the_error_and_narrows_with_more_images(images, data):
    wrong = data.draw(st.integers(0, images))
    low, high = TopK(images, images - wrong, images).interval1_percent
    # The ends are computed in double precision from numbers up to 100.
    assert 0 <= low <= 100 * wrong / images + 1e-12
    assert 100 * wrong / images - 1e-12 <= high <= 100
    four_low, four_high = TopK(4 * images, 4 * (images - wrong), 4 * images).interval1_percent
    assert four_high - four_low < high - low


@given(st.integers(1, 10**6), st.data())
def test_the_interval_of_the_hits_is_the_interval_of_the_errors_mirrored(images, data):
    wrong = data.draw(st.integers(0, images))
    low, high = TopK(images, images - wrong, images).interval1_percent
    other_low, other_high = TopK(images, wrong, images).interval1_percent
    assert math.isclose(low, 100 - other_high, abs_tol=1e-9)
    assert math.isclose(high, 100 - other_low, abs_tol=1e-9)
