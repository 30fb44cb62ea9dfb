"""Which boxes learn what: anchors and regions are matched to the objects, and a few are drawn.

Objects that are ignored (VOC's difficult ones, COCO's crowds) teach nothing: no box is to find
them, and a box that lies on one is not told that nothing is there. A box lies on an ignored object
when the share of its own area in the object's box reaches the IoU at which it would no longer be a
negative one; a crowd's box is larger than what is found in it, so that IoU would not tell.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.detection import boxes

POSITIVE, NEGATIVE, NEITHER = 1, 0, -1


@dataclass(frozen=True, slots=True)
class Match:
    """What each box of one image is to learn.

    Args:
        labels_n: int64: POSITIVE, NEGATIVE, or NEITHER, which teaches nothing.
        object_n: int64: the object it overlaps most, of equal ones the first. It tells something of
            positive boxes alone; where there are no objects it is no index.
    """

    labels_n: Tensor
    object_n: Tensor


def anchors(
    anchors_n4: Tensor,
    objects_m4: Tensor,
    ignored_m: Tensor,
    *,
    height: float,
    width: float,
    positive_above: float = 0.7,
    negative_below: float = 0.3,
    crossing: bool = False,
) -> Match:
    """Match the anchors of an image to its objects.

    Positive is an anchor whose IoU with an object is above 0.7, and whatever overlaps an object
    most, all of them where several do equally: so each object has one. Negative is one whose IoU is
    below 0.3 with all of them. One that crosses the border of the image is neither, and is not
    asked when it is looked for what overlaps an object most.

    Args:
        anchors_n4: From `anchors.of_map`.
        objects_m4: In pixels of the same image.
        ignored_m: bool, of each object.
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        positive_above: An IoU.
        negative_below: An IoU.
        crossing: Whether anchors that cross the border are matched as the others are: in a crop
            that an object fills nothing else is near enough to it.

    Source: Ren et al. 2015, sec. 3.1.2 and 3.3.

    Deviation: an object that no anchor overlaps has no positive one. In py-faster-rcnn all anchors
    overlap such an object equally, by nothing, and all become positive.
    """
    inside_n = boxes.within(anchors_n4, height, width) | crossing
    overlaps_nm = _overlaps(anchors_n4, objects_m4, ignored_m)
    best_n, object_n = overlaps_nm.max(1)
    askable_nm = overlaps_nm.where(inside_n[:, None], 0)
    # One row of nothing more: of no anchors there is no maximum.
    most_m = F.pad(askable_nm, (0, 0, 0, 1)).amax(0)
    best_of_one_n = ((askable_nm == most_m) & (askable_nm > 0)).any(1)
    positive_n = (best_n > positive_above) | best_of_one_n
    negative_n = (best_n < negative_below) & (
        _on_ignored(anchors_n4, objects_m4, ignored_m) < negative_below
    )
    return Match(_labels(positive_n & inside_n, negative_n & inside_n), object_n)


def regions(
    regions_n4: Tensor,
    objects_m4: Tensor,
    ignored_m: Tensor,
    *,
    foreground_from: float = 0.5,
    background_from: float = 0.0,
) -> Match:
    """Match the proposals of an image to its objects.

    Positive, or foreground, is a region whose highest IoU with an object is at least 0.5; negative,
    or background, is one where it is in [0, 0.5).

    Args:
        regions_n4: The proposals, and in training the objects themselves.
        objects_m4: In pixels of the same image.
        ignored_m: bool, of each object.
        foreground_from: An IoU.
        background_from: An IoU: 0.1 takes only what is near to an object, as Fast R-CNN did.

    Source: Girshick 2015, sec. 2.3; He et al. 2015, appendix A, for [0, 0.5).
    """
    best_n, object_n = _overlaps(regions_n4, objects_m4, ignored_m).max(1)
    negative_n = (
        (best_n < foreground_from)
        & (best_n >= background_from)
        & (_on_ignored(regions_n4, objects_m4, ignored_m) < foreground_from)
    )
    return Match(_labels(best_n >= foreground_from, negative_n), object_n)


@dataclass(frozen=True, slots=True)
class Sample:
    """Which boxes of one image were drawn to be learnt.

    Args:
        positive_p: int64 indices, ascending.
        negative_q: The same, of negative boxes.
    """

    positive_p: Tensor
    negative_q: Tensor


def sample(
    labels_n: Tensor,
    count: int,
    positive_share: float,
    generator: torch.Generator | None = None,
) -> Sample:
    """Draw boxes to learn, each set of a kind as likely as another.

    As many positive ones as there are, up to their share; negative ones up to the count, in the
    place of missing positive ones too. Fewer in all where there are not enough of them. An RPN
    draws 256 anchors with a share of 0.5, Fast R-CNN 128 regions with one of 0.25.

    Args:
        labels_n: Of a `Match`.
        count: How many of both.
        positive_share: How many of them may be positive, in [0, 1].
        generator: One of the CPU's, whatever the device of the labels, so that all draw alike;
            torch's own where None, which `random.seed_layers` makes a function of the update.

    Source: Ren et al. 2015, sec. 3.1.3; Girshick 2015, sec. 2.3.
    """
    positive_p = _drawn(labels_n == POSITIVE, round(count * positive_share), generator)
    negative_q = _drawn(labels_n == NEGATIVE, count - len(positive_p), generator)
    return Sample(positive_p, negative_q)


def _overlaps(boxes_n4: Tensor, objects_m4: Tensor, ignored_m: Tensor) -> Tensor:
    """Return IoU, (n, m + 1): 0 with ignored objects, and with one at the end that is not there."""
    return F.pad(boxes.iou(boxes_n4, objects_m4).masked_fill(ignored_m, 0), (0, 1))


def _on_ignored(boxes_n4: Tensor, objects_m4: Tensor, ignored_m: Tensor) -> Tensor:
    """Return the largest share of each box that lies in one ignored object, (n,)."""
    share_nm = boxes.coverage(boxes_n4, objects_m4).masked_fill(~ignored_m, 0)
    return F.pad(share_nm, (0, 1)).amax(1)


def _labels(positive_n: Tensor, negative_n: Tensor) -> Tensor:
    # 1 where positive, 0 where negative and not positive, -1 elsewhere.
    return positive_n.long() - (~(positive_n | negative_n)).long()


def _drawn(candidates_n: Tensor, most: int, generator: torch.Generator | None) -> Tensor:
    found_p = candidates_n.nonzero().squeeze(1)
    if len(found_p) <= most:
        return found_p
    chosen = torch.randperm(len(found_p), generator=generator)[:most].sort().values
    return found_p[chosen.to(found_p.device)]
