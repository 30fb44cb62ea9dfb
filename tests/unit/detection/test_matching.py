import pytest
import torch

from resnets.core import random
from resnets.detection import anchors, boxes, matching
from resnets.detection.matching import NEGATIVE, NEITHER, POSITIVE

NONE, NO_FLAGS = torch.zeros(0, 4), torch.zeros(0, dtype=torch.bool)


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


def of_anchors(given, objects, ignored=None, height=100.0, width=100.0):
    given, objects = torch.tensor(given).view(-1, 4), torch.tensor(objects).view(-1, 4)
    ignored = flags(*ignored) if ignored else torch.zeros(len(objects), dtype=torch.bool)
    return matching.anchors(given, objects, ignored, height=height, width=width)


def test_anchors_are_positive_above_0_7_negative_below_0_3_and_neither_between():
    objects = [[0.0, 0, 10, 100]]
    given = [[0.0, 0, 10, 100], [0.0, 0, 10, 75], [0.0, 0, 10, 70], [0.0, 0, 10, 50],
             [0.0, 0, 10, 30], [0.0, 0, 10, 29], [50.0, 0, 60, 90]]  # fmt: skip
    expected = [POSITIVE, POSITIVE, NEITHER, NEITHER, NEITHER, NEGATIVE, NEGATIVE]
    assert of_anchors(given, objects).labels_n.tolist() == expected


def test_what_overlaps_an_object_most_is_positive_however_little_and_so_are_its_equals():
    objects = [[10.0, 10, 14, 14], [60.0, 60, 90, 90]]
    given = [[10.0, 10, 20, 20], [4.0, 10, 14, 20], [0.0, 0, 40, 40], [60.0, 60, 90, 90]]
    found = of_anchors(given, objects)
    assert found.labels_n.tolist() == [POSITIVE, POSITIVE, NEGATIVE, POSITIVE]
    assert found.object_n[[0, 1, 3]].tolist() == [0, 0, 1]


def test_an_object_that_no_anchor_overlaps_makes_none_positive():
    found = of_anchors([[0.0, 0, 10, 10], [20.0, 20, 30, 30]], [[80.0, 80, 90, 90]])
    assert found.labels_n.tolist() == [NEGATIVE, NEGATIVE]


def test_anchors_that_cross_the_border_learn_nothing_and_are_never_the_best():
    objects = [[0.0, 0, 20, 20]]
    given = [[-1.0, 0, 20, 20], [0.0, 0, 20, 101], [0.0, 0, 12, 12], [0.0, 0, 100, 100],
             [90.0, 90, 101, 99]]  # fmt: skip
    expected = [NEITHER, NEITHER, POSITIVE, NEGATIVE, NEITHER]
    assert of_anchors(given, objects).labels_n.tolist() == expected


def test_an_anchor_that_two_objects_ask_for_learns_the_one_it_overlaps_most():
    objects = [[0.0, 0, 30, 30], [0.0, 0, 40, 40]]
    found = of_anchors([[0.0, 0, 38, 38]], objects)
    assert (found.labels_n.tolist(), found.object_n.tolist()) == ([POSITIVE], [1])


def test_an_ignored_object_makes_nothing_positive_and_what_lies_on_it_not_negative():
    crowd = [[0.0, 0, 100, 100]]
    given = [[0.0, 0, 100, 100], [40.0, 40, 50, 50]]
    assert of_anchors(given, crowd).labels_n.tolist() == [POSITIVE, NEGATIVE]
    assert of_anchors(given, crowd, [True]).labels_n.tolist() == [NEITHER, NEITHER]
    difficult = [[0.0, 0, 10, 10], [60.0, 60, 70, 70]]
    beside = [[0.0, 0, 10, 10], [0.0, 0, 10, 40], [60.0, 60, 70, 70], [7.5, 0, 17.5, 10]]
    found = of_anchors(beside, difficult, [True, False])
    assert found.labels_n.tolist() == [NEITHER, NEGATIVE, POSITIVE, NEGATIVE]
    assert found.object_n[2] == 1


def test_an_anchor_on_an_ignored_object_may_be_another_objects():
    found = of_anchors([[0.0, 0, 10, 10]], [[0.0, 0, 10, 10], [0.0, 0, 10, 9]], [True, False])
    assert (found.labels_n.tolist(), found.object_n.tolist()) == ([POSITIVE], [1])


def test_an_image_without_objects_has_only_negative_anchors_and_no_anchors_are_no_trouble():
    assert of_anchors([[0.0, 0, 10, 10]], []).labels_n.tolist() == [NEGATIVE]
    assert of_anchors([], [[0.0, 0, 10, 10]]).labels_n.shape == (0,)
    assert of_anchors([], []).object_n.shape == (0,)
    # Nothing fits into an image smaller than every anchor.
    found = of_anchors([[-5.0, -5, 5, 5]], [[0.0, 0, 4, 4]], height=4, width=4)
    assert found.labels_n.tolist() == [NEITHER]


