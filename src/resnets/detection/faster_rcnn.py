"""Faster R-CNN as the paper has it: shared map, proposals, and a classifier of regions."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from resnets.detection import anchors, backbones, regions
from resnets.detection.proposals import ProposalNetwork, Proposed
from resnets.detection.spec import FasterRCNNSpec

# What the four numbers of a region's box are divided by.
# Source: Girshick 2015, sec. 2.3, which normalises them; the values are py-faster-rcnn's.
REGION_STDS: Final = (0.1, 0.1, 0.2, 0.2)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of each region, float32.

    Args:
        logits_rk: Of every class, and of background, which is the last.
        deltas_rk4: Where an object of each class stands, as `boxes.encode` writes it.
    """

    logits_rk: Tensor
    deltas_rk4: Tensor


class FasterRCNN(nn.Module):
    """The detector. One image at a time: (1, 3, h, w) of any size.

    `shared` gives the map, `propose` what the proposal network says of every anchor, `judge` what
    is said of regions. Training and testing put them together (`losses.py`, `detecting.py`).

    Args:
        spec: The detector.

    Source: He et al. 2015, appendix A; Ren et al. 2015; Girshick 2015, for the two sibling layers.
    """

    def __init__(self, spec: FasterRCNNSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = backbones.make(spec.backbone)
        self.proposals = ProposalNetwork(self.backbone.shared_channels, len(spec.anchors))
        channels = self.backbone.channels * (2 if spec.global_context else 1)
        self.scores = nn.Linear(channels, spec.classes + 1)
        self.deltas = nn.Linear(channels, 4 * spec.classes)

    def shared(self, image_1chw: Tensor) -> Tensor:
        """Return the map that proposals and regions look at."""
        return self.backbone.shared(image_1chw)

    def propose(self, map_1chw: Tensor) -> Proposed:
        """Return what the proposal network says of every anchor."""
        proposed: Proposed = self.proposals(map_1chw)
        return proposed

    def anchors(self, map_1chw: Tensor) -> Tensor:
        """Return the anchors of a map, (n, 4), in pixels of the scaled image."""
        rows, columns = map_1chw.shape[2:]
        return anchors.of_map(self.spec.anchors, rows, columns, map_1chw.device)

    def pooled(self, map_1chw: Tensor, regions_r4: Tensor) -> Tensor:
        """Return every region of the map as (r, channels, side, side)."""
        pool = regions.align if self.spec.aligned else regions.pool
        image_r = torch.zeros(len(regions_r4), dtype=torch.int64, device=regions_r4.device)
        side, stride = self.backbone.pooled, self.spec.stride
        return pool(map_1chw, regions_r4, image_r, side=side, stride=stride)

    def context(self, map_1chw: Tensor) -> Tensor | None:
        """Return the features (1, channels) of the whole image; None where it is not looked at.

        Source: He et al. 2015, appendix B, global context.
        """
        if not self.spec.global_context:
            return None
        rows, columns = map_1chw.shape[2:]
        stride = self.spec.stride
        whole_14 = torch.tensor([[0.0, 0.0, columns * stride, rows * stride]])
        return self.backbone.each(self.pooled(map_1chw, whole_14.to(map_1chw.device)))

    def judge(self, pooled_rchw: Tensor, context_1c: Tensor | None) -> Judged:
        """Return what is said of regions.

        Args:
            pooled_rchw: From `pooled`.
            context_1c: From `context`.
        """
        x = self.backbone.each(pooled_rchw)
        if context_1c is not None:
            x = torch.cat([x, context_1c.expand(len(x), -1)], dim=1)
        deltas_rk4 = self.deltas(x).view(len(x), self.spec.classes, 4)
        return Judged(self.scores(x).float(), deltas_rk4.float())

    def forward(self, image_1chw: Tensor, regions_r4: Tensor) -> Judged:
        """Return what is said of given regions of an image: Fast R-CNN."""
        map_1chw = self.shared(image_1chw)
        return self.judge(self.pooled(map_1chw, regions_r4), self.context(map_1chw))


def new_layers_init(detector: FasterRCNN, generator: torch.Generator) -> None:
    """Draw the layers that a classification network does not have: N(0, 0.01^2), boxes' 0.001^2.

    Source: Girshick 2015, sec. 2.3; Ren et al. 2015, sec. 3.1.3, which has 0.01 for all of its own.
    """
    for layer, std in (
        (detector.proposals.conv, 0.01),
        (detector.proposals.scores, 0.01),
        (detector.proposals.deltas, 0.01),
        (detector.scores, 0.01),
        (detector.deltas, 0.001),
    ):
        nn.init.normal_(layer.weight, std=std, generator=generator)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
