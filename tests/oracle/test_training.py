"""torch, torchvision and timm judge what their own recipes need in training."""

from dataclasses import replace

import pytest
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from torch import nn
from torch.optim import lr_scheduler, swa_utils
from torchvision.ops._utils import split_normalization_params

from resnets.data import mixing
from resnets.models import making, zoo
from resnets.models.blocks import Residual
from resnets.models.network import he_init
from resnets.recipes.schedule import Cosine, StepDecay
from resnets.training import decay, losses
from resnets.training.ema import MovingAverage
from resnets.training.lamb import Lamb

TOTAL, WARMUP = 40, 8


def rates(optimizer, step, total=TOTAL):
    """The rates that a scheduler sets, one an update; the base rate is 1."""
    found = []
    for number in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        step(number + 1)
    return found


def sgd():
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)


def scales(schedule, total=TOTAL):
    return [schedule.scale(step, total) for step in range(total)]


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_cosine_after_a_warm_up_is_what_torchvision_strings_together(floor):
    optimizer = sgd()
    scheduler = lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=WARMUP),
            lr_scheduler.CosineAnnealingLR(optimizer, T_max=TOTAL - WARMUP, eta_min=floor),
        ],
        milestones=[WARMUP],
    )
    expected = rates(optimizer, lambda number: scheduler.step())
    found = scales(Cosine(warmup_steps=WARMUP, warmup_factor=0.01, floor=floor))
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_cosine_is_timms_where_that_begins_after_the_warm_up():
    optimizer = sgd()
    scheduler = timm.scheduler.CosineLRScheduler(
        optimizer,
        t_initial=TOTAL - WARMUP,
        lr_min=2e-4,
        warmup_t=WARMUP,
        warmup_lr_init=0.02,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    expected = rates(optimizer, scheduler.step_update)
    found = scales(Cosine(warmup_steps=WARMUP, warmup_factor=0.02, floor=2e-4))
    assert found == pytest.approx(expected, rel=1e-9)


def test_steps_are_torchs():
    optimizer = sgd()
    scheduler = lr_scheduler.StepLR(optimizer, step_size=15)
    expected = rates(optimizer, lambda number: scheduler.step())
    assert scales(StepDecay(milestones=(15, 30))) == pytest.approx(expected, rel=1e-12)


def network(name="cifar-resnet8"):
    made = making.make(zoo.named(name))
    he_init(made, torch.Generator().manual_seed(0))
    return made.to(memory_format=torch.channels_last)


def train(model, optimizer, steps, scale=1.0):
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        images = torch.randn(8, 3, 16, 16, generator=draw)
        labels = torch.randint(0, 10, (8,), generator=draw)
        optimizer.zero_grad()
        (scale * nn.functional.cross_entropy(model(images), labels)).backward()
        optimizer.step()


@pytest.mark.parametrize(("weight_decay", "rate"), [(0.02, 5e-3), (0.01, 8e-3), (0.0, 1e-3)])
def test_lamb_steps_as_timms_does_without_its_clipping(weight_decay, rate):
    ours, theirs = network(), network()
    given = [decay.parameter_groups(each, weight_decay, "weights") for each in (ours, theirs)]
    train(ours, Lamb(given[0], lr=rate), 10)
    train(theirs, timm.optim.Lamb(given[1], lr=rate, max_grad_norm=None), 10)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6, msg=name)


def test_lamb_with_clipped_gradients_is_timms():
    ours, theirs = network(), network()
    given = [decay.parameter_groups(each, 0.02, "weights") for each in (ours, theirs)]

    class Clipped(Lamb):
        def step(self):
            norm = nn.utils.clip_grad_norm_(ours.parameters(), 1.0)
            assert norm > 5  # else nothing would be shown
            super().step()

    train(ours, Clipped(given[0], lr=5e-3), 5, scale=20.0)
    train(theirs, timm.optim.Lamb(given[1], lr=5e-3), 5, scale=20.0)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6, msg=name)


