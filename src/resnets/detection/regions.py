"""What a network sees of a region: RoI pooling, and RoIAlign in its place where a recipe says so.

Both take the features of a batch, boxes in pixels of its images and which image each box is of, and
return a small square map for each box, differentiable with respect to the features. Boxes get no
gradient. The maps have channels last in memory, whatever the features have.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Numbers at once: on a CPU a MiB of float32, which a core's second cache holds; a GPU wants few
# calls.
_LOOKED_UP: Final = {"cpu": 2**18, "cuda": 2**26}
# Numbers between the two products at once: on a CPU what fits the third cache.
_ALIGNED: Final = {"cpu": 2**22, "cuda": 2**28}


def pool(
    features_nchw: Tensor, boxes_r4: Tensor, image_r: Tensor, *, side: int, stride: int
) -> Tensor:
    """Return the maximum of the features in each of side x side bins of each box.

    A box's edges are rounded to cells of the map, halves away from 0; of n cells bin i of p spans
    those from floor(i n / p) to ceil((i + 1) n / p), so that neighbours may share some. What lies
    outside the map counts for nothing, and a bin with nothing in it is 0. The gradient goes to the
    first cell, row by row, that has the maximum.

    Fast R-CNN's boxes name their last pixel, ours end after it: the edges that are rounded are
    left, top, right - 1, bottom - 1, and the cell of the last two is still inside.

    Args:
        features_nchw: The map of each image, of a float type, any memory format.
        boxes_r4: Boxes in pixels of the image, finite.
        image_r: int64: the image of each.
        side: Of the small map, in bins.
        stride: How many pixels one cell of the map stands for.

    Returns:
        Shape (r, c, side, side), in the features' type.

    Source: Girshick 2015, sec. 2.1; He et al. 2014, for the edges of bins.

    Deviation: edges of bins are whole numbers from whole numbers. The original multiplies and
    rounds float32, and where that is not exact a bin may have one more row or column.
    """
    _, channels, height, width = features_nchw.shape
    bins = _bins(boxes_r4, image_r, side, stride, height, width)
    maps_nhwc = features_nchw.permute(0, 2, 3, 1).contiguous()
    pooled_bc: Tensor = _Maximum.apply(maps_nhwc, bins)  # type: ignore[no-untyped-call]
    return pooled_bc.view(-1, side, side, channels).permute(0, 3, 1, 2)


def align(
    features_nchw: Tensor,
    boxes_r4: Tensor,
    image_r: Tensor,
    *,
    side: int,
    stride: int,
    sampling_ratio: int | None = None,
    aligned: bool = True,
) -> Tensor:
    """Return the mean of the features, interpolated at points of each of side x side bins.

    Bins have equal sides that are not rounded. In each a grid of points is read by bilinear
    interpolation; a point more than a cell outside the map counts as 0, another one outside is
    moved to its border. That is a sum over rows of sums over columns, so it is two products of
    matrices.

    Args:
        features_nchw: The map of each image, of a float type, any memory format.
        boxes_r4: Boxes in pixels of the image, finite.
        image_r: int64: the image of each.
        side: Of the small map, in bins.
        stride: How many pixels one cell of the map stands for.
        sampling_ratio: Points of a bin down and across. None: the whole number of cells that a bin
            of that box spans, rounded up.
        aligned: Whether the value of a cell is that at its middle. Without it is that at its upper
            left corner, and a box has at least the size of a cell.

    Returns:
        Shape (r, c, side, side), in the features' type.

    Source: He et al. 2017, sec. 3; https://docs.pytorch.org/vision/stable/generated/torchvision.ops.roi_align.html

    Deviation: it is not RoI pooling, which the paper has.
    """
    _, channels, height, width = features_nchw.shape
    edges_r4 = boxes_r4 / stride - (0.5 if aligned else 0.0)
    extents_r2 = edges_r4[:, 2:] - edges_r4[:, :2]
    if not aligned:
        extents_r2 = extents_r2.clamp(min=1)
    columns_rpw, rows_rph = (
        _interpolation(edges_r4[:, i], extents_r2[:, i], side, cells, sampling_ratio).to(
            features_nchw.dtype
        )
        for i, cells in ((0, width), (1, height))
    )
    at_once = max(1, _ALIGNED[features_nchw.device.type] // (side * width * channels))
    order, found = [], []
    for image, map_hwc in enumerate(features_nchw.permute(0, 2, 3, 1)):
        own = (image_r == image).nonzero().squeeze(1)
        for part in own.split(at_once):
            down = rows_rph[part].flatten(0, 1) @ map_hwc.flatten(1)
            across = columns_rpw[part][:, None] @ down.view(len(part), side, width, channels)
            order.append(part)
            found.append(across)
    back_r = torch.cat(order).argsort()
    return torch.cat(found)[back_r].permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of all boxes, b = boxes * side * side, row by row; int64, in cells of the map."""

    image_b: Tensor
    top_b: Tensor
    left_b: Tensor
    rows_b: Tensor
    columns_b: Tensor

    def by_size(self) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (columns, rows, indices of the bins that have them): by columns, then by rows."""
        if not len(self.rows_b):
            return
        # One number for each pair, since a pair can't be sorted.
        taller = int(self.rows_b.max()) + 1
        sizes_b, order_b = (self.columns_b * taller + self.rows_b).sort(stable=True)
        sizes, counts = sizes_b.unique_consecutive(return_counts=True)
        for size, chosen in zip(sizes.tolist(), order_b.split(counts.tolist()), strict=True):
            yield *divmod(size, taller), chosen


def _bins(
    boxes_r4: Tensor, image_r: Tensor, side: int, stride: int, height: int, width: int
) -> _Bins:
    ends = boxes_r4.new_tensor((0, 0, 1, 1))
    left_r, top_r, right_r, bottom_r = _rounded((boxes_r4 - ends) / stride).unbind(1)
    left_rp, columns_rp = _spans(left_r, right_r, side, width)
    top_rp, rows_rp = _spans(top_r, bottom_r, side, height)
    return _Bins(
        image_r.repeat_interleave(side * side),
        top_rp.repeat_interleave(side, 1).flatten(),
        left_rp.repeat(1, side).flatten(),
        rows_rp.repeat_interleave(side, 1).flatten(),
        columns_rp.repeat(1, side).flatten(),
    )


def _rounded(values: Tensor) -> Tensor:
    """Return the nearest whole numbers as int64, halves away from zero, as C rounds."""
    whole = values.trunc()
    return (whole + ((values - whole) * 2).trunc()).long()


def _spans(first_r: Tensor, last_r: Tensor, side: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return where each bin begins on the map and how many of its cells it has, (r, side)."""
    i = torch.arange(side, device=first_r.device)
    extent_r1 = (last_r - first_r + 1).clamp(min=1)[:, None]
    begin = first_r[:, None] + i * extent_r1 // side
    end = first_r[:, None] - (-(i + 1) * extent_r1) // side
    begin, end = begin.clamp(0, cells), end.clamp(0, cells)
    return begin, end - begin


