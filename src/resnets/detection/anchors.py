"""Anchors: the boxes a region proposal network starts from, the same at every cell of its map."""

import math

import torch
from torch import Tensor

from resnets.core.errors import ModelError
from resnets.core.spec import spec


@spec
class AnchorSpec:
    """The anchors of one cell: every ratio at every scale.

    Args:
        scales_px: The square roots of their areas, in pixels of the image the network sees.
        ratios: Their heights divided by their widths: 1:2, 1:1 and 2:1 of the paper.
        stride_px: How far apart in the image two neighbouring cells of the map are.

    Source: Ren et al. 2015, sec. 3.3, for the three scales of VOC.
    """

    scales_px: tuple[float, ...] = (128, 256, 512)
    ratios: tuple[float, ...] = (0.5, 1, 2)
    stride_px: int = 16

    def __post_init__(self) -> None:
        for name in ("scales_px", "ratios", "stride_px"):
            given = getattr(self, name)
            values = given if isinstance(given, tuple) else (given,)
            if not values or not all(0 < value < math.inf for value in values):
                raise ModelError(f"anchors.{name}: must be positive, got {given}")

    def __len__(self) -> int:
        return len(self.scales_px) * len(self.ratios)


VOC = AnchorSpec()
COCO = AnchorSpec(scales_px=(64, 128, 256, 512))
"""Small objects are many in COCO.

The smallest scale is added as in the appendix of He et al. 2015.
"""
LOCALIZATION = AnchorSpec(scales_px=(64, 128, 256))
"""Of crops of 224 px, which an object may fill. Ours: the paper does not say."""


def of_cell(spec: AnchorSpec) -> Tensor:
    """Return the anchors of one cell around its centre at (0, 0).

    Returns:
        float32, (scales * ratios, 4). Ratios in their order, and for each the scales in theirs.

    Source: Ren et al. 2015, sec. 3.1.1.

    Deviation: an anchor's area is exactly its scale squared. The authors' py-faster-rcnn rounds the
    sides of a 16 px anchor to whole pixels and multiplies, so that its anchor of 128 px and ratio
    1:2 is 184 x 96 px where this is 181.0 x 90.5; the centres are the same.
    """
    half = [
        (scale / math.sqrt(ratio) / 2, scale * math.sqrt(ratio) / 2)
        for ratio in spec.ratios
        for scale in spec.scales_px
    ]
    return torch.tensor([(-across, -down, across, down) for across, down in half])


def of_map(spec: AnchorSpec, rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """Return the anchors of every cell of a feature map.

    The cell in row i and column j stands for the pixels from stride * j to stride * (j + 1) across
    and from stride * i to stride * (i + 1) down, and its anchors have their centre in the middle.

    Args:
        spec: The anchors of a cell.
        rows: Of the map.
        columns: Of the map.
        device: Where to make them.

    Returns:
        float32, (rows * columns * scales * ratios, 4): row by row, in a row cell by cell, of a cell
        in the order of `of_cell`. It is the order of a map (n, anchors, rows, columns) once it is
        permuted to (n, rows, columns, anchors). Some lie partly outside the image.
    """
    down = (torch.arange(rows, device=device) + 0.5) * spec.stride_px
    across = (torch.arange(columns, device=device) + 0.5) * spec.stride_px
    y, x = torch.meshgrid(down, across, indexing="ij")
    middles = torch.stack((x, y, x, y), -1).view(-1, 1, 4)
    return (middles + of_cell(spec).to(device)).view(-1, 4)
