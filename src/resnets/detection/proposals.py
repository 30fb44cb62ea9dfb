"""The region proposal network: where on the shared map something stands, whatever it is."""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.core.spec import spec
from resnets.detection import boxes
from resnets.detection.nms import nms

HIDDEN: Final = 512  # Ren et al. 2015, sec. 3: 512-d for VGG-16


@spec
class Selection:
    """Which proposals are looked at.

    Args:
        before: So many of the best, before overlapping ones are dropped.
        most: So many at the end.
        iou: What overlaps a better one more than this is dropped.
        smallest_px: The least side in the scaled image.

    Source: Ren et al. 2015, sec. 3.3: 0.7, and 2000 proposals in training; He et al. 2015, appendix
        A: 300 in testing. The others are those of py-faster-rcnn, Ren et al.'s own code.
    """

    before: int
    most: int
    iou: float = 0.7
    smallest_px: float = 16


TRAINING: Final = Selection(before=12_000, most=2_000)
TESTING: Final = Selection(before=6_000, most=300)


@dataclass(frozen=True, slots=True)
class Proposed:
    """What the network says of every anchor of one image, in the order of the anchors.

    Args:
        logits_n: Whether it holds an object.
        deltas_n4: Where that stands, as `boxes.encode` writes it.
    """

    logits_n: Tensor
    deltas_n4: Tensor


@dataclass(frozen=True, slots=True)
class Selected:
    """Proposals, the best first.

    Args:
        boxes_r4: In pixels of the scaled image.
        logits_r: Whether each holds an object.
    """

    boxes_r4: Tensor
    logits_r: Tensor


class ProposalNetwork(nn.Module):
    """A 3x3 convolution, then two sibling 1x1 ones.

    Args:
        channels: Of the shared map.
        anchors: At every place of it.

    Source: Ren et al. 2015, sec. 3.1.
    Deviation: one logit an anchor and not two, which is the same function with fewer weights.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, HIDDEN, 3, padding=1)
        self.scores = nn.Conv2d(HIDDEN, anchors, 1)
        self.deltas = nn.Conv2d(HIDDEN, 4 * anchors, 1)

    def forward(self, map_1chw: Tensor) -> Proposed:
        x = F.relu(self.conv(map_1chw))
        # Anchors of a place are neighbours: (h, w, a), as `anchors.of_map` has them.
        logits_hwa = self.scores(x)[0].permute(1, 2, 0)
        deltas_hwa4 = self.deltas(x)[0].permute(1, 2, 0)
        return Proposed(logits_hwa.reshape(-1).float(), deltas_hwa4.reshape(-1, 4).float())


def select(
    proposed: Proposed, anchors_n4: Tensor, size: tuple[int, int], chosen: Selection
) -> Selected:
    """Return the best proposals of an image, the best first.

    Args:
        proposed: Of the image.
        anchors_n4: All of them.
        size: Width and height of the scaled image, which proposals do not leave.
        chosen: How many.
    """
    with torch.no_grad():
        logits_n = proposed.logits_n.detach()
        # A diverged network must not stop the sort: NaN is as bad as can be.
        logits_n = torch.where(logits_n.isnan(), float("-inf"), logits_n)
        best_n = logits_n.topk(min(chosen.before, len(logits_n))).indices
        found_n4 = boxes.decode(proposed.deltas_n4.detach()[best_n], anchors_n4[best_n])
        found_n4 = boxes.clip(found_n4, size[1], size[0])
        large_n = boxes.large_enough(found_n4, chosen.smallest_px)
        found_n4, logits_n = found_n4[large_n], logits_n[best_n][large_n]
        kept_r = nms(found_n4, logits_n, chosen.iou, most=chosen.most)
        return Selected(found_n4[kept_r], logits_n[kept_r])
