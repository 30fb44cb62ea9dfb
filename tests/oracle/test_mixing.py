"""Mixing and erasing against torchvision's, timm's and torch's, once the choice is made."""

import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from timm.loss import BinaryCrossEntropy, SoftTargetCrossEntropy
from torch.nn.functional import cross_entropy
from torchvision.transforms import functional, v2

from resnets.core import random
from resnets.data import erasing, mixing
from resnets.data.mixing import Mix, Mixing

CLASSES = 7


def drawn(images=6, side=12):
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randn(images, 3, side, side, generator=draw)
    return pixels, torch.randint(0, CLASSES, (images,), generator=draw)


class GivenMixUp(v2.MixUp):
    """torchvision's, with a share that is given instead of drawn."""

    def make_params(self, flat_inputs):
        return {"lam": self.share}


class GivenCutMix(v2.CutMix):
    """torchvision's, with a box that is given instead of drawn."""

    def make_params(self, flat_inputs):
        top, left, bottom, right = self.box
        return {"box": (left, top, right, bottom), "lam_adjusted": self.share}


def ours(how):
    images, labels = drawn()
    targets = mixing.soft_targets(labels, mixing.partners(labels), how.share, CLASSES)
    return mixing.mix(images, how), targets


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9, 1.0])
def test_mixup_is_torchvisions(share):
    judge = GivenMixUp(num_classes=CLASSES)
    judge.share = share
    for found, judged in zip(ours(Mix(share, None)), judge(*drawn()), strict=True):
        torch.testing.assert_close(found, judged)


@pytest.mark.parametrize("number", range(1, 9))
def test_cutmix_is_torchvisions(number):
    how = mixing.choose(Mixing(mixup_alpha=0.0), 0, number, 0, image_px=12)
    judge = GivenCutMix(num_classes=CLASSES)
    judge.box, judge.share = how.box, how.share
    images, targets = ours(how)
    judged_images, judged_targets = judge(*drawn())
    assert torch.equal(images, judged_images)
    torch.testing.assert_close(targets, judged_targets)


def test_a_box_is_that_of_torchvisions_cutmix_for_the_same_share_and_middle(monkeypatch):
    judge = v2.CutMix(num_classes=CLASSES)
    for number in range(1, 200):
        row, column, share = middle_and_share(number)
        middles = iter([torch.tensor([column]), torch.tensor([row])])
        monkeypatch.setattr(torch, "randint", lambda *_, m=middles, **__: next(m))
        monkeypatch.setattr(judge._dist, "sample", lambda *_, s=share: torch.tensor(s).double())
        judged = judge.make_params([torch.zeros(2, 3, 56, 56)])
        found = mixing.choose(Mixing(mixup_alpha=0.0), 0, number, 0, image_px=56)
        left, top, right, bottom = judged["box"]
        assert found.box == (top, left, bottom, right)
        assert found.share == judged["lam_adjusted"]


def middle_and_share(number):
    def draw(how, what, **more):
        return float(how(0, "mix", number, what, index_n=np.array([0]), **more)[0])

    row, column = (int(draw(random.uniforms, what) * 56) for what in ("row", "column"))
    return row, column, draw(random.betas, "share", alpha=1.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_targets_are_timms_but_for_who_the_partner_is(share, smoothing):
    _, labels = drawn()
    found = mixing.soft_targets(labels, labels.flip(0), share, CLASSES, smoothing)
    judged = timm_mixup.mixup_target(labels, CLASSES, share, smoothing)
    torch.testing.assert_close(found, judged)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothing_in_the_targets_is_torchs_smoothing_in_the_loss(smoothing):
    _, labels = drawn()
    logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(1))
    partners = mixing.partners(labels)
    smoothed = mixing.soft_targets(labels, partners, 0.3, CLASSES, smoothing)
    sharp = mixing.soft_targets(labels, partners, 0.3, CLASSES)
    judged = cross_entropy(logits, sharp, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, smoothed), judged)
    torch.testing.assert_close(SoftTargetCrossEntropy()(logits, smoothed), judged)
    # What A1 to A3 do with them: every class whose target is above 0.2 is wanted.
    judged = BinaryCrossEntropy(target_threshold=0.2)(logits, smoothed)
    wanted = (smoothed > 0.2).float()
    found = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)
    torch.testing.assert_close(found, judged)


def test_erasing_a_box_is_torchvisions():
    images, _ = drawn()
    boxes = torch.tensor([[0, 0, 3, 5], [2, 1, 11, 12], [0] * 4, [11, 11, 12, 12], [3, 3, 4, 9]])
    found = erasing.erase(images[:5], boxes)
    for image, judged, (top, left, bottom, right) in zip(
        found, images, boxes.tolist(), strict=False
    ):
        box = (top, left, bottom - top, right - left)
        assert torch.equal(image, functional.erase(judged, *box, torch.tensor(0.0)))
