import numpy as np
import pytest

from resnets.core.division import Share
from resnets.data.order import Order


def batch(order, number):
    return [(epoch, index) for epoch, part in order(number) for index in part.tolist()]


@pytest.mark.parametrize(("images", "size"), [(10, 3), (10, 10), (10, 25), (1, 4), (7, 1)])
def test_batches_are_whole_and_an_epoch_holds_every_image_once(images, size):
    order = Order(images, size, seed=0)
    updates = -(-4 * images // size)
    made = [batch(order, number) for number in range(1, updates + 1)]
    assert {len(each) for each in made} == {size}
    seen = [each for one in made for each in one][: 4 * images]
    assert [epoch for epoch, _ in seen] == np.repeat(range(4), images).tolist()
    for epoch in range(4):
        assert sorted(index for at, index in seen if at == epoch) == list(range(images))


def test_a_batch_is_a_function_of_the_seed_and_its_number():
    asked = Order(10, 4, seed=1)
    for number in (40, 3, 1, 3, 41):
        assert batch(asked, number) == batch(Order(10, 4, seed=1), number)
    assert batch(Order(10, 4, seed=2), 1) != batch(asked, 1)


def test_a_batch_that_touches_no_second_epoch_has_one_part():
    order = Order(10, 5, seed=0)
    assert [len(order(number)) for number in (1, 2, 3)] == [1, 1, 1]
    assert [len(Order(10, 4, seed=0)(number)) for number in (1, 2, 3)] == [1, 1, 2]


def test_with_repeats_a_batch_holds_first_views_then_second_ones_of_the_same_images():
    order = Order(12, 6, seed=0, repeats=3)
    first, second = batch(order, 1), batch(order, 2)
    images = [view for _, view in first[:2]]
    assert all(image < 12 for image in images)
    assert first == [(0, copy * 12 + image) for copy in range(3) for image in images]
    assert {view % 12 for _, view in second}.isdisjoint(images)
    # The next epoch begins with another order: which images it leaves out is drawn anew.
    assert [epoch for epoch, _ in batch(order, 3)] == [1] * 6
    seen = {view % 12 for number in range(1, 41) for _, view in batch(order, number)}
    assert seen == set(range(12))


def test_a_batch_with_repeats_may_end_between_the_copies_of_an_image_and_hold_two_epochs():
    order = Order(7, 5, seed=0, repeats=3)
    alone = Order(7, 7, seed=0)
    (_, epoch_0), (_, epoch_1) = alone(1)[0], alone(2)[0]
    a, b, c = epoch_0[:3].tolist()
    d, e = epoch_1[:2].tolist()
    assert batch(order, 1) == [(0, a), (0, b), (0, a + 7), (0, b + 7), (0, a + 14)]
    assert batch(order, 2) == [(0, c), (1, d), (1, d + 7), (0, b + 14), (1, d + 14)]
    assert batch(order, 3)[0] == (1, e)


@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize(("part_images", "size"), [(None, 1), (2, 1), (4, 3), (None, 6)])
def test_the_shares_of_a_batch_are_the_batch_in_its_order(repeats, part_images, size):
    order = Order(20, 12, seed=3, repeats=repeats)
    for number in (1, 2, 3, 4):  # of which two straddle epochs
        whole = [(epoch, i) for epoch, view_n in order(number) for i in view_n.tolist()]
        parts = 1 if part_images is None else 12 // part_images
        slices = max(parts, size)
        shares = [Share(i * parts // slices, parts, i, slices) for i in range(slices)]
        found = [
            (epoch, i)
            for share in shares
            for epoch, view_n in order(number, share)
            for i in view_n.tolist()
        ]
        assert found == whole