def test_every_object_in_a_photo_gets_an_anchor_as_a_loop_finds_it():
    drawn = torch.Generator().manual_seed(3)
    corner = torch.rand(9, 2, generator=drawn) * torch.tensor([800, 400])
    objects = torch.cat((corner, corner + torch.rand(9, 2, generator=drawn) * 180 + 8), 1)
    given = anchors.of_map(anchors.COCO, 38, 63)
    ignored = torch.arange(9) % 4 == 3
    found = matching.anchors(given, objects, ignored, height=600, width=1000)
    inside = boxes.within(given, 600, 1000)
    overlaps = boxes.iou(given, objects)
    for number in (~ignored).nonzero().squeeze(1).tolist():
        own = overlaps[:, number].masked_fill(~inside, -1)
        assert (found.labels_n[own == own.max()] == POSITIVE).all()
        assert (found.labels_n[own > 0.7] == POSITIVE).all()
    positive = found.labels_n == POSITIVE
    taught = found.object_n[positive]
    assert not ignored[taught].any()
    wanted = overlaps[:, ~ignored].amax(1)
    torch.testing.assert_close(overlaps[positive, taught], wanted[positive])
    assert (wanted[found.labels_n == NEGATIVE] < 0.3).all()
    assert (found.labels_n[~inside] == NEITHER).all()


def test_regions_are_foreground_from_0_5_and_background_below():
    objects = torch.tensor([[0.0, 0, 10, 100], [50, 0, 60, 100]])
    given = torch.tensor([[0.0, 0, 10, 50], [0, 0, 10, 49], [50, 0, 60, 99], [80, 80, 90, 90]])
    found = matching.regions(given, objects, flags(False, False))
    assert found.labels_n.tolist() == [POSITIVE, NEGATIVE, POSITIVE, NEGATIVE]
    assert found.object_n[[0, 2]].tolist() == [0, 1]
    near = matching.regions(given, objects, flags(False, False), background_from=0.1)
    assert near.labels_n.tolist() == [POSITIVE, NEGATIVE, POSITIVE, NEITHER]


def test_regions_on_ignored_objects_are_neither():
    objects = torch.tensor([[0.0, 0, 100, 100], [200, 0, 210, 10]])
    given = torch.tensor([[0.0, 0, 10, 10], [95, 0, 105, 10], [96, 0, 106, 10], [200, 0, 210, 10]])
    found = matching.regions(given, objects, flags(True, False))
    assert found.labels_n.tolist() == [NEITHER, NEITHER, NEGATIVE, POSITIVE]


def test_regions_of_an_image_without_objects_and_none_at_all():
    given = torch.tensor([[0.0, 0, 10, 10]])
    assert matching.regions(given, NONE, NO_FLAGS).labels_n.tolist() == [NEGATIVE]
    found = matching.regions(NONE, given, flags(False))
    assert found.labels_n.shape == found.object_n.shape == (0,)


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        (500, 5000, (128, 128)),
        (3, 5000, (3, 253)),
        (500, 10, (128, 10)),
        (0, 5000, (0, 256)),
        (7, 0, (7, 0)),
        (0, 0, (0, 0)),
    ],
)
def test_256_anchors_are_drawn_and_at_most_half_of_them_positive(positive, negative, expected):
    labels = torch.tensor([POSITIVE] * positive + [NEITHER] * 9 + [NEGATIVE] * negative)
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    found = matching.sample(labels, 256, 0.5, torch.Generator().manual_seed(1))
    assert (len(found.positive_p), len(found.negative_q)) == expected
    assert (labels[found.positive_p] == POSITIVE).all()
    assert (labels[found.negative_q] == NEGATIVE).all()
    for drawn in (found.positive_p, found.negative_q):
        assert drawn.dtype == torch.int64
        assert (drawn.diff() > 0).all()


def test_a_quarter_of_128_regions_is_foreground():
    labels = torch.tensor([POSITIVE, NEGATIVE] * 300)
    found = matching.sample(labels, 128, 0.25)
    assert (len(found.positive_p), len(found.negative_q)) == (32, 96)


def test_the_draw_is_a_function_of_the_generator_or_of_the_update():
    labels = torch.tensor([POSITIVE, NEGATIVE] * 300)

    def drawn(generator=None):
        found = matching.sample(labels, 256, 0.5, generator)
        return torch.cat((found.positive_p, found.negative_q)).tolist()

    def drawn_in(number):
        random.seed_layers(0, number, 0)
        return drawn()

    own = drawn(random.generator(0, "anchors", 1))
    assert own == drawn(random.generator(0, "anchors", 1))
    assert own != drawn(random.generator(0, "anchors", 2))
    assert drawn_in(1) == drawn_in(1) != drawn_in(2)


def test_every_candidate_is_drawn_about_as_often_as_another():
    labels = torch.tensor([POSITIVE] * 10 + [NEGATIVE] * 20)
    times = torch.zeros(30)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        found = matching.sample(labels, 10, 0.5, generator)
        times[found.positive_p] += 1
        times[found.negative_q] += 1
    # Binomial: of 400, a half or a quarter, with deviations of 10 and 8.7.
    assert (times[:10] - 200).abs().max() < 50
    assert (times[10:] - 100).abs().max() < 43
