"""The localization error against its definition, one guess and one box at a time."""

import torch
from hypothesis import given
from hypothesis import strategies as st

import scenes
from resnets.detection import localizing
from resnets.experiment import evaluate_localizers

edges = st.integers(0, 12)


@st.composite
def box(draw):
    left, top = draw(edges), draw(edges)
    return left, top, left + draw(st.integers(1, 12)), top + draw(st.integers(1, 12))


def rows(most):
    return st.lists(st.tuples(box(), st.integers(0, 2)), max_size=most)


def by_definition(guesses, objects):
    """Russakovsky et al. 2015: some guess has the class and at least half of some box of it.

    In whole pixels, counted one by one.
    """
    for place, (guess, label) in enumerate(guesses):
        for there, other in objects:
            if label == other and 2 * shared(guess, there) >= union(guess, there):
                return place
    return None


def pixels(box):
    left, top, right, bottom = box
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def shared(a, b):
    return len(pixels(a) & pixels(b))


def union(a, b):
    return len(pixels(a) | pixels(b))


@given(rows(5), rows(4))
def test_the_first_right_guess_is_that_of_the_definition(guesses, objects):
    classes_g = torch.tensor([label for _, label in guesses], dtype=torch.int64)
    boxes_g4 = torch.tensor([box for box, _ in guesses], dtype=torch.float32).view(-1, 4)
    there = scenes.objects(*((*box, label) for box, label in objects))
    found = localizing.place_of_right(classes_g, boxes_g4, there)
    assert found == by_definition(guesses, objects)


@given(rows(5), rows(4), st.randoms())
def test_the_order_of_the_objects_changes_nothing_and_more_guesses_never_hurt(
    guesses, objects, chance
):
    classes_g = torch.tensor([label for _, label in guesses], dtype=torch.int64)
    boxes_g4 = torch.tensor([box for box, _ in guesses], dtype=torch.float32).view(-1, 4)
    shuffled = list(objects)
    chance.shuffle(shuffled)
    there, again = (
        scenes.objects(*((*box, label) for box, label in some)) for some in (objects, shuffled)
    )
    found = localizing.place_of_right(classes_g, boxes_g4, there)
    assert localizing.place_of_right(classes_g, boxes_g4, again) == found
    for count in range(len(guesses)):
        fewer = localizing.place_of_right(classes_g[:count], boxes_g4[:count], there)
        assert fewer == (found if found is not None and found < count else None)


scores = st.lists(st.sampled_from([0.0, -1.0, 2.5, float("-inf"), float("nan")]), min_size=1)


@given(scores)
def test_the_likeliest_classes_are_the_first_five_of_a_sorted_list(given_scores):
    known = [
        (-score, label)
        for label, score in enumerate(given_scores)
        if score == score  # no NaN
    ]
    wanted = [label for _, label in sorted(known)][:5]
    found = evaluate_localizers.likeliest(torch.tensor([given_scores]))[0].tolist()
    assert [label for label in found if label >= 0] == wanted
    assert len(found) == min(5, len(given_scores))
