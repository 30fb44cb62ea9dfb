"""Pooling of regions against its definitions, written out in loops."""

import math

import pytest
import torch

from resnets.detection import regions


def rounded(value):
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def slow_pool(features, boxes, images, side, stride):
    """Fast R-CNN's loops, and the cell of each maximum: (r, c, side, side) of both."""
    _, channels, height, width = features.shape
    found = torch.zeros(len(boxes), channels, side, side, dtype=features.dtype)
    cell = torch.full(found.shape, -1)
    for r, (left, top, right, bottom) in enumerate(boxes.tolist()):
        x0, y0 = rounded(left / stride), rounded(top / stride)
        columns = max(rounded((right - 1) / stride) - x0 + 1, 1)
        rows = max(rounded((bottom - 1) / stride) - y0 + 1, 1)
        for i in range(side):
            ys = range(y0 + math.floor(i * rows / side), y0 + math.ceil((i + 1) * rows / side))
            for j in range(side):
                xs = range(
                    x0 + math.floor(j * columns / side), x0 + math.ceil((j + 1) * columns / side)
                )
                inside = [(y, x) for y in ys for x in xs if 0 <= y < height and 0 <= x < width]
                for c in range(channels):
                    highest = -math.inf
                    for y, x in inside:
                        value = features[images[r], c, y, x].item()
                        if value > highest:
                            highest = value
                            found[r, c, i, j] = features[images[r], c, y, x]
                            cell[r, c, i, j] = y * width + x
    return found, cell


def slow_align(features, boxes, images, side, stride, sampling_ratio, aligned):
    _, channels, height, width = features.shape
    found = torch.zeros(len(boxes), channels, side, side, dtype=torch.float64)

    def read(image, y, x):
        if not (-1 <= y <= height and -1 <= x <= width):
            return torch.zeros(channels, dtype=torch.float64)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        y0, x0 = int(y), int(x)
        y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
        corners = [
            (y0, x0, (1 - y + y0) * (1 - x + x0)),
            (y0, x1, (1 - y + y0) * (x - x0)),
            (y1, x0, (y - y0) * (1 - x + x0)),
            (y1, x1, (y - y0) * (x - x0)),
        ]
        return sum(weight * features[image, :, v, u].double() for v, u, weight in corners)

    for r, box in enumerate(boxes.tolist()):
        left, top, right, bottom = (edge / stride - (0.5 if aligned else 0) for edge in box)
        across, down = right - left, bottom - top
        if not aligned:
            across, down = max(across, 1), max(down, 1)
        many_x = sampling_ratio or math.ceil(across / side)
        many_y = sampling_ratio or math.ceil(down / side)
        for i in range(side):
            for j in range(side):
                for k in range(many_y):
                    for m in range(many_x):
                        y = top + (i + (k + 0.5) / many_y) * down / side
                        x = left + (j + (m + 0.5) / many_x) * across / side
                        value = read(images[r], y, x)
                        found[r, :, i, j] += value / (many_y * many_x)
    return found


def features(count=2, channels=3, height=9, width=12, seed=0):
    drawn = torch.randn(
        count, channels, height, width, generator=torch.Generator().manual_seed(seed)
    )
    return (drawn * 2).round() / 2  # with many equal ones


BOXES = torch.tensor(
    [
        [0.0, 0, 192, 144],  # the whole image
        [0, 0, 104, 104],  # bins of exactly one cell where there are 7
        [33.3, 20.9, 150.2, 77.7],
        [50, 50, 51, 51],  # a pixel
        [24, 24, 40.9, 41],  # halves
        [-60, -40, 90, 90],  # over the upper left
        [100, 90, 400, 300],  # over the lower right
        [-90, -90, -24, -24],  # outside
        [300, 300, 330, 330],
        [180, 5, 192, 143],
        [40, 40, 40, 40],  # nothing
        [7.99, 8.01, 8.5, 170],
    ]
)
IMAGES = torch.arange(len(BOXES)) % 2


@pytest.mark.parametrize("side", [1, 2, 7, 14])
def test_pooling_is_exactly_the_loops(side):
    expected, _ = slow_pool(features(), BOXES, IMAGES, side, 16)
    found = regions.pool(features(), BOXES, IMAGES, side=side, stride=16)
    assert torch.equal(found, expected)


def test_pooling_of_random_boxes_with_another_stride_and_from_channels_last():
    drawn = torch.Generator().manual_seed(5)
    corner = torch.rand(30, 2, generator=drawn) * 60 - 5
    given = torch.cat((corner, corner + torch.rand(30, 2, generator=drawn) * 70), 1)
    images = torch.randint(0, 2, (30,), generator=drawn)
    expected, _ = slow_pool(features(width=15), given, images, 3, 4)
    for layout in (torch.contiguous_format, torch.channels_last):
        maps = features(width=15).contiguous(memory_format=layout)
        found = regions.pool(maps, given, images, side=3, stride=4)
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_bin_outside_the_map_is_0_where_all_features_are_negative():
    found = regions.pool(-torch.ones(1, 1, 4, 4), torch.tensor([[32.0, 0, 128, 64]]),
                         torch.tensor([0]), side=2, stride=16)  # fmt: skip
    assert found.flatten().tolist() == [-1, 0, -1, 0]


