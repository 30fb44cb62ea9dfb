"""From images to detections: one detector or several, at one scale or several, refined or not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from resnets.core.errors import ModelError
from resnets.core.spec import spec
from resnets.data.scenes import Scaling
from resnets.detection import boxes, proposals
from resnets.detection.detections import Detections
from resnets.detection.faster_rcnn import REGION_STDS, FasterRCNN
from resnets.detection.nms import nms, nms_by_class
from resnets.detection.proposals import Proposed, Selection

# Of a region, in the scaled image: what a network that was trained on 224 px sees best.
_CANONICAL_PX: Final = 224
_AT_ONCE: Final = 100  # regions: more take memory and are no faster


@spec
class Testing:
    """How a detector is tested.

    Args:
        proposed: Which proposals are judged.
        smallest_score: What is less likely is not told.
        iou: What overlaps a likelier detection of its class more than this is dropped.
        most: Detections of an image.
        refined: Whether every region is judged again where its object was found (appendix B).
        voting_iou: Refined, each box becomes the mean of those of its class that overlap it so
            much, weighted by their scores.
        scales_px: Shorter sides at which the map is made; none for the detector's own. Of several a
            region looks at two (appendix B).
    """

    proposed: Selection = proposals.TESTING
    smallest_score: float = 0.05
    iou: float = 0.3
    most: int = 100
    refined: bool = False
    voting_iou: float = 0.5
    scales_px: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("smallest_score", "iou", "voting_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ModelError(f"testing.{name}: must be in [0, 1], got {getattr(self, name)}")
        if self.most < 1:
            raise ModelError(f"testing.most: must be positive, got {self.most}")
        if (
            list(self.scales_px) != sorted(set(self.scales_px))
            or min(self.scales_px, default=1) < 1
        ):
            raise ModelError(f"testing.scales_px: must ascend, got {self.scales_px}")


@dataclass(frozen=True, slots=True)
class Found:
    """What was said of regions.

    Args:
        scores_rk: The probability of each class, and of background, the last.
        boxes_rk4: Where an object of each class stands, in pixels of the scaled image.
    """

    scores_rk: Tensor
    boxes_rk4: Tensor

    @property
    def best_r4(self) -> Tensor:
        """The box of each region's likeliest class."""
        best_r = self.scores_rk[:, :-1].argmax(1)
        return self.boxes_rk4[torch.arange(len(best_r), device=best_r.device), best_r]


class _View:
    """What one detector has made of one image: a map for each scale, the first being its own."""

    def __init__(
        self, model: FasterRCNN, image: Image.Image, scaling: Scaling, scales_px: Sequence[int]
    ) -> None:
        self.model = model
        device = next(model.parameters()).device
        self.size = scaling.size(*image.size)
        own = scaling.shorter_px
        wanted = [own, *(px for px in scales_px if px != own)]
        self.factors, self.maps = [], []
        for px in wanted:
            longest = math.ceil(scaling.longest_px * px / own)
            at = Scaling(
                shorter_px=px, longest_px=max(px, longest), mean=scaling.mean, std=scaling.std
            )
            self.maps.append(model.shared(at.prepare(at.apply(image).to(device))))
            self.factors.append(at.size(*image.size)[0] / self.size[0])
        # Where scales are named, regions look at those alone; proposals have the detector's own.
        self.pyramid = [n for n, px in enumerate(wanted) if not scales_px or px in scales_px]
        self.pyramid.sort(key=lambda n: self.factors[n])
        self.context = model.context(self.maps[0])

    def propose(self) -> tuple[Proposed, Tensor]:
        """Return what is said of the anchors, and these."""
        return self.model.propose(self.maps[0]), self.model.anchors(self.maps[0])

    def judge(self, regions_r4: Tensor) -> Found:
        """Return what is said of regions, in pixels of the scaled image."""
        parts = [self._judge(part_r4) for part_r4 in regions_r4.split(_AT_ONCE)]
        return Found(
            torch.cat([part.scores_rk for part in parts]),
            torch.cat([part.boxes_rk4 for part in parts]),
        )

    def _judge(self, regions_r4: Tensor) -> Found:
        judged = self.model.judge(self._pooled(regions_r4), self.context)
        boxes_rk4 = boxes.decode(judged.deltas_rk4, regions_r4[:, None], REGION_STDS)
        width, height = self.size
        return Found(judged.logits_rk.softmax(1), boxes.clip(boxes_rk4, height, width))

    def _pooled(self, regions_r4: Tensor) -> Tensor:
        if len(self.pyramid) == 1:
            return self._at(self.pyramid[0], regions_r4)
        lower_r = self._lower(regions_r4)
        order, merged = [], []
        for place in range(len(self.pyramid) - 1):
            own_r = (lower_r == place).nonzero().squeeze(1)
            both = [self._at(n, regions_r4[own_r]) for n in self.pyramid[place : place + 2]]
            order.append(own_r)
            merged.append(torch.maximum(*both))
        return torch.cat(merged)[torch.cat(order).argsort()]

    def _at(self, n: int, regions_r4: Tensor) -> Tensor:
        return self.model.pooled(self.maps[n], regions_r4 * self.factors[n])

    def _lower(self, regions_r4: Tensor) -> Tensor:
        """Return the smaller of the two adjacent scales for each region, by its place.

        The two between which the region would have the area of 224 x 224 px.

        Source: Ren et al. 2015, https://arxiv.org/abs/1504.06066
        """
        sides_r = boxes.areas(regions_r4).clamp(min=1).sqrt()
        factors_s = torch.tensor([self.factors[n] for n in self.pyramid], device=sides_r.device)
        smaller_r = (sides_r[:, None] * factors_s <= _CANONICAL_PX).sum(1) - 1
        return smaller_r.clamp(0, len(self.pyramid) - 2)


