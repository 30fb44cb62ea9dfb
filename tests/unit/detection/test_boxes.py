import math

import pytest
import torch

from resnets.detection import boxes

BOXES = torch.tensor([[0.0, 0, 10, 20], [5, 5, 15, 15], [10, 20, 30, 25]])
NONE = torch.zeros(0, 4)


def test_overlaps_of_known_boxes():
    found = boxes.iou(BOXES, torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 20]]))
    expected = torch.tensor([[0.5, 1.0], [25 / 175, 50 / 250], [0, 0]])
    torch.testing.assert_close(found, expected)


def test_boxes_that_touch_or_have_no_area_do_not_overlap():
    flat = torch.tensor([[3.0, 3, 3, 9], [5, 5, 5, 5]])
    assert boxes.iou(BOXES[:1], BOXES[2:]).item() == 0
    assert boxes.iou(flat, torch.cat((BOXES, flat))).eq(0).all()


def test_coverage_is_the_share_of_the_first_in_the_second():
    small_in_large = boxes.coverage(torch.tensor([[1.0, 1, 2, 2]]), BOXES)
    assert small_in_large.tolist() == [[1, 0, 0]]
    half = boxes.coverage(torch.tensor([[-5.0, 0, 5, 20], [4, 4, 4, 8]]), BOXES[:1])
    assert half.tolist() == [[0.5], [0]]


def test_areas():
    assert boxes.areas(BOXES).tolist() == [200, 100, 100]


def test_encoding_follows_the_equation_and_the_deviations():
    anchor = torch.tensor([[10.0, 10, 30, 50]])
    box = torch.tensor([[15.0, 20, 55, 60]])
    expected = [15 / 20, 10 / 40, math.log(2), 0]
    assert boxes.encode(box, anchor).tolist()[0] == pytest.approx(expected)
    stds = (0.1, 0.1, 0.2, 0.2)
    divided = [t / std for t, std in zip(expected, stds, strict=True)]
    assert boxes.encode(box, anchor, stds).tolist()[0] == pytest.approx(divided)
    torch.testing.assert_close(boxes.decode(torch.tensor([divided]), anchor, stds), box)


def test_no_delta_makes_an_infinite_box():
    found = boxes.decode(torch.tensor([[0, 0, 1e30, -1e30]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert found[0].tolist() == pytest.approx([8 - 500, 8, 8 + 500, 8])


def test_each_class_decodes_its_own_deltas():
    deltas = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    found = boxes.decode(deltas, BOXES[:, None])
    for number in range(5):
        torch.testing.assert_close(found[:, number], boxes.decode(deltas[:, number], BOXES))


def test_clipping_keeps_what_is_in_the_image():
    outside = torch.tensor([[-5.0, -5, 8, 8], [90, 40, 130, 70], [200, 200, 300, 300]])
    expected = [[0, 0, 8, 8], [90, 40, 100, 50], [100, 50, 100, 50]]
    assert boxes.clip(outside, height=50, width=100).tolist() == expected
    assert boxes.clip(outside[:, None], 50, 100)[:, 0].tolist() == expected


def test_which_boxes_are_large_enough_and_which_lie_within():
    assert boxes.large_enough(BOXES, 10).tolist() == [True, True, False]
    given = torch.tensor([[0.0, 0, 100, 50], [-0.1, 0, 9, 9], [0, 0, 100.1, 50], [0, 0, 9, 51]])
    assert boxes.within(given, height=50, width=100).tolist() == [True, False, False, False]


def test_no_boxes_give_no_boxes():
    assert boxes.iou(NONE, BOXES).shape == boxes.coverage(NONE, BOXES).shape == (0, 3)
    assert boxes.iou(BOXES, NONE).shape == boxes.coverage(BOXES, NONE).shape == (3, 0)
    for found in (
        boxes.encode(NONE, NONE),
        boxes.decode(NONE, NONE),
        boxes.clip(NONE, 5, 5),
    ):
        assert found.shape == (0, 4)
    for found in (boxes.areas(NONE), boxes.large_enough(NONE, 1), boxes.within(NONE, 5, 5)):
        assert found.shape == (0,)


def test_nothing_is_changed_in_place():
    before = BOXES.clone()
    boxes.iou(BOXES, BOXES)
    boxes.coverage(BOXES, BOXES)
    boxes.decode(BOXES, BOXES)
    boxes.clip(BOXES, 3, 3)
    assert torch.equal(BOXES, before)
