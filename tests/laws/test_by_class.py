"""Counts of each class: those of the images of that class, and their sum that of the whole set."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from resnets.evaluation.metrics import ByClass, TopK, count_topk

scores = st.sampled_from([math.nan, -math.inf, -1.0, 0.0, 0.5, 1.0, math.inf])


@st.composite
def logits_and_labels(draw):
    classes = draw(st.integers(1, 9))
    row = st.lists(scores, min_size=classes, max_size=classes)
    logits = draw(st.lists(row, max_size=8))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=len(logits), max_size=len(logits)))
    return torch.tensor(logits).reshape(-1, classes), torch.tensor(labels, dtype=torch.int64)


@given(logits_and_labels())
def test_the_counts_of_a_class_are_those_of_its_images(given_):
    logits, labels = given_
    found = ByClass.count(logits, labels)
    for label in range(logits.shape[1]):
        own = labels == label
        assert found[label] == count_topk(logits[own], labels[own])


@given(logits_and_labels())
def test_the_counts_of_the_classes_add_to_those_of_the_set(given_):
    found = ByClass.count(*given_)
    assert found.total == count_topk(*given_)
    assert sum((found[k] for k in range(given_[0].shape[1])), TopK()) == found.total
    assert found.counts_k3.dtype == torch.int64


@given(logits_and_labels(), st.data())
def test_the_counts_of_two_parts_add(given_, data):
    logits, labels = given_
    cut = data.draw(st.integers(0, len(labels)))
    parts = (ByClass.count(logits[:cut], labels[:cut]), ByClass.count(logits[cut:], labels[cut:]))
    whole = ByClass.count(logits, labels)
    assert torch.equal((parts[0] + parts[1]).counts_k3, whole.counts_k3)
    nothing = ByClass.of(logits.shape[1])
    assert nothing.total == TopK()
    assert torch.equal((nothing + whole).counts_k3, whole.counts_k3)
