"""The detector's parts: what they are made of, and that each gives what the next one takes."""

from dataclasses import replace

import pytest
import torch

from resnets.core.errors import ModelError
from resnets.core.random import generator
from resnets.detection.anchors import AnchorSpec
from resnets.detection.faster_rcnn import FasterRCNN, new_layers_init
from resnets.models import making, zoo

IMAGE = torch.randn(1, 3, 160, 192, generator=torch.Generator().manual_seed(0))
REGIONS = torch.tensor([[10.0, 20.0, 90.0, 100.0], [0.0, 0.0, 192.0, 160.0], [5.0, 5.0, 6.0, 6.0]])


def test_the_map_has_a_place_for_every_sixteen_pixels_and_anchors_at_each(spec, make):
    detector = make(spec).eval()
    map_1chw = detector.shared(IMAGE)
    assert map_1chw.shape == (1, 16, 10, 12)
    proposed = detector.propose(map_1chw)
    assert proposed.logits_n.shape == (10 * 12 * 6,)
    assert proposed.deltas_n4.shape == detector.anchors(map_1chw).shape == (10 * 12 * 6, 4)


def test_a_logit_stands_for_the_anchor_of_its_place(spec, make):
    detector = make(spec).eval()
    with torch.no_grad():
        detector.proposals.conv.weight.zero_()
        detector.proposals.scores.weight.zero_()
        detector.proposals.scores.bias.copy_(torch.arange(6.0))
    map_1chw = detector.shared(IMAGE)
    logits_n = detector.propose(map_1chw).logits_n
    anchors_n4 = detector.anchors(map_1chw)
    # All anchors of one kind have one shape, and one logit.
    for kind in range(len(detector.spec.anchors)):
        sides_n2 = (anchors_n4[:, 2:] - anchors_n4[:, :2])[logits_n == kind]
        assert len(sides_n2) == 120
        assert sides_n2.round().unique(dim=0).shape == (1, 2)


def test_every_region_gets_a_score_for_each_class_and_background_and_a_box_for_each_class(
    spec, make
):
    judged = make(spec).eval()(IMAGE, REGIONS)
    assert judged.logits_rk.shape == (3, 3)
    assert judged.deltas_rk4.shape == (3, 2, 4)
    assert judged.logits_rk.dtype == torch.float32


def test_no_region_is_judged_too(spec, make):
    judged = make(spec).eval()(IMAGE, REGIONS[:0])
    assert judged.logits_rk.shape == (0, 3)


def test_global_context_is_the_features_of_the_whole_image_beside_each_region(spec, make):
    detector = make(spec, global_context=True).eval()
    map_1chw = detector.shared(IMAGE)
    context_1c = detector.context(map_1chw)
    whole = torch.tensor([[0.0, 0.0, 192.0, 160.0]])
    same_1c = detector.backbone.each(detector.pooled(map_1chw, whole))
    assert torch.equal(context_1c, same_1c)
    assert detector.scores.in_features == 2 * detector.backbone.channels
    with torch.no_grad():
        detector.scores.weight[:, : detector.backbone.channels] = 0
    judged = detector(IMAGE, REGIONS)
    assert torch.equal(judged.logits_rk[0], judged.logits_rk[2])  # of the image alone


def test_the_tensors_of_a_network_fit_its_backbone_but_for_the_last_layer(spec):
    for backbone in (spec.backbone, zoo.named("vgg16")):
        with torch.device("meta"):
            own = FasterRCNN(replace(spec, backbone=backbone)).backbone.state_dict()
            theirs = making.make(backbone).state_dict()
        kept = {name: t.shape for name, t in theirs.items() if not name.startswith("head.")}
        assert {name: t.shape for name, t in own.items()} == kept


@pytest.mark.parametrize(
    ("name", "shared", "channels"),
    [("resnet50", 1024, 2048), ("resnet34", 256, 512), ("vgg16", 512, 4096)],
)
def test_networks_of_the_paper_share_a_map_of_stride_sixteen(spec, name, shared, channels):
    with torch.device("meta"):
        detector = FasterRCNN(replace(spec, backbone=zoo.named(name)))
        map_1chw = detector.shared(torch.empty(1, 3, 224, 320))
        pooled = torch.empty(2, shared, detector.backbone.pooled, detector.backbone.pooled)
        assert map_1chw.shape == (1, shared, 14, 20)
        assert detector.backbone.each(pooled).shape == (2, channels)


def test_new_layers_begin_small(spec):
    detector = FasterRCNN(spec)
    new_layers_init(detector, generator(3, "x"))
    assert detector.scores.weight.std().item() == pytest.approx(0.01, rel=0.2)
    assert detector.deltas.weight.std().item() == pytest.approx(0.001, rel=0.2)
    assert detector.proposals.conv.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not detector.scores.bias.any()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"backbone": zoo.named("cifar-resnet20")}, "for small images"),
        ({"classes": 0}, "model.classes"),
        ({"anchors": AnchorSpec(stride_px=8)}, "has 16, got 8"),
    ],
)
def test_a_detector_that_cannot_be_is_refused(spec, changes, told):
    with pytest.raises(ModelError, match=told):
        replace(spec, **changes)
