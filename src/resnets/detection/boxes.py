"""Boxes as arithmetic: overlap, the four numbers a detector learns, clip.

A box is (left, top, right, bottom) in pixels of an image that spans [0, width] x [0, height], so a
box of one pixel has a side of 1 (see `resnets.data.annotated.Objects`). Every function takes any
number of boxes, none too, and changes nothing in place.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LARGEST_LOG = math.log(1000 / 16)
"""`decode` makes no side longer than this says: 62.5 times the reference's."""


def areas(boxes_n4: Tensor) -> Tensor:
    """Return the area of each box in square pixels, shape (n,)."""
    across, down = (boxes_n4[:, 2:] - boxes_n4[:, :2]).unbind(1)
    return across * down


def iou(a_n4: Tensor, b_m4: Tensor) -> Tensor:
    """Return the intersection over union of every pair of boxes.

    Args:
        a_n4: Boxes whose sides are not negative, float32 or float64.
        b_m4: The same, in the same image and on the same device.

    Returns:
        Shape (n, m), in [0, 1]; 0 for a pair that does not overlap or has no area.

    Source: Everingham et al. 2010, the overlap of VOC's detections.
    """
    shared_nm = _intersections(a_n4, b_m4)
    union_nm = (areas(a_n4)[:, None] + areas(b_m4)).sub_(shared_nm)
    return _divided(shared_nm, union_nm)


def coverage(a_n4: Tensor, b_m4: Tensor) -> Tensor:
    """Return which share of the area of each box of `a_n4` lies in each of `b_m4`.

    What a box around a crowd asks for: how much of a box lies in it, however large it is.

    Returns:
        Shape (n, m), in [0, 1], never less than `iou`; 0 where a box of `a_n4` has no area.
    """
    return _divided(_intersections(a_n4, b_m4), areas(a_n4)[:, None])


def encode(
    boxes_n4: Tensor, references_n4: Tensor, stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Return what a detector should say for its references to become these boxes.

    Args:
        boxes_n4: Boxes whose sides are positive.
        references_n4: The anchor or the proposal of each, with positive sides.
        stds: What each of the four numbers is divided by, so that all are of one order.

    Returns:
        (tx, ty, tw, th) of each, shape (n, 4): how far the centre moves in sides of the reference,
        and the logarithm of how much longer a side becomes.

    Source: Ren et al. 2015, eq. (2); Girshick 2015, sec. 2.3, for the normalisation.
    """
    middle, sides = _middle_and_sides(boxes_n4)
    reference_middle, reference_sides = _middle_and_sides(references_n4)
    moved = (middle - reference_middle) / reference_sides
    grown = (sides / reference_sides).log()
    return torch.cat((moved, grown), -1) / moved.new_tensor(stds)


def decode(
    deltas: Tensor, references: Tensor, stds: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Return the boxes that a detector's numbers make of its references: the inverse of `encode`.

    Args:
        deltas: (tx, ty, tw, th) in the last dimension: (n, 4), or (n, classes, 4) where each class
            has its own.
        references: Of a shape that is broadcast to that: (n, 4), or (n, 1, 4).
        stds: Those of `encode`.

    Returns:
        Boxes of the shape of `deltas`; they may lie outside the image.

    Source: Ren et al. 2015, eq. (2).

    Deviation: tw and th are cut at `LARGEST_LOG`, so that a network which has learnt nothing yet
    makes no infinite box. No image has a box that needs more.
    """
    moved, grown = (deltas * deltas.new_tensor(stds)).split(2, -1)
    reference_middle, reference_sides = _middle_and_sides(references)
    middle = moved * reference_sides + reference_middle
    half = grown.clamp(max=LARGEST_LOG).exp() * reference_sides / 2
    return torch.cat((middle - half, middle + half), -1)


def clip(boxes: Tensor, height: float, width: float) -> Tensor:
    """Return what of each box lies in the image; a box outside it becomes one of no area.

    Args:
        boxes: Boxes in the last dimension, (..., 4).
        height: Of the image, in pixels.
        width: Of the image, in pixels.
    """
    left, top, right, bottom = boxes.unbind(-1)
    left, right = left.clamp(0, width), right.clamp(0, width)
    top, bottom = top.clamp(0, height), bottom.clamp(0, height)
    return torch.stack((left, top, right, bottom), -1)


def large_enough(boxes_n4: Tensor, side_px: float) -> Tensor:
    """Tell for each box whether both its sides are at least so long: bool, shape (n,)."""
    return (boxes_n4[:, 2:] - boxes_n4[:, :2] >= side_px).all(1)


def within(boxes_n4: Tensor, height: float, width: float) -> Tensor:
    """Tell for each box whether all of it lies in the image: bool, shape (n,)."""
    ends = boxes_n4.new_tensor((width, height))
    return ((boxes_n4[:, :2] >= 0) & (boxes_n4[:, 2:] <= ends)).all(1)


def _intersections(a_n4: Tensor, b_m4: Tensor) -> Tensor:
    a_left, a_top, a_right, a_bottom = a_n4.t().contiguous()[:, :, None].unbind()
    b_left, b_top, b_right, b_bottom = b_m4.t().contiguous()[:, None, :].unbind()
    across = torch.minimum(a_right, b_right).sub_(torch.maximum(a_left, b_left)).clamp_(min=0)
    down = torch.minimum(a_bottom, b_bottom).sub_(torch.maximum(a_top, b_top)).clamp_(min=0)
    return across.mul_(down)


def _divided(part: Tensor, whole: Tensor) -> Tensor:
    # Where the whole is 0 so is the part, and 0 divided by anything that is not is 0.
    return part.div_(whole.clamp(min=torch.finfo(whole.dtype).tiny))


def _middle_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    first, last = boxes.split(2, -1)
    return (first + last) / 2, last - first
