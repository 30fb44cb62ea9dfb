import numpy as np
import pytest

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
