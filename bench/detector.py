"""Images per second of a detector of ResNet-50 at 600 px: training and testing, one at a time.

    make bench-detector            some ten minutes; nothing else should be running

A made-up image of 1000 x 600 px with twelve objects, new networks. Ours is `voc.resnet50`: conv1 to
conv4_x shared, conv5_x for each of 128 regions in training and 300 in testing. The peer is
torchvision's fasterrcnn_resnet50_fpn, which is another architecture: a pyramid, and two linear
layers for each of 512 regions in training and 1,000 in testing. Its compiled operators are not in
every installation, so it uses ours for NMS and RoIAlign. In training the stem and conv2_x keep
their weights, and all of BN is fixed, in both.

The rows take turns. Writes results/bench-detector.json.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import compared
from resnets.core import hardware
from resnets.core.random import generator
from resnets.data.annotated import Objects
from resnets.data.scenes import Scene
from resnets.detection import detecting, learning, nms, regions
from resnets.detection.faster_rcnn import FasterRCNN, new_layers_init
from resnets.experiment import detectors, provenance
from resnets.inference import fused
from resnets.models.network import he_init
from resnets.recipes import catalogue
from resnets.recipes.detector import DetectorRecipe
from resnets.training.step import Precision, train_step

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "results" / "bench-detector.json"
WIDTH, HEIGHT = 1000, 600
OBJECTS: Final = 12
FROZEN_STAGES: Final = 1
ROUNDS: Final = 7

Turn = Callable[[], Any]


def recipe() -> DetectorRecipe:
    found = catalogue.named("voc.resnet50")
    assert isinstance(found, DetectorRecipe)
    return found


def picture() -> Image.Image:
    draw = np.random.default_rng(0)
    return Image.fromarray(draw.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def objects() -> Objects:
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(OBJECTS, 2, generator=draw) * torch.tensor([WIDTH, HEIGHT]) / 2
    size = 40 + torch.rand(OBJECTS, 2, generator=draw) * torch.tensor([WIDTH, HEIGHT]) / 3
    boxes_n4 = torch.cat([corner, corner + size], 1)
    classes_n = torch.randint(recipe().model.classes, (OBJECTS,), generator=draw)
    no = torch.zeros(OBJECTS, dtype=torch.bool)
    return Objects(boxes_n4, classes_n, no, no, size.prod(1))


def made() -> FasterRCNN:
    model = FasterRCNN(recipe().model)
    he_init(model, generator(0, "init"))
    new_layers_init(model, generator(0, "init", "detector"))
    detectors.fix(model, FROZEN_STAGES)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def sgd(model: nn.Module, *, fused_step: bool) -> torch.optim.Optimizer:
    learnt = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(learnt, lr=1e-4, momentum=0.9, weight_decay=1e-4, fused=fused_step)


def ours_training(dtype: torch.dtype) -> Turn:
    model = made().train()
    optimizer = sgd(model, fused_step=True)
    image = torch.from_numpy(np.array(picture()))
    scene = Scene(recipe().data.scaling.prepare(image), objects())
    loss_of = learning.joint(recipe().learning)
    precision = Precision.of("cpu", dtype)
    return lambda: train_step(model, loss_of, [[scene]], optimizer, precision)


def ours_testing(dtype: torch.dtype) -> Turn:
    model = fused.fuse_detector(made().eval(), dtype)
    image, chosen = picture(), recipe()

    def turn() -> None:
        with Precision.of("cpu", dtype).autocast():
            detecting.detect([model], image, chosen.data.scaling, chosen.testing)

    return turn


def torchvisions() -> nn.Module:
    """Return the peer, with our operators in the place of its own."""
    import sys

    missing = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        missing.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # type: ignore[import-untyped]

    def align(
        features: Tensor,
        rois: Tensor,
        output_size: tuple[int, int],
        spatial_scale: float,
        **more: Any,
    ) -> Tensor:
        return regions.align(
            features,
            rois[:, 1:],
            rois[:, 0].long(),
            side=output_size[0],
            stride=round(1 / spatial_scale),
            sampling_ratio=more["sampling_ratio"],
            aligned=False,
        )

    sys.modules["torchvision.ops.boxes"].nms = nms.nms  # type: ignore[attr-defined]
    sys.modules["torchvision.ops.poolers"].roi_align = align  # type: ignore[attr-defined]
    model: nn.Module = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=recipe().model.classes + 1,
        min_size=HEIGHT,
        max_size=WIDTH,
    )
    model._kept = missing  # type: ignore[assignment]
    for name, parameter in model.backbone.body.named_parameters():  # type: ignore[union-attr]
        if name.startswith(("conv1", "layer1")) or "bn" in name or "downsample.1" in name:
            parameter.requires_grad_(False)
    return model


def torchvisions_training() -> Turn:
    model = torchvisions().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    optimizer = sgd(model, fused_step=False)
    image = torch.from_numpy(np.array(picture())).permute(2, 0, 1) / 255
    there = objects()
    targets = [{"boxes": there.boxes_n4, "labels": there.classes_n + 1}]

    def turn() -> None:
        losses: Mapping[str, Tensor] = model([image], targets)
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimizer.step()

    return turn


def torchvisions_testing() -> Turn:
    model = torchvisions().eval()
    image = torch.from_numpy(np.array(picture())).permute(2, 0, 1) / 255

    def turn() -> None:
        with torch.inference_mode():
            model([image])

    return turn


def rates(turns: Mapping[str, Turn]) -> dict[str, list[float]]:
    """Return images per second, round by round."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()
    for number in range(ROUNDS):
        for name, turn in turns.items():
            begun = time.perf_counter()
            turn()
            found[name].append(1 / (time.perf_counter() - begun))
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    return found


def rows(turns: Mapping[str, Turn]) -> list[dict[str, Any]]:
    found = rates(turns)
    peer, *_ = found.values()
    return [
        {
            "detector": name,
            "images_per_second": compared.spread(values),
            "times_the_peer": compared.spread([a / b for a, b in zip(values, peer, strict=True)]),
        }
        for name, values in found.items()
    ]


def main() -> None:
    hardware.keep_memory()
    what = {
        "training": {
            "torchvision's fasterrcnn_resnet50_fpn, float32": torchvisions_training(),
            "ours, float32": ours_training(torch.float32),
            "ours, bfloat16": ours_training(torch.bfloat16),
        },
        "testing": {
            "torchvision's fasterrcnn_resnet50_fpn, float32": torchvisions_testing(),
            "ours, float32": ours_testing(torch.float32),
            "ours, bfloat16": ours_testing(torch.bfloat16),
        },
    }
    result = {
        "what": f"a detector of ResNet-50, {WIDTH} x {HEIGHT} px, one image at a time",
        "rounds": ROUNDS,
        "rows": {kind: rows(turns) for kind, turns in what.items()},
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench-detector",
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for kind, each in result["rows"].items():  # type: ignore[attr-defined]
        for row in each:
            print(kind, row["detector"], row["images_per_second"], row["times_the_peer"], sep="  ")


if __name__ == "__main__":
    main()