class _Maximum(torch.autograd.Function):
    """The maximum of each bin, (b, channels).

    For each size that bins have there is a map which holds at each place the maximum of the bin of
    that size that begins there: each is made from the one before, and every bin is then one look-up
    in one of them. Sizes are few, at most some dozen, and bins are many.
    """

    @staticmethod
    def forward(ctx: Any, maps_nhwc: Tensor, bins: _Bins) -> Tensor:
        channels = maps_nhwc.shape[-1]
        pooled_bc = maps_nhwc.new_empty(len(bins.image_b), channels)
        wide, wide_columns = maps_nhwc, 1
        tall, tall_rows = wide, 1
        for columns, rows, chosen in bins.by_size():
            if columns == 0 or rows == 0:
                pooled_bc.index_fill_(0, chosen, 0)
                continue
            if columns > wide_columns:
                wide, wide_columns = _widened(wide, 2, wide_columns, columns), columns
                tall, tall_rows = wide, 1
            tall, tall_rows = _widened(tall, 1, tall_rows, rows), rows
            places, cells_xc = _places(bins, chosen, tall), tall.flatten(0, 2)
            for part, place in _parts(chosen, places, channels):
                pooled_bc.index_copy_(0, part, cells_xc.index_select(0, place))
        ctx.bins = bins
        ctx.save_for_backward(maps_nhwc, pooled_bc)
        return pooled_bc

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_bc: Tensor) -> tuple[Tensor, None]:
        maps_nhwc, pooled_bc = ctx.saved_tensors
        bins: _Bins = ctx.bins
        cells_xc, (width, channels) = maps_nhwc.flatten(0, 2), maps_nhwc.shape[2:]
        # Many bins add to one cell, too many for a type of few digits.
        slope_xc = torch.zeros_like(cells_xc, dtype=_at_least_float32(cells_xc.dtype))
        for columns, rows, chosen in bins.by_size():
            for part, place in _parts(chosen, _places(bins, chosen, maps_nhwc), channels):
                highest, left = pooled_bc[part], slope_bc[part].to(slope_xc.dtype)
                for row, column in itertools.product(range(rows), range(columns)):
                    cell = place + (row * width + column)
                    # 1 where the cell has the maximum, else 0: the first one takes all that is
                    # left, and leaves 0 to those after it.
                    has_it = cells_xc.index_select(0, cell).eq_(highest)
                    taken = has_it.to(left.dtype).mul_(left)
                    _add_to(slope_xc, cell, taken)
                    left.sub_(taken)
        return slope_xc.view_as(maps_nhwc).to(maps_nhwc.dtype), None