def detect(
    models: Sequence[FasterRCNN], image: Image.Image, scaling: Scaling, testing: Testing
) -> Detections:
    """Return what detectors find in an image, in pixels of it as stored.

    Several are an ensemble: the proposals of all together, their scores and boxes averaged.

    Args:
        models: In evaluation mode, on one device, of the same classes.
        image: Of any size.
        scaling: How they want it.
        testing: How they are tested.

    Source: He et al. 2015, appendix A; appendix B for all that is more.
    """
    with torch.inference_mode():
        views = [_View(model, image, scaling, testing.scales_px) for model in models]
        regions_r4 = _proposals(views, testing.proposed)
        found = _judge(views, regions_r4)
        if testing.refined:
            again = _judge(views, found.best_r4)
            found = Found(
                torch.cat([found.scores_rk, again.scores_rk]),
                torch.cat([found.boxes_rk4, again.boxes_rk4]),
            )
        # A few boxes of each class: on a GPU every class would be a dozen waits for it.
        on_cpu = Found(found.scores_rk.cpu(), found.boxes_rk4.cpu())
        boxes_n4, scores_n, classes_n = told(on_cpu, testing)
        width, height = views[0].size
        factors_4 = torch.tensor([image.width / width, image.height / height] * 2)
        return Detections.of(boxes_n4 * factors_4, scores_n, classes_n)


def _proposals(views: Sequence[_View], chosen: Selection) -> Tensor:
    """Return the proposals of all views; of several what is best of all together."""
    each, likely = [], []
    for view in views:
        proposed, anchors_n4 = view.propose()
        found = proposals.select(proposed, anchors_n4, view.size, chosen)
        each.append(found.boxes_r4)
        likely.append(found.logits_r.sigmoid())
    if len(views) == 1:
        return each[0]
    boxes_r4, scores_r = torch.cat(each), torch.cat(likely)
    return boxes_r4[nms(boxes_r4, scores_r, chosen.iou, most=chosen.most)]


def _judge(views: Sequence[_View], regions_r4: Tensor) -> Found:
    each = [view.judge(regions_r4) for view in views]
    return Found(
        torch.stack([found.scores_rk for found in each]).mean(0),
        torch.stack([found.boxes_rk4 for found in each]).mean(0),
    )


def told(found: Found, testing: Testing) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes (n, 4), scores and classes of what is told, the likeliest first.

    Every class by itself: what is likely enough, less what overlaps a likelier one; refined, each
    box is voted on.

    Source: Girshick 2015; Gidaris, Komodakis 2015, sec. 4.2, for the voting.
    """
    likely_rk = found.scores_rk[:, :-1] > testing.smallest_score  # NaN is not
    region_n, classes_n = likely_rk.nonzero(as_tuple=True)
    boxes_n4 = found.boxes_rk4[region_n, classes_n]
    scores_n = found.scores_rk[region_n, classes_n]
    kept_m = nms_by_class(boxes_n4, scores_n, classes_n, testing.iou, most=testing.most)
    kept_m4 = boxes_n4[kept_m]
    if testing.refined:
        same_mn = classes_n[kept_m][:, None] == classes_n
        kept_m4 = voted(kept_m4, boxes_n4, same_mn * scores_n, testing.voting_iou)
    return kept_m4, scores_n[kept_m], classes_n[kept_m]


def voted(kept_m4: Tensor, boxes_n4: Tensor, votes_mn: Tensor, iou: float) -> Tensor:
    """Return each kept box as the mean of the boxes near it, weighted by their scores.

    Args:
        kept_m4: Boxes; each is one of `boxes_n4`.
        boxes_n4: All that were likely enough.
        votes_mn: How much each of these counts for each kept box; 0 of another class.
        iou: What overlaps a kept box at least so much has a vote.

    Source: Gidaris, Komodakis 2015, eq. (1).
    """
    weights_mn = torch.where(boxes.iou(kept_m4, boxes_n4) >= iou, votes_mn, 0)
    total_m1 = weights_mn.sum(1, keepdim=True)  # none of a box without an area
    return torch.where(total_m1 > 0, weights_mn @ boxes_n4 / total_m1, kept_m4)
