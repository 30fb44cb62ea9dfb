"""torchvision and timm judge here.

torchvision's wheels don't fit a CPU build of torch: the compiled operators are left out, and the
package then stumbles over operators that it wants to describe. Their schemas are enough for it.
"""

import torch

_MISSING = torch.library.Library("torchvision", "DEF")  # kept: what it defines goes with it
for _name in ("nms", "qnms"):
    _MISSING.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
