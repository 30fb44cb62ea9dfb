import pytest

from resnets.core.division import UNDIVIDED, WHOLE, Share, divide
from resnets.core.errors import RecipeError, RunError
from resnets.core.processes import ALONE, Team


class Neighbours(Team):
    """A team that says how it would be divided, without connecting anyone."""

    def divided(self, size):
        return Team(self.rank % size, size)


def divisions(batch_images, part_images, size):
    return [divide(batch_images, part_images, Neighbours(rank, size)) for rank in range(size)]


def test_one_process_without_parts_computes_whole_batches():
    assert divide(128, None, ALONE) == UNDIVIDED
    assert UNDIVIDED.shares == (WHOLE,)
    assert UNDIVIDED.slices == 1
    assert list(WHOLE.within(5)) == [0, 1, 2, 3, 4]


def test_parts_of_more_than_a_batch_are_the_batch():
    assert divide(8, 32, ALONE) == UNDIVIDED


@pytest.mark.parametrize(
    ("part_images", "size"),
    [(None, 1), (None, 2), (None, 24), (6, 1), (6, 2), (6, 4), (6, 8), (6, 24), (24, 3), (1, 6)],
)
def test_all_processes_together_compute_every_image_of_a_batch_once_and_in_order(part_images, size):
    divided = divisions(24, part_images, size)
    places = [i for each in divided for share in each.shares for i in share.within(24)]
    assert places == list(range(24))
    lengths = {len(share.within(24)) for each in divided for share in each.shares}
    assert len(lengths) == 1
    assert {each.slices for each in divided} == {24 // lengths.pop()}


@pytest.mark.parametrize("size", [1, 2, 4, 8, 12, 24])
def test_the_part_of_an_image_does_not_depend_on_the_number_of_processes(size):
    for each in divisions(24, 6, size):
        for share in each.shares:
            assert {place // 6 for place in share.within(24)} == {share.part}
            assert share.parts == 4


def test_where_there_are_more_processes_than_parts_neighbours_compute_one_together():
    divided = divisions(24, 12, 6)
    assert [each.shares[0].part for each in divided] == [0, 0, 0, 1, 1, 1]
    assert [(each.sharing.rank, each.sharing.size) for each in divided] == [
        *((0, 3), (1, 3), (2, 3)),
        *((0, 3), (1, 3), (2, 3)),
    ]


def test_processes_with_parts_of_their_own_share_none():
    for each in divisions(24, 6, 2):
        assert [share.part for share in each.shares] in ([0, 1], [2, 3])
        assert each.sharing == ALONE


@pytest.mark.parametrize(
    ("share", "before"),
    [
        (WHOLE, 23),
        (Share(part=0, parts=1, slice=1, slices=4), 5),
        (Share(part=1, parts=2, slice=1, slices=2), 23),  # a whole part: its own last image
        (Share(part=1, parts=2, slice=2, slices=4), 23),
        (Share(part=1, parts=2, slice=3, slices=4), 17),
    ],
)
def test_the_image_before_a_share_is_that_of_its_part(share, before):
    assert share.before(24) == before


def test_parts_that_do_not_divide_a_batch_are_refused():
    with pytest.raises(RecipeError, match=r"part_images: must divide the 24 images .* got 5"):
        divide(24, 5, ALONE)


@pytest.mark.parametrize(
    ("part_images", "size", "told"),
    [
        (None, 5, "5 processes cannot share a batch of 24 images evenly; start 1, 2, 3, 4 or 6 of"),
        (6, 3, "3 processes .* in 4 parts of 6 evenly; start 1, 2 or 4 of them"),
        (6, 6, "start 1, 2, 4 or 8 of them"),
        (None, 25, "start 1, 2, 3, 4, 6, 8, 12, 24 of them"),
    ],
)
def test_processes_that_cannot_share_evenly_are_told_how_many_can(part_images, size, told):
    with pytest.raises(RunError, match=told):
        divide(24, part_images, Neighbours(0, size))
