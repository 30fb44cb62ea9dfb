from dataclasses import replace

import pytest
import torch

import samples
from resnets.core.random import generator
from resnets.data.scenes import Scaling
from resnets.detection import localizer as localizers
from resnets.detection.anchors import AnchorSpec
from resnets.detection.faster_rcnn import FasterRCNN, new_layers_init
from resnets.detection.spec import FasterRCNNSpec, LocalizerSpec
from resnets.models.freezing import fix_bn
from resnets.models.network import he_init
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec

SMALL = ResNetSpec(
    stem=StemSpec(kernel=7, width=8, stride=2, pool=True),
    block="basic",
    stages=(
        StageSpec(blocks=1, width=8, stride=1),
        StageSpec(blocks=1, width=16, stride=2),
        StageSpec(blocks=1, width=16, stride=2),
        StageSpec(blocks=1, width=32, stride=2),
    ),
    shortcut="B",
    classes=4,
)
SCALING = Scaling(shorter_px=160, longest_px=256)


@pytest.fixture
def spec():
    return FasterRCNNSpec(backbone=SMALL, classes=2, anchors=AnchorSpec(scales_px=(32, 64)))


@pytest.fixture
def make():
    """Makes a detector as training begins with it; what was learnt before is random."""

    def made(spec, **changes):
        detector = FasterRCNN(replace(spec, **changes))
        he_init(detector, generator(0, "init"))
        new_layers_init(detector, generator(0, "init", "detector"))
        fix_bn(detector)
        return detector.to(memory_format=torch.channels_last)

    return made


@pytest.fixture
def localizer():
    """A localizer of five classes, with weights as if it had learnt something."""
    spec = LocalizerSpec(backbone=SMALL, classes=5, anchors=AnchorSpec(scales_px=(32, 64)))
    made = localizers.Localizer(spec)
    he_init(made, generator(0, "init"))
    localizers.new_layers_init(made, generator(0, "init", "detector"))
    with torch.no_grad():
        for layer in (made.scores, made.deltas):
            layer.weight.mul_(20)
            layer.bias.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    fix_bn(made)
    return made.eval()


@pytest.fixture
def files():
    return samples.shapes(8)


@pytest.fixture
def scaling():
    return SCALING
