"""A detector whose backbone is fused says what it said before."""

import pytest
import torch

from resnets.core.random import generator
from resnets.detection.anchors import AnchorSpec
from resnets.detection.faster_rcnn import FasterRCNN, new_layers_init
from resnets.detection.spec import FasterRCNNSpec
from resnets.inference import fused
from resnets.models import vgg
from resnets.models.freezing import fix_bn
from resnets.models.network import he_init
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec, VggSpec

IMAGE = torch.randn(1, 3, 160, 192, generator=torch.Generator().manual_seed(0))
REGIONS = torch.tensor([[10.0, 20.0, 90.0, 100.0], [0.0, 0.0, 192.0, 160.0], [5.0, 5.0, 6.0, 6.0]])


def residual(block, last_stride=2):
    strides = (1, 2, 2, last_stride)
    return ResNetSpec(
        stem=StemSpec(kernel=7, width=8, stride=2, pool=True),
        block=block,
        stages=tuple(StageSpec(blocks=2, width=8, stride=stride) for stride in strides),
        shortcut="B",
        classes=4,
    )


BACKBONES = {
    "basic": residual("basic"),
    "bottleneck": residual("bottleneck"),
    "identity on regions": residual("bottleneck", last_stride=1),
    "vgg": VggSpec(convolutions=(1, 1, 2, 1, 1), classes=4),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(vgg, "_WIDTHS", (4, 4, 4, 8, 8))
    monkeypatch.setattr(vgg, "_FC", 16)


def detector(name, seed=0):
    """One whose BN has seen data."""
    anchors = AnchorSpec(scales_px=(32, 64))
    made = FasterRCNN(FasterRCNNSpec(backbone=BACKBONES[name], classes=2, anchors=anchors))
    he_init(made, generator(seed, "init"))
    new_layers_init(made, generator(seed, "init", "detector"))
    draw = torch.Generator().manual_seed(seed)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
    fix_bn(made)
    return made.eval().to(memory_format=torch.channels_last)


def said(detector, regions_r4, dtype=torch.float32):
    with (
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16),
    ):
        map_1chw = detector.shared(IMAGE)
        before_1chw = map_1chw.clone()
        proposed = detector.propose(map_1chw)
        judged = detector.judge(detector.pooled(map_1chw, regions_r4), None)
        # Every region looks at the same map: none may change it.
        assert torch.equal(map_1chw, before_1chw)
    return proposed.logits_n, proposed.deltas_n4, judged.logits_rk, judged.deltas_rk4


@pytest.mark.parametrize("name", BACKBONES)
def test_it_says_the_same_in_float32(name):
    plain = detector(name)
    joined = fused.fuse_detector(plain, torch.float32)
    assert joined is not plain
    for found, expected in zip(said(joined, REGIONS), said(plain, REGIONS), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_in_bfloat16_it_is_about_as_near_to_float32_as_autocast_is(name):
    distances = []
    for seed in range(12):
        plain = detector(name, seed)
        joined = fused.fuse_detector(plain, torch.bfloat16)
        exact = said(plain, REGIONS)
        each = said(plain, REGIONS, torch.bfloat16), said(joined, REGIONS, torch.bfloat16)
        distances.append([[_apart(x, y) for x, y in zip(one, exact, strict=True)] for one in each])
    usual, ours = torch.tensor(distances).square().mean(0).sqrt()
    assert (ours <= 1.5 * usual).all()


def _apart(one, other):
    return float((one.float() - other).norm() / other.norm())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BACKBONES)
def test_no_region_is_judged_too(name, dtype):
    *_, logits_rk, deltas_rk4 = said(fused.fuse_detector(detector(name), dtype), REGIONS[:0], dtype)
    assert logits_rk.shape == (0, 3)
    assert deltas_rk4.shape == (0, 2, 4)


def test_a_weight_that_is_no_number_is_not_hidden():
    broken = detector("basic")
    with torch.no_grad():
        next(broken.backbone.stages.parameters())[0, 0, 0, 0] = torch.nan
    assert fused.fuse_detector(broken, torch.float32) is broken


def test_the_detector_that_was_fused_is_as_it_was():
    plain = detector("bottleneck")
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    fused.fuse_detector(plain, torch.bfloat16)
    assert all(torch.equal(tensor, before[n]) for n, tensor in plain.state_dict().items())
    assert [*plain.state_dict()] == [*before]