def test_weights_alone_are_what_timm_decays():
    model = network()
    given = timm.optim.param_groups_weight_decay(model, weight_decay=0.02)
    expected = {id(p): group["weight_decay"] for group in given for p in group["params"]}
    groups = decay.parameter_groups(model, 0.02, "weights")
    assert {id(p): group["weight_decay"] for group in groups for p in group["params"]} == expected


def test_all_but_norms_is_what_torchvision_decays_with_a_norm_weight_decay_of_nothing():
    model = network("resnet18")
    norms, others = split_normalization_params(model)
    decayed, kept = decay.parameter_groups(model, 2e-5, "all-but-norms")
    assert {id(p) for p in decayed["params"]} == {id(p) for p in others}
    assert {id(p) for p in kept["params"]} == {id(p) for p in norms}


class Batch:
    def __init__(self, images_nchw, labels_n, mix):
        self.images_nchw, self.labels_n, self.mix = images_nchw, labels_n, mix


class Mix:
    def __init__(self, partner_labels_n, share):
        self.partner_labels_n, self.share = partner_labels_n, share


@pytest.mark.parametrize("share", [0.05, 0.19, 0.21, 0.5, 0.79, 0.81, 1.0])
def test_binary_cross_entropy_of_mixed_images_is_timms(share):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 10, generator=draw)
    labels = torch.randint(0, 10, (6,), generator=draw)
    partners = labels.flip(0)
    targets = mixing.soft_targets(labels, partners, share, 10)
    expected = timm.loss.BinaryCrossEntropy(smoothing=0.0, target_threshold=0.2)(logits, targets)
    batch = Batch(logits, labels, Mix(partners, torch.tensor(share)))
    found = losses.classification(0.0, "bce")(nn.Identity(), batch)["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_of_smoothed_labels_is_timms(smoothing):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 10, generator=draw)
    labels = torch.randint(0, 10, (6,), generator=draw)
    expected = timm.loss.BinaryCrossEntropy(smoothing=smoothing)(logits, labels)
    batch = Batch(logits, labels, None)
    found = losses.classification(smoothing, "bce")(nn.Identity(), batch)["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_mixed_images_is_torchs_of_soft_targets_as_in_torchvision(smoothing):
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 10, generator=draw)
    labels = torch.randint(0, 10, (6,), generator=draw)
    targets = mixing.soft_targets(labels, labels.roll(1), 0.3, 10)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, targets)
    batch = Batch(logits, labels, Mix(labels.roll(1), 0.3))
    found = losses.classification(smoothing)(nn.Identity(), batch)["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_moving_average_is_torchs_and_timms():
    model = network()
    ours = MovingAverage(model, network(), 0.9)
    torchs = swa_utils.AveragedModel(
        model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    torchs.n_averaged.fill_(1)  # torch's first update is a copy; ours begins as one
    timms = timm.utils.ModelEmaV3(model, decay=0.9)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number in range(1, 6):
        train(model, optimizer, 1)
        ours.update(number)
        torchs.update_parameters(model)
        timms.update(model)
    for (name, found), of_timm in zip(
        ours.tensors().items(), timms.module.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, of_timm, rtol=1e-6, atol=1e-7, msg=name)
        if found.is_floating_point():  # torch averages the counts, and rounds them
            of_torch = torchs.module.state_dict()[name]
            torch.testing.assert_close(found, of_torch, rtol=1e-6, atol=1e-7, msg=name)


def test_dropped_paths_grow_with_the_depth_as_timms():
    theirs = timm.create_model("resnet50", drop_path_rate=0.05)
    expected = [
        0.0 if block.drop_path is None else block.drop_path.drop_prob
        for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)
        for block in stage
    ]
    spec = replace(zoo.named("resnet50-v1.5"), drop_path=0.05)
    with torch.device("meta"):
        blocks = [m for m in making.make(spec).modules() if isinstance(m, Residual)]
    found = [0.0 if block.drop is None else block.drop.probability for block in blocks]
    assert found == pytest.approx(expected, rel=1e-12)
