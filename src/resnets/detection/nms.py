"""Non-maximum suppression: of boxes that overlap much, the one with the highest score stays.

The greedy definition, exactly: boxes are looked at in order of falling score, of equal scores the
one with the lower index first, and a box is kept unless its IoU with one that was kept before is
above the threshold. A box is left out from the start when its score or a coordinate is not a
number.
"""

from typing import Final

import torch
from torch import Tensor

from resnets.detection import boxes

# Boxes resolved at once, and boxes compared with those at once. On a CPU their product is a table
# of overlaps that a core's second cache holds; a GPU wants few calls, and waits at every block.
_BLOCK: Final = {"cpu": 128, "cuda": 2048}
_COLUMNS: Final = {"cpu": 1024, "cuda": 2**14}


def nms(
    boxes_n4: Tensor, scores_n: Tensor, iou_threshold: float, most: int | None = None
) -> Tensor:
    """Return which boxes are kept.

    Args:
        boxes_n4: Boxes of one image, float32 or float64, (n, 4).
        scores_n: Of each, any float type.
        iou_threshold: A box stays when it overlaps by exactly this.
        most: Keep no more than so many: the first of those that would be kept.

    Returns:
        int64 indices in order of falling score, of equal scores in order of the index.

    Source: Girshick et al. 2014, sec. 2.2.
    """
    # A block of the best boxes left is resolved within itself; then those of it that stay remove
    # what they overlap from all that follows. What is removed is never compared again.
    left_n = _ordered(boxes_n4, scores_n)
    left_n4 = boxes_n4[left_n]
    size = _BLOCK[boxes_n4.device.type]
    kept, count = [left_n[:0]], 0
    while len(left_n) and (most is None or count < most):
        block_b4, left_n4 = left_n4[:size], left_n4[size:]
        block_b, left_n = left_n[:size], left_n[size:]
        stays_b = _resolve(boxes.iou(block_b4, block_b4) > iou_threshold)
        kept.append(block_b[stays_b])
        count += len(kept[-1])
        alive_n = _highest(block_b4[stays_b], left_n4) <= iou_threshold
        left_n4, left_n = left_n4[alive_n], left_n[alive_n]
    return torch.cat(kept)[:most]


def nms_by_class(
    boxes_n4: Tensor,
    scores_n: Tensor,
    classes_n: Tensor,
    iou_threshold: float,
    most: int | None = None,
) -> Tensor:
    """Return which boxes are kept where boxes of different classes don't suppress each other.

    Each class by itself, so what is kept of it is in every bit what `nms` keeps of it alone. To
    move the classes apart by an offset and suppress once would round the coordinates.

    Args:
        boxes_n4: Boxes of one image, (n, 4).
        scores_n: Of each.
        classes_n: Integers, of each.
        iou_threshold: As in `nms`.
        most: Keep no more than so many of all classes together.

    Returns:
        int64 indices in order of falling score, of equal scores in order of the index.
    """
    kept = [torch.zeros(0, dtype=torch.int64, device=scores_n.device)]
    for number in classes_n.unique().tolist():
        own_m = (classes_n == number).nonzero().squeeze(1)
        kept.append(own_m[nms(boxes_n4[own_m], scores_n[own_m], iou_threshold, most)])
    kept_k = torch.cat(kept).sort().values
    return kept_k[scores_n[kept_k].sort(descending=True, stable=True).indices][:most]


def _ordered(boxes_n4: Tensor, scores_n: Tensor) -> Tensor:
    """Return the indices of the boxes in the order in which they are looked at."""
    valid_n = (~(boxes_n4.isnan().any(1) | scores_n.isnan())).nonzero().squeeze(1)
    return valid_n[scores_n[valid_n].sort(descending=True, stable=True).indices]


def _resolve(overlaps_bb: Tensor) -> Tensor:
    """Return which boxes of a block stay, given which pairs overlap too much: bool, (b,).

    A box stays when no box before it stays and overlaps it. Repeated from any guess, that settles
    the first box, then the second, and so on: after as many repeats as the longest chain of boxes
    that remove each other, and no more than there are boxes, nothing changes.
    """
    before_bb = overlaps_bb.triu(1).float()
    stays_b = before_bb.new_ones(len(before_bb))
    while True:
        again_b = (stays_b @ before_bb == 0).float()
        if torch.equal(again_b, stays_b):
            return stays_b.bool()
        stays_b = again_b


def _highest(kept_k4: Tensor, left_n4: Tensor) -> Tensor:
    """Return each remaining box's highest IoU with one of those just kept, shape (n,)."""
    parts = left_n4.split(_COLUMNS[left_n4.device.type])
    return torch.cat([boxes.iou(kept_k4, part_m4).amax(0) for part_m4 in parts])