def test_neighbouring_bins_share_a_cell_where_the_edges_ask_for_it():
    """3 cells in 2 bins: from 0 to 2 and from 1 to 3."""
    row = torch.tensor([0.0, 5, 0]).view(1, 1, 1, 3)
    found = regions.pool(row, torch.tensor([[0.0, 0, 40, 8]]), torch.tensor([0]), side=2, stride=16)
    assert found.flatten().tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize("side", [2, 7])
def test_the_gradient_goes_to_the_first_cell_with_the_maximum(side):
    maps = features().requires_grad_()
    found = regions.pool(maps, BOXES, IMAGES, side=side, stride=16)
    # Whole numbers, so that sums don't depend on their order.
    slope = torch.randint(-9, 9, found.shape, generator=torch.Generator().manual_seed(1)).float()
    found.backward(slope)
    _, cell = slow_pool(features(), BOXES, IMAGES, side, 16)
    expected = torch.zeros_like(features()).flatten(2)
    for r, image in enumerate(IMAGES.tolist()):
        for c in range(3):
            at, there = cell[r, c].flatten(), slope[r, c].flatten()
            expected[image, c].index_add_(0, at[at >= 0], there[at >= 0])
    assert torch.equal(maps.grad, expected.view_as(maps))


def test_pooling_in_bfloat16_adds_its_gradient_in_float32():
    maps = torch.ones(1, 1, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    many = torch.tensor([[0.0, 0, 32, 32]]).repeat(1000, 1)
    found = regions.pool(maps, many, torch.zeros(1000, dtype=torch.int64), side=1, stride=16)
    found.sum().backward()
    assert found.dtype == maps.grad.dtype == torch.bfloat16
    # In bfloat16 a sum of ones stops at 256.
    assert maps.grad.flatten().tolist() == [1000, 0, 0, 0]


def test_a_feature_that_is_not_a_number_is_seen():
    maps = features(count=1)
    maps[0, 1, 4, 4] = math.nan
    found = regions.pool(maps, BOXES[:1], torch.tensor([0]), side=2, stride=16)
    assert found.isnan().nonzero().tolist() == [[0, 1, 0, 0]]


def test_no_regions_give_no_maps_and_no_gradient():
    for found in (
        lambda maps: regions.pool(maps, BOXES[:0], IMAGES[:0], side=7, stride=16),
        lambda maps: regions.align(maps, BOXES[:0], IMAGES[:0], side=7, stride=16),
    ):
        maps = features().requires_grad_()
        assert found(maps).shape == (0, 3, 7, 7)
        found(maps).sum().backward()
        assert maps.grad.eq(0).all()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [1, 2, None])
@pytest.mark.parametrize("side", [2, 7])
def test_aligning_is_the_loops(side, sampling_ratio, aligned):
    expected = slow_align(features(), BOXES, IMAGES, side, 16, sampling_ratio, aligned)
    found = regions.align(
        features(), BOXES, IMAGES, side=side, stride=16, sampling_ratio=sampling_ratio,
        aligned=aligned,
    )  # fmt: skip
    torch.testing.assert_close(found.double(), expected, atol=2e-5, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_aligning_is_differentiable_and_parts_change_nothing(monkeypatch):
    maps = features(channels=1, height=4, width=5).double().requires_grad_()
    given, images = BOXES[:6].double() / 4, IMAGES[:6]

    def aligned(x):
        return regions.align(x, given, images, side=2, stride=16, sampling_ratio=2)

    assert torch.autograd.gradcheck(aligned, maps)
    whole = aligned(maps)
    monkeypatch.setitem(regions._ALIGNED, "cpu", 2 * 2 * 5)
    torch.testing.assert_close(aligned(maps), whole)


def test_pooling_is_differentiable():
    # No two are alike, and no step of gradcheck makes one pass another.
    order = torch.randperm(2 * 4 * 5, generator=torch.Generator().manual_seed(0)).double()
    given, images = BOXES[:6] / 2, IMAGES[:6]
    assert torch.autograd.gradcheck(
        lambda x: regions.pool(x, given, images, side=2, stride=16),
        order.view(2, 1, 4, 5).requires_grad_(),
    )


def test_of_a_slope_aligning_reads_the_value_at_the_middle_of_each_bin():
    x = torch.arange(20.0).expand(1, 1, 20, 20)
    found = regions.align(x, torch.tensor([[64.0, 64, 192, 192]]), torch.tensor([0]),
                          side=4, stride=16)  # fmt: skip
    # The middle of the first bin is 80 px, which is 5 cells from the edge: halfway from 4 to 5.
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([4.5, 6.5, 8.5, 10.5]))