def _widened(maps: Tensor, dim: int, have: int, want: int) -> Tensor:
    """Return the maxima of so many cells in a row from those of fewer: two overlap to make one."""
    while have < want:
        step = min(have, want - have)
        size = maps.shape[dim] - step
        maps = torch.maximum(maps.narrow(dim, 0, size), maps.narrow(dim, step, size))
        have += step
    return maps


def _places(bins: _Bins, part: Tensor, maps_nhwc: Tensor) -> Tensor:
    """Return at which of all places of these maps the bins of a part begin."""
    _, height, width, _ = maps_nhwc.shape
    rows = bins.image_b[part] * height + bins.top_b[part]
    return rows * width + bins.left_b[part]


def _parts(chosen: Tensor, places: Tensor, channels: int) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, _LOOKED_UP[chosen.device.type] // max(channels, 1))
    yield from zip(chosen.split(size), places.split(size), strict=True)


def _add_to(sums_xc: Tensor, place: Tensor, values: Tensor) -> None:
    """Add each row of values to the row of sums at its place, in the same order every time."""
    if sums_xc.is_cuda:  # where `index_add_` adds in any order
        sums_xc.index_put_((place,), values, accumulate=True)
    else:
        sums_xc.index_add_(0, place, values)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _interpolation(
    begin_r: Tensor, extent_r: Tensor, side: int, cells: int, sampling_ratio: int | None
) -> Tensor:
    """Return how much of each cell is in the mean over each bin's points, (r, side, cells)."""
    bin_r = extent_r / side
    if sampling_ratio is None:
        points_r = bin_r.ceil()
        most = int(points_r.max()) if len(points_r) else 0
    else:
        points_r, most = torch.full_like(bin_r, sampling_ratio), sampling_ratio
    bin_r11, points_r11 = bin_r[:, None, None], points_r[:, None, None]
    divisor_r11 = points_r11.clamp(min=1)  # a box of no size has no points, and is 0
    i_p1 = torch.arange(side, device=begin_r.device)[:, None]
    k_g = torch.arange(most, device=begin_r.device)
    at_rpg = begin_r[:, None, None] + i_p1 * bin_r11 + (k_g + 0.5) * bin_r11 / divisor_r11
    counts_rpg = (k_g < points_r11) & (at_rpg >= -1) & (at_rpg <= cells)
    near_rpgw = at_rpg.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=begin_r.device)
    weights_rpgw = (1 - near_rpgw.abs()).clamp(min=0).where(counts_rpg[..., None], 0)
    return weights_rpgw.sum(2) / divisor_r11
