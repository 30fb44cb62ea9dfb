import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from resnets.evaluation.signals import signals
from resnets.models import zoo
from resnets.models.network import ResNet, gaussian_init, he_init, without_bn
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec


def spec(shortcut, block="basic"):
    return ResNetSpec(
        stem=StemSpec(kernel=3, width=4, stride=1, pool=False),
        block=block,
        stages=(StageSpec(blocks=2, width=4, stride=1), StageSpec(blocks=1, width=6, stride=2)),
        shortcut=shortcut,
        classes=10,
    )


SPECS = {
    "plain": spec("none"),
    "residual": spec("A"),
    "projections": spec("C"),
    "bottlenecks": spec("B", "bottleneck"),
}


def rms(x):
    return math.sqrt(np.mean(np.square(x.detach().double().numpy())))


@pytest.mark.parametrize("bn", [True, False])
@pytest.mark.parametrize("name", SPECS)
def test_signals_are_those_of_a_network_run_by_hand(name, bn, trained, batches, by_hand):
    network = trained(SPECS[name]) if bn else without_bn(trained(SPECS[name]))
    (batch,) = batches(6)
    found = signals(network, batch, cross_entropy)
    logits, outputs = by_hand(network.train(), batch.images_nchw)
    for output in outputs.values():
        output.retain_grad()
    cross_entropy(logits, batch.labels_n).backward()
    assert len(found) == 8 if name != "bottlenecks" else 5
    for signal in found:
        output = outputs[signal.layer]
        weight = network.get_submodule(signal.layer).weight
        std = np.std(output.detach().double().numpy())
        assert signal.output_std == pytest.approx(std, rel=1e-5), signal.layer
        assert signal.output_gradient_rms == pytest.approx(rms(output.grad), rel=1e-4)
        assert signal.weight_gradient_rms == pytest.approx(rms(weight.grad), rel=1e-4)


def test_the_layers_are_the_3x3_ones_and_the_last_in_order_of_depth(trained, batches):
    found = signals(trained(zoo.named("cifar-resnet20")), batches(2)[0], cross_entropy)
    assert len(found) == 20
    assert [each.layer for each in (found[0], found[1], found[-2], found[-1])] == [
        "stem.conv1",
        "stages.conv2_x.0.body.conv1",
        "stages.conv4_x.2.body.conv2",
        "head",
    ]


@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(training, trained, batches):
    network = trained(SPECS["projections"]).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    signals(network, batches(4)[0], cross_entropy)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(module.training is training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_gradients_that_are_there_are_kept_and_do_not_count(trained, batches):
    network, (batch,) = trained(SPECS["residual"]), batches(4)
    first = signals(network, batch, cross_entropy)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert signals(network, batch, cross_entropy) == first
    assert all(bool((parameter.grad == 1).all()) for parameter in network.parameters())


def test_frozen_weights_and_a_callers_no_grad_make_no_difference(trained, batches):
    network, (batch,) = trained(SPECS["residual"]), batches(4)
    first = signals(network, batch, cross_entropy)
    with torch.no_grad():
        assert signals(network.requires_grad_(False), batch, cross_entropy) == first
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_gradients_whose_squares_are_no_float32_any_more_are_measured(trained, batches):
    network, (batch,) = trained(SPECS["residual"]), batches(4)

    def faint(logits_nk, labels_n):
        return cross_entropy(logits_nk, labels_n) * 2.0**-80

    for one, other in zip(
        signals(network, batch, faint), signals(network, batch, cross_entropy), strict=True
    ):
        assert one.output_gradient_rms == pytest.approx(
            other.output_gradient_rms * 2.0**-80, rel=1e-5, abs=0
        )
        assert one.weight_gradient_rms == pytest.approx(
            other.weight_gradient_rms * 2.0**-80, rel=1e-5, abs=0
        )


def beginning(name, init, bn):
    """Return a new network, its weights drawn from a fixed seed."""
    network = ResNet(zoo.named(name))
    network = network if bn else without_bn(network)
    init(network, torch.Generator().manual_seed(0))
    return network


def small(network, generator):
    gaussian_init(network, generator, 0.01)


def test_without_bn_he_init_keeps_the_signal_and_a_small_fixed_deviation_loses_it(batches):
    (batch,) = batches(8, side=32)
    he, fixed = (
        signals(beginning("cifar-plain20", init, bn=False), batch, cross_entropy)[:-1]
        for init in (he_init, small)
    )
    stds = [each.output_std for each in he]
    gradients = [each.output_gradient_rms for each in he]
    assert max(stds) < 10 * min(stds)
    assert max(gradients) < 100 * min(gradients)  # a halved map has gradients four times as large
    assert fixed[-1].output_std < 1e-12 * fixed[0].output_std
    assert fixed[0].output_gradient_rms < 1e-12 * fixed[-1].output_gradient_rms


@pytest.mark.parametrize("init", [he_init, small])
def test_with_bn_the_forward_signal_has_variance_1_whatever_the_weights(init, batches):
    found = signals(beginning("cifar-plain20", init, bn=True), batches(8)[0], cross_entropy)
    assert all(each.output_std == pytest.approx(1, abs=0.05) for each in found[:-1])
    assert all(each.output_gradient_rms > 1e-7 for each in found)


def test_a_signal_that_is_lost_altogether_is_0(batches):
    network = beginning("cifar-plain56", small, bn=False)
    found = signals(network, batches(2, side=8)[0], cross_entropy)
    assert found[-1].output_std == 0
    assert found[0].weight_gradient_rms == 0
    assert found[-1].output_gradient_rms > 0


@pytest.mark.parametrize("factor", [1e8, math.inf, math.nan])
def test_what_overflows_is_reported_as_it_is(factor, trained, batches):
    network = without_bn(trained(SPECS["plain"]))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(factor)
    found = signals(network, batches(2)[0], cross_entropy)
    assert len(found) == 8
    assert not math.isfinite(found[-1].output_std)
    assert not math.isfinite(found[0].weight_gradient_rms)
    assert math.isfinite(found[0].output_std) is math.isfinite(factor)
