"""What training a detector minimises, as the trainer wants a loss: of the model and some scenes."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.core.spec import spec
from resnets.data.annotated import Objects
from resnets.detection import boxes, matching, proposals
from resnets.detection.faster_rcnn import REGION_STDS, FasterRCNN, Judged
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
    objects = scene.objects
    with torch.autocast(map_1chw.device.type, enabled=False):
        found = of_anchors(proposed, anchors_n4, objects, scene.size, learning.anchors)
        selected = proposals.select(proposed, anchors_n4, scene.size, learning.proposed)
        # The objects are regions too: at first no proposal comes near any.
        offered_r4 = torch.cat([selected.boxes_r4, objects.boxes_n4[~objects.ignored_n]])
        match = matching.regions(offered_r4, objects.boxes_n4, objects.ignored_n)
        sample = matching.sample(match.labels_n, learning.regions, learning.foreground_share)
        regions_r4 = offered_r4[torch.cat([sample.positive_p, sample.negative_q])]
    judged = model.judge(model.pooled(map_1chw, regions_r4), model.context(map_1chw))
    with torch.autocast(map_1chw.device.type, enabled=False):
        object_p = match.object_n[sample.positive_p]
        found |= _region_losses(judged, regions_r4, objects, object_p)
    found["loss"] = torch.stack([v for name, v in found.items() if name.endswith("_loss")]).sum()
    return found


def of_anchors(
    proposed: Proposed,
    anchors_n4: Tensor,
    objects: Objects,
    size: tuple[int, int],
    count: int,
    *,
    crossing: bool = False,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Return what a proposal network has to learn of an image: two losses by their names.

    Args:
        proposed: What it says of every anchor.
        anchors_n4: These.
        objects: In pixels of the image, on the same device.
        size: Width and height of the image.
        count: How many anchors are sampled, at most half of them with an object.
        crossing: See `matching.anchors`.
        generator: See `matching.sample`.

    Source: Ren et al. 2015, eq. (1), with both sums divided by the number of sampled anchors: its
        lambda of 10 divides the second one by about as many.
    """
    width, height = size
    match = matching.anchors(
        anchors_n4,
        objects.boxes_n4,
        objects.ignored_n,
        height=height,
        width=width,
        crossing=crossing,
    )
    sample = matching.sample(match.labels_n, count, 0.5, generator)
    positive_p, chosen_s = sample.positive_p, torch.cat([sample.positive_p, sample.negative_q])
    wanted_s = torch.zeros(len(chosen_s), device=chosen_s.device)
    wanted_s[: len(positive_p)] = 1
    targets_p4 = boxes.encode(objects.boxes_n4[match.object_n[positive_p]], anchors_n4[positive_p])
    said_p4 = proposed.deltas_n4[positive_p]
    return {
        "proposal_class_loss": F.binary_cross_entropy_with_logits(
            proposed.logits_n[chosen_s], wanted_s, reduction="sum"
        )
        / max(1, len(chosen_s)),
        "proposal_box_loss": _smooth_l1(said_p4, targets_p4, _PROPOSAL_BETA)
        / max(1, len(chosen_s)),
    }


def _region_losses(
    judged: Judged, regions_r4: Tensor, objects: Any, object_p: Tensor
) -> dict[str, Tensor]:
    """Return what the classifier of regions has to learn of an image.

    Args:
        judged: What it says of every region.
        regions_r4: Those with an object first.
        objects: Of the image.
        object_p: The object of each of those.

    Source: Girshick 2015, eq. (1).
    """
    background = judged.logits_rk.shape[1] - 1
    classes_p = objects.classes_n[object_p]
    positive = len(object_p)
    classes_r = torch.full((len(regions_r4),), background, device=regions_r4.device)
    classes_r[:positive] = classes_p
    targets_p4 = boxes.encode(objects.boxes_n4[object_p], regions_r4[:positive], REGION_STDS)
    said_p4 = judged.deltas_rk4[torch.arange(positive, device=classes_p.device), classes_p]
    whole = max(1, len(regions_r4))
    wrong_r = judged.logits_rk.detach().argmax(1) != classes_r
    return {
        "region_class_loss": F.cross_entropy(judged.logits_rk, classes_r, reduction="sum") / whole,
        "region_box_loss": _smooth_l1(said_p4, targets_p4, _REGION_BETA) / whole,
        "region_error_percent": 100 * wrong_r.sum() / whole,
    }


def _smooth_l1(said_n4: Tensor, wanted_n4: Tensor, beta: float) -> Tensor:
    """Return the sum of the smooth L1 losses; Girshick 2015, eq. (2)."""
    return F.smooth_l1_loss(said_n4, wanted_n4, reduction="sum", beta=beta)
