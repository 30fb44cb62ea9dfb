"""What is held out of each class: a share of it, and the same images whatever stands beside."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from resnets.data import stratified

shares = st.floats(0.01, 0.99)
sets = st.dictionaries(st.text(max_size=6), st.integers(0, 4), max_size=40)


def held(label_of, share):
    """Return the names that are held out."""
    names = list(label_of)
    chosen = stratified.held_out(names, torch.tensor([label_of[n] for n in names]), share)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    return {names[i] for i in chosen.tolist()}


def of_class(label_of, label):
    return {name for name, own in label_of.items() if own == label}


@given(sets, shares)
def test_each_class_gives_its_share_to_within_a_half_and_keeps_one(label_of, share):
    chosen = held(label_of, share)
    assert chosen <= label_of.keys()
    for label in range(5):
        own = of_class(label_of, label)
        count = len(own & chosen)
        if len(own) < 2:
            assert count == 0
        else:
            assert 1 <= count < len(own)
            exact = share * len(own)
            assert abs(count - exact) <= 0.5 + 1e-9 or count in (1, len(own) - 1)
            assert count >= math.floor(exact) or count == len(own) - 1


@given(sets, shares, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(label_of, share, random):
    shuffled = list(label_of.items())
    random.shuffle(shuffled)
    assert held(dict(shuffled), share) == held(label_of, share)


@given(sets, shares, st.text(max_size=6), st.integers(0, 4))
def test_one_more_image_moves_at_most_one_other_and_that_of_its_class(label_of, share, name, label):
    before = held({k: v for k, v in label_of.items() if k != name}, share)
    after = held({**label_of, name: label}, share)
    moved = (before ^ after) - {name}
    assert len(moved) <= 1
    assert all(label_of[each] == label for each in moved)


@given(sets, shares, shares)
def test_a_larger_share_holds_out_the_same_images_and_more(label_of, one, other):
    assert held(label_of, min(one, other)) <= held(label_of, max(one, other))
