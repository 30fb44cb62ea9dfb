import math

import pytest
import torch

from resnets.detection import boxes, nms


def crowd(count, seed=0, spread=60.0):
    """Boxes that overlap much, whole and half pixels, with scores of which many are equal."""
    drawn = torch.Generator().manual_seed(seed)
    corner = (torch.rand(count, 2, generator=drawn) * spread * 2).round() / 2
    sides = (torch.rand(count, 2, generator=drawn) * 40).round() / 2 + 1
    scores = torch.randint(0, max(2, count // 3), (count,), generator=drawn) / count
    return torch.cat((corner, corner + sides), 1), scores


def greedily(boxes_n4, scores_n, threshold):
    """The definition, a box at a time."""
    scores = scores_n.tolist()
    too_much = (boxes.iou(boxes_n4, boxes_n4) > threshold).tolist()
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if not any(too_much[i][j] for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize(("count", "spread"), [(7, 60), (128, 60), (129, 20), (700, 90)])
def test_it_keeps_what_the_definition_keeps_within_blocks_and_across(count, spread, threshold):
    given, scores = crowd(count, spread=spread)
    expected = greedily(given, scores, threshold)
    assert nms.nms(given, scores, threshold).tolist() == expected
    assert 0 < len(expected) <= count


def test_more_boxes_than_a_table_of_overlaps_has_columns():
    given, scores = crowd(1400, spread=900)
    assert nms.nms(given, scores, 0.3).tolist() == greedily(given, scores, 0.3)


def test_a_chain_in_which_each_box_removes_the_next_is_settled_link_by_link():
    """Each box overlaps its neighbours alone, so every second one stays."""
    left = torch.arange(300) * 4.0
    given = torch.stack((left, torch.zeros(300), left + 10, torch.full((300,), 10.0)), 1)
    found = nms.nms(given, torch.linspace(1, 0, 300), 0.4)
    assert found.tolist() == list(range(0, 300, 2))


def test_of_equal_scores_the_lower_index_comes_first():
    given = torch.tensor([[0.0, 0, 9, 9], [1, 0, 10, 9], [50, 50, 60, 60], [0, 0, 9, 9]])
    assert nms.nms(given, torch.ones(4), 0.5).tolist() == [0, 2]


def test_an_overlap_of_exactly_the_threshold_stays():
    given = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2]])
    assert nms.nms(given, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]
    assert nms.nms(given, torch.tensor([0.9, 0.8]), 0.49).tolist() == [0]


@pytest.mark.parametrize("most", [0, 1, 5, 200, 10_000])
def test_the_most_that_are_kept_are_the_first_of_all(most):
    given, scores = crowd(500, spread=200)
    every = nms.nms(given, scores, 0.3)
    assert len(every) > 130
    assert torch.equal(nms.nms(given, scores, 0.3, most), every[:most])


def test_a_class_keeps_what_it_keeps_alone():
    given, scores = crowd(400, spread=30)
    given = given * 1000 / 3  # offsets of this size would round the coordinates
    classes = torch.randint(0, 7, (400,), generator=torch.Generator().manual_seed(1)) * 3
    found = nms.nms_by_class(given, scores, classes, 0.4)
    for number in classes.unique().tolist():
        own = (classes == number).nonzero().squeeze(1)
        alone = own[nms.nms(given[own], scores[own], 0.4)]
        assert found[classes[found] == number].tolist() == alone.tolist()
    order = [(-scores[i].item(), i) for i in found.tolist()]
    assert order == sorted(order)
    first = nms.nms_by_class(given, scores, classes, 0.4, most=9)
    assert torch.equal(first, found[:9])
    assert len(nms.nms(given, scores, 0.4)) < len(found)


def test_no_boxes_and_only_one():
    none = torch.zeros(0, 4)
    assert nms.nms(none, torch.zeros(0), 0.5).tolist() == []
    assert nms.nms(none, torch.zeros(0), 0.5).dtype == torch.int64
    by_class = nms.nms_by_class(none, torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5)
    assert (by_class.tolist(), by_class.dtype) == ([], torch.int64)
    assert nms.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([0.1]), 0.5).tolist() == [0]


def test_what_is_not_a_number_is_left_out_and_the_rest_is_as_without_it():
    given, scores = crowd(300, spread=40)
    ill = torch.tensor([3, 77, 150, 299])
    scores[ill[:2]] = math.nan
    given[ill[2:], torch.tensor([0, 3])] = math.nan
    well = torch.tensor([i for i in range(300) if i not in ill.tolist()])
    expected = well[nms.nms(given[well], scores[well], 0.5)]
    assert torch.equal(nms.nms(given, scores, 0.5), expected)
    assert nms.nms(given, torch.full((300,), math.nan), 0.5).tolist() == []
    classes = torch.zeros(300, dtype=torch.int64)
    assert torch.equal(nms.nms_by_class(given, scores, classes, 0.5), expected)


def test_infinite_scores_have_their_place_and_boxes_without_area_stay():
    given = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 9], [4, 4, 4, 4], [0, 0, 9, 8]])
    scores = torch.tensor([-math.inf, math.inf, 0.5, 0.7])
    assert nms.nms(given, scores, 0.5).tolist() == [1, 2]
    assert nms.nms(given[[2, 2]], scores[:2], 0.5).tolist() == [1, 0]


def test_what_stays_does_not_depend_on_how_many_are_looked_at_at_once(monkeypatch):
    given, scores = crowd(3000, seed=3, spread=400.0)
    expected = nms.nms(given, scores, 0.5)
    assert 100 < len(expected) < 2900
    for table in (nms._BLOCK, nms._COLUMNS):
        monkeypatch.setitem(table, "cpu", table["cuda"])  # as on a GPU
    assert torch.equal(nms.nms(given, scores, 0.5), expected)
