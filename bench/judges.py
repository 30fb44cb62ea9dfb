"""torchvision as a contestant, wherever it is installed."""

import importlib
from typing import Any

import torch

_kept: list[torch.library.Library] = []  # what one defines goes with it


def torchvision() -> Any:
    """Return torchvision, with its own operators where its wheel fits the build of torch.

    It does not fit a build for CPUs alone: the package then stumbles over operators that it wants
    to describe. Their schemas are enough for it, and no benchmark here runs them.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        missing = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            missing.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(missing)
        return importlib.import_module("torchvision")
