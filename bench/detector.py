"""Images per second of a detector of ResNet-50 at 600 px: training and testing, one at a time.

    make bench-detector       five minutes; nothing else should be running; needs ../shared/data

One photo of 600 px and twelve made-up objects. Ours is `voc.resnet50`, all of it, from the authors'
ResNet-50: conv1 to conv4_x shared, conv5_x for each of 128 regions in training and 300 in testing.
The peer is torchvision's fasterrcnn_resnet50_fpn, another architecture: a pyramid, and two linear
layers for each of 512 regions in training and 1,000 in testing. Its NMS and RoIAlign are compiled
and not in every installation; here its convolutions and linear layers run alone, so its rates are
higher than those of the whole would be. In training the stem and conv2_x keep their weights, and
all of BN is fixed, in both.

The rows take turns. Writes results/bench-detector.json.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import compared
import judges
from resnets.core import hardware
from resnets.data.annotated import Objects
from resnets.data.scenes import Scene
from resnets.detection import detecting, learning
from resnets.detection.faster_rcnn import FasterRCNN, new_layers_init
from resnets.experiment import detectors, provenance
from resnets.inference import fused, opening
from resnets.recipes import catalogue
from resnets.recipes.detector import DetectorRecipe
from resnets.training.step import Precision, train_step

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "results" / "bench-detector.json"
WIDTH, HEIGHT = 1000, 600
OBJECTS: Final = 12
FROZEN_STAGES: Final = 1
ROUNDS: Final = 7
PHOTOS: Final = ROOT.parent / "shared/data/imagenet-fullsize-150"

torchvision: Final = judges.torchvision()

Turn = Callable[[], Any]


def recipe() -> DetectorRecipe:
    found = catalogue.named("voc.resnet50")
    assert isinstance(found, DetectorRecipe)
    return found


def picture() -> Image.Image:
    photo = Image.open(sorted(PHOTOS.rglob("*.JPEG"))[0]).convert("RGB")
    return photo.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def objects() -> Objects:
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(OBJECTS, 2, generator=draw) * torch.tensor([WIDTH, HEIGHT]) / 2
    size = 40 + torch.rand(OBJECTS, 2, generator=draw) * torch.tensor([WIDTH, HEIGHT]) / 3
    boxes_n4 = torch.cat([corner, corner + size], 1)
    classes_n = torch.randint(recipe().model.classes, (OBJECTS,), generator=draw)
    no = torch.zeros(OBJECTS, dtype=torch.bool)
    return Objects(boxes_n4, classes_n, no, no, size.prod(1))


def made() -> FasterRCNN:
    transfer = replace(recipe().transfer, frozen_stages=FROZEN_STAGES)
    model = detectors.network(
        replace(recipe(), transfer=transfer),
        FasterRCNN(recipe().model),
        new_layers_init,
        seed=0,
        device=torch.device("cpu"),
    )
    tensors = opening.checkpoint("msra/resnet50").model
    learnt = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    model.backbone.load_state_dict(learnt)
    return model


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
    model: nn.Module = torchvision.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=recipe().model.classes + 1
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    for name, parameter in model.backbone.body.named_parameters():  # type: ignore[union-attr]
        if name.startswith(("conv1", "layer1")):
            parameter.requires_grad_(False)
    return model


def layers(model: Any, images_nchw: Tensor, pooled_rchw: Tensor) -> list[Tensor]:
    """Return what all layers of the peer say, its boxes and its pooling left out."""
    maps = [*model.backbone(images_nchw).values()]
    logits, deltas = model.rpn.head(maps)
    scores, boxes = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled_rchw))
    return [*logits, *deltas, scores, boxes]


def torchvisions_training() -> Turn:
    model = torchvisions()
    optimizer = sgd(model, fused_step=False)
    images_nchw, pooled_rchw = torch.randn(1, 3, HEIGHT, WIDTH), torch.randn(512, 256, 7, 7)

    def turn() -> None:
        loss = torch.stack(
            [said.square().mean() for said in layers(model, images_nchw, pooled_rchw)]
        )
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()

    return turn


def torchvisions_testing() -> Turn:
    model = torchvisions()
    images_nchw, pooled_rchw = torch.randn(1, 3, HEIGHT, WIDTH), torch.randn(1000, 256, 7, 7)

    def turn() -> None:
        with torch.inference_mode():
            layers(model, images_nchw, pooled_rchw)

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


def rows(kind: str, turns: Mapping[str, Turn]) -> list[dict[str, Any]]:
    found = rates(turns)
    peer, *_ = found.values()
    return [
        {
            "loop": f"{kind}: {name}",
            "images_per_second": compared.spread(values),
            "times_the_peer": compared.spread([a / b for a, b in zip(values, peer, strict=True)]),
        }
        for name, values in found.items()
    ]


def main() -> None:
    hardware.keep_memory()
    what = {
        "training": {
            "the layers of torchvision's fasterrcnn_resnet50_fpn, float32": torchvisions_training(),
            "ours, float32": ours_training(torch.float32),
            "ours, bfloat16": ours_training(torch.bfloat16),
        },
        "testing": {
            "the layers of torchvision's fasterrcnn_resnet50_fpn, float32": torchvisions_testing(),
            "ours, float32": ours_testing(torch.float32),
            "ours, bfloat16": ours_testing(torch.bfloat16),
        },
    }
    result = {
        "what": f"a detector of ResNet-50, {WIDTH} x {HEIGHT} px, one image at a time",
        "rounds": ROUNDS,
        "rows": [row for kind, turns in what.items() for row in rows(kind, turns)],
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench-detector",
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for row in result["rows"]:  # type: ignore[attr-defined]
        print(*row.values(), sep="  ")


if __name__ == "__main__":
    main()
