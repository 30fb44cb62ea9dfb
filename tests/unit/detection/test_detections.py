"""What a detector says of one image."""

import math

import torch

from resnets.detection.detections import Detections


def boxes(count):
    return torch.arange(4.0 * count).reshape(count, 4)


def test_detections_are_sorted_by_falling_score():
    found = Detections.of(boxes(3), torch.tensor([0.2, 0.9, 0.5]), torch.tensor([4, 5, 6]))
    assert found.scores_n.tolist() == torch.tensor([0.9, 0.5, 0.2]).tolist()
    assert found.classes_n.tolist() == [5, 6, 4]
    assert found.boxes_n4[:, 0].tolist() == [4, 8, 0]


def test_equal_scores_keep_their_order_and_a_nan_comes_last():
    scores = torch.tensor([math.nan, 0.5, -math.inf, 0.5, math.inf])
    found = Detections.of(boxes(5), scores, torch.arange(5))
    assert found.classes_n.tolist() == [4, 1, 3, 2, 0]


def test_what_a_network_computes_in_is_no_matter():
    found = Detections.of(
        boxes(2).bfloat16().requires_grad_(),
        torch.tensor([0.25, 0.5], dtype=torch.float64),
        torch.tensor([1, 0], dtype=torch.int32),
    )
    kinds = (found.boxes_n4.dtype, found.scores_n.dtype, found.classes_n.dtype)
    assert kinds == (torch.float32, torch.float32, torch.int64)
    assert not found.boxes_n4.requires_grad


def test_the_surest_are_the_first():
    found = Detections.of(boxes(3), torch.tensor([0.2, 0.9, 0.5]), torch.arange(3))
    assert found.surest(2).classes_n.tolist() == [1, 2]
    assert len(found.surest(7)) == 3


def test_there_may_be_nothing():
    nothing = Detections.none()
    assert len(nothing) == 0
    assert nothing.boxes_n4.shape == (0, 4)
    assert len(Detections.of(nothing.boxes_n4, nothing.scores_n, nothing.classes_n)) == 0
