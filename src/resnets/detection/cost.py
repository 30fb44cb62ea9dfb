"""What a detector costs: what an image takes once, and what each region takes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from resnets.core.errors import ModelError
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.spec import FasterRCNNSpec
from resnets.models import cost
from resnets.models.cost import Cost, Layer

PartName = Literal["shared", "proposals", "regions"]

_HEADS: Final = ("scores", "deltas")  # what is the detector's of a region, and not the network's


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a detector.

    Args:
        name: Which.
        runs: How often it runs for one image.
        cost: Of one run.
    """

    name: PartName
    runs: int
    cost: Cost

    @property
    def multiply_adds(self) -> int:
        """Of all runs."""
        return self.runs * self.cost.multiply_adds


@dataclass(frozen=True, slots=True)
class DetectorCost:
    """Operations, sizes, parameters and multiply-adds of a detector for one image.

    Args:
        depth: Weighted layers of its network, as the paper counts them.
        size: Width and height of the scaled image.
        map_size: Width and height of the shared map.
        regions: How many are judged.
        anchors: How many there are at each place of the map.
        parts: Shared by all regions, proposals, and what runs for each region.
        context_multiply_adds: Of looking at the whole image once more; 0 where it is not.
    """

    depth: int
    size: tuple[int, int]
    map_size: tuple[int, int]
    regions: int
    anchors: int
    parts: tuple[Part, ...]
    context_multiply_adds: int

    @property
    def parameters(self) -> int:
        """Of all parts."""
        return sum(part.cost.parameters for part in self.parts)

    @property
    def multiply_adds(self) -> int:
        """For one image with all its regions."""
        return sum(part.multiply_adds for part in self.parts) + self.context_multiply_adds

    @property
    def anchors_in_all(self) -> int:
        """Anchors of the image."""
        return self.anchors * math.prod(self.map_size)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `Cost.to_dict` and more.

        Layers, stages and blocks tell which part they are in and how often they run for an image;
        their multiply-adds are of one run.
        """
        width, height = self.size
        told = [(part, part.cost.to_dict()) for part in self.parts]
        every = {
            key: [
                {"part": part.name, "runs": part.runs, **each}
                for part, values in told
                for each in values[key]
                if each.get("operations") != []
            ]
            for key in ("layers", "stages", "blocks")
        }
        return {
            "depth": self.depth,
            "image_px": min(self.size),
            "image_width_px": width,
            "image_height_px": height,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "regions": self.regions,
            "anchors": self.anchors_in_all,
            "parts": list(self._parts()),
            **every,
        }

    def _parts(self) -> Iterator[dict[str, Any]]:
        for part in self.parts:
            yield {
                "part": part.name,
                "runs": part.runs,
                "parameters": part.cost.parameters,
                "multiply_adds_of_a_run": part.cost.multiply_adds,
                "multiply_adds": part.multiply_adds,
            }
        if self.context_multiply_adds:
            count = self.context_multiply_adds
            yield {
                "part": "context",
                "runs": 1,
                "parameters": 0,  # it is the regions'
                "multiply_adds_of_a_run": count,
                "multiply_adds": count,
            }


def measure(spec: FasterRCNNSpec, size: tuple[int, int], regions: int) -> DetectorCost:
    """Measure a detector for one image, without computing anything.

    Args:
        spec: The detector.
        size: Width and height of the scaled image.
        regions: How many are judged.

    Raises:
        ModelError: No region is judged.
    """
    if regions < 1:
        raise ModelError(f"regions: must be positive, got {regions}")
    width, height = size
    with torch.device("meta"):
        detector = FasterRCNN(spec).eval()
        image_1chw = torch.empty(1, spec.backbone.in_channels, height, width)
        map_1chw = detector.shared(image_1chw)
    parts = (
        Part("shared", 1, _shared(detector, image_1chw)),
        Part("proposals", 1, _proposals(detector, map_1chw, min(size))),
        Part("regions", regions, _regions(detector, map_1chw, min(size))),
    )
    of_network = [each for each in parts[-1].cost.layers if each.name not in _HEADS]
    context = sum(each.multiply_adds for each in of_network) if spec.global_context else 0
    rows, columns = map_1chw.shape[2:]
    return DetectorCost(
        spec.backbone.depth, size, (columns, rows), regions, len(spec.anchors), parts, context
    )


def _shared(detector: FasterRCNN, image_1chw: Tensor) -> Cost:
    layers = dict(detector.backbone.named_children())
    image_px = min(image_1chw.shape[2:])
    return _of(detector, layers, lambda: detector.shared(image_1chw), image_px)


def _proposals(detector: FasterRCNN, map_1chw: Tensor, image_px: int) -> Cost:
    layers = {"stages": nn.ModuleDict(), **dict(detector.proposals.named_children())}
    return _of(detector, layers, lambda: detector.propose(map_1chw), image_px)


def _regions(detector: FasterRCNN, map_1chw: Tensor, image_px: int) -> Cost:
    """Return what one region costs: its square map, the rest of the network, the last layers."""
    channels, side = map_1chw.shape[1], detector.backbone.pooled
    kind = "RoIAlign" if detector.spec.aligned else "RoI pooling"
    pooled_size = (channels, side, side)
    pool = Layer("pool", kind, "", 1, 0, tuple(map_1chw.shape[1:]), pooled_size, 0, 0)
    with torch.device("meta"):
        pooled_1chw = torch.empty(1, *pooled_size)
        looked_at = detector.spec.global_context
        context_1c = torch.empty(1, detector.backbone.channels) if looked_at else None
    layers = dict(detector.backbone.named_children())
    layers |= {name: detector.get_submodule(name) for name in _HEADS}
    run = partial(detector.judge, pooled_1chw, context_1c)
    return _of(detector, layers, run, image_px, before=(pool,))


def _of(
    detector: FasterRCNN,
    layers: dict[str, nn.Module],
    run: Callable[[], object],
    image_px: int,
    before: tuple[Layer, ...] = (),
) -> Cost:
    """Return what a call costs; layers are called as in the network that the detector is of."""
    depth = detector.spec.backbone.depth
    return cost.of(nn.ModuleDict(layers), run, depth=depth, image_px=image_px, before=before)
