"""What training a detector minimises, as the trainer wants a loss: of the model and some scenes."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.core.spec import spec
from resnets.detection import boxes, matching, proposals
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.proposals import Proposed, Selection

_PROPOSAL_BETA: Final = 1 / 9  # where smooth L1 turns from square to line; py-faster-rcnn's sigma 3
_REGION_BETA: Final = 1.0  # Girshick 2015, eq. (3)


@spec
class Learning:
    """How a detector learns from an image.

    Args:
        anchors: Sampled of an image, at most half of them with an object.
        regions: Sampled of an image.
        foreground_share: Of the regions, at most; those with an object.
        proposed: Which proposals regions are sampled from.

    Source: Ren et al. 2015, sec. 3.1.3; Girshick 2015, sec. 2.3; 128 regions of one image is
        py-faster-rcnn's.
    """

    anchors: int = 256
    regions: int = 128
    foreground_share: float = 0.25
    proposed: Selection = proposals.TRAINING


def joint(learning: Learning) -> Callable[[nn.Module, Any], dict[str, Tensor]]:
    """Return the loss of approximate joint training: proposals are taken as they are.

    It takes a `FasterRCNN` and scenes (`data.scenes.Scene`), and gives the mean over these of the
    sum of four losses, and each of the four: "proposal_class_loss", "proposal_box_loss",
    "region_class_loss", "region_box_loss"; and "region_error_percent", how many of the sampled
    regions are taken for another class. What is sampled is drawn from torch's own generator.

    Source: Ren et al. 2015, sec. 3.2, (ii); He et al. 2015, appendix A.
    """

    def loss_of(model: nn.Module, scenes: Iterable[Any]) -> dict[str, Tensor]:
        assert isinstance(model, FasterRCNN)
        each = [_of_scene(model, scene, learning) for scene in scenes]
        return {name: torch.stack([one[name] for one in each]).mean() for name in each[0]}

    return loss_of


def _of_scene(model: FasterRCNN, scene: Any, learning: Learning) -> dict[str, Tensor]:
    map_1chw = model.shared(scene.image_1chw)
    proposed = model.propose(map_1chw)
    anchors_n4 = model.anchors(map_1chw)
    with torch.autocast(map_1chw.device.type, enabled=False):
        found = _proposal_losses(proposed, anchors_n4, scene, learning)
        wanted_r4 = proposals.select(proposed, anchors_n4, scene.size, learning.proposed).boxes_r4
        # The boxes themselves are regions too: at first no proposal comes near any.
        learnt_n = ~scene.objects.ignored_n
        wanted_r4 = torch.cat([wanted_r4, scene.objects.boxes_n4[learnt_n]])
        sampled = matching.sample_regions(
            matching.match_regions(wanted_r4, scene.objects),
            learning.regions,
            learning.foreground_share,
        )
    regions_r4 = wanted_r4[sampled.index_n]
    judged = model.judge(model.pooled(map_1chw, regions_r4), model.context(map_1chw))
    with torch.autocast(map_1chw.device.type, enabled=False):
        found |= _region_losses(judged, regions_r4, sampled, scene)
        found["loss"] = (
            found["proposal_class_loss"]
            + found["proposal_box_loss"]
            + found["region_class_loss"]
            + found["region_box_loss"]
        )
    return found


def _proposal_losses(
    proposed: Proposed, anchors_n4: Tensor, scene: Any, learning: Learning
) -> dict[str, Tensor]:
    """Return what the proposal network has to learn of an image.

    Source: Ren et al. 2015, eq. (1), with both sums divided by the number of sampled anchors: its
        lambda of 10 divides the second one by about as many.
    """
    matched = matching.match_anchors(anchors_n4, scene.objects, scene.size)
    sampled = matching.sample_anchors(matched, learning.anchors)
    wanted_s = sampled.positive.float()
    logits_s = proposed.logits_n[sampled.index_n]
    positive_p = sampled.index_n[sampled.positive]
    targets_p4 = boxes.encode(
        scene.objects.boxes_n4[matched.objects_n[positive_p]], anchors_n4[positive_p]
    )
    whole = max(1, len(sampled.index_n))
    return {
        "proposal_class_loss": F.binary_cross_entropy_with_logits(
            logits_s, wanted_s, reduction="sum"
        )
        / whole,
        "proposal_box_loss": F.smooth_l1_loss(
            proposed.deltas_n4[positive_p], targets_p4, reduction="sum", beta=_PROPOSAL_BETA
        )
        / whole,
    }
