import pytest
import torch

from resnets.core.errors import ModelError
from resnets.detection import anchors, boxes
from resnets.detection.anchors import AnchorSpec


def test_the_papers_anchors_are_3_scales_by_3_ratios_and_coco_adds_one_scale():
    assert len(anchors.VOC) == 9
    assert len(anchors.COCO) == 12
    assert (anchors.VOC.scales_px, anchors.COCO.scales_px[0]) == ((128, 256, 512), 64)


def test_a_cells_anchors_have_the_scales_areas_and_the_ratios_in_order():
    found = anchors.of_cell(anchors.VOC)
    sides = found[:, 2:] - found[:, :2]
    areas = [128.0**2, 256.0**2, 512.0**2] * 3
    torch.testing.assert_close(boxes.areas(found), torch.tensor(areas))
    ratios = torch.tensor([0.5, 1, 2]).repeat_interleave(3)
    torch.testing.assert_close(sides[:, 1] / sides[:, 0], ratios)
    assert torch.equal(found[:, :2], -found[:, 2:])
    assert found[3].tolist() == [-64, -64, 64, 64]


def test_a_maps_anchors_go_row_by_row_around_the_middle_of_each_cell():
    found = anchors.of_map(anchors.VOC, rows=2, columns=3)
    assert found.shape == (2 * 3 * 9, 4)
    middles = (found[:, :2] + found[:, 2:]) / 2
    expected = [[8, 8], [24, 8], [40, 8], [8, 24], [24, 24], [40, 24]]
    torch.testing.assert_close(middles[::9], torch.tensor(expected).float())
    for cell in range(6):
        moved = anchors.of_cell(anchors.VOC) + torch.tensor(expected[cell] * 2)
        torch.testing.assert_close(found[9 * cell : 9 * cell + 9], moved)


def test_the_order_is_that_of_a_permuted_map():
    scores = torch.arange(2 * 9 * 4 * 5).view(2, 9, 4, 5)
    flat = scores.permute(0, 2, 3, 1).flatten(1)
    found = anchors.of_map(anchors.VOC, 4, 5)
    row, column, number = 3, 1, 7
    at = flat[0].tolist().index(scores[0, number, row, column].item())
    expected = anchors.of_cell(anchors.VOC)[number] + torch.tensor([24, 56, 24, 56])
    torch.testing.assert_close(found[at], expected)


def test_an_anchor_has_the_middle_that_it_has_in_py_faster_rcnn_which_rounds_its_sides():
    """Its generate_anchors prints -84, -40, 99, 55, last pixels included, for the first one."""
    theirs = torch.tensor([[-84.0, -40, 100, 56]])
    ours = anchors.of_map(anchors.VOC, 1, 1)[:1]
    assert torch.equal(ours[:, :2] + ours[:, 2:], theirs[:, :2] + theirs[:, 2:])
    assert boxes.iou(ours, theirs).item() == pytest.approx(128**2 / (184 * 96), abs=1e-4)


def test_a_map_without_cells_has_no_anchors():
    assert anchors.of_map(anchors.VOC, 0, 7).shape == (0, 4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("scales_px", ()), ("ratios", (1, 0)), ("stride_px", 0), ("scales_px", (float("nan"),))],
)
def test_anchors_of_no_size_are_refused(field, value):
    with pytest.raises(ModelError, match=rf"anchors\.{field}: must be positive"):
        AnchorSpec(**{field: value})
