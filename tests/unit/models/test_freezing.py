from dataclasses import replace

import pytest
import torch
from torch import nn

import samples
from resnets.core.errors import ModelError
from resnets.models import freezing, making, zoo
from resnets.models.freezing import FixedBatchNorm2d

SPEC = replace(zoo.cifar(8), classes=3)


def layers(network, kind):
    return [module for module in network.modules() if type(module) is kind]


def test_fixed_bn_has_the_tensors_that_it_replaces_by_their_names_and_in_their_order():
    network = samples.trained(SPEC)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    freezing.fix_bn(network)
    assert layers(network, nn.BatchNorm2d) == []
    assert len(layers(network, FixedBatchNorm2d)) == 7
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_fixed_bn_computes_by_its_averages_while_training_and_leaves_them():
    network = samples.trained(SPEC)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = network.eval()(images)
    freezing.fix_bn(network)
    averages = {n: t.clone() for n, t in network.state_dict().items() if "running" in n}
    logits = network.train()(images)
    assert torch.equal(logits, expected)
    logits.sum().backward()
    state = network.state_dict()
    assert all(torch.equal(state[name], average) for name, average in averages.items())
    norm = network.stem.bn1
    assert norm.weight.grad is not None  # its scale and shift are learnt
    assert not norm.training


def test_fixing_twice_changes_nothing():
    network = samples.trained(SPEC)
    freezing.fix_bn(network)
    before = list(network.modules())
    freezing.fix_bn(network)
    assert all(a is b for a, b in zip(before, network.modules(), strict=True))


@pytest.mark.parametrize(("asked", "stages"), [(0, 0), (1, 1), (3, 3), ("all-but-last", 2)])
def test_the_stem_and_the_first_stages_are_frozen_and_nothing_else(asked, stages):
    network = samples.trained(SPEC)
    freezing.freeze(network, asked)
    frozen = {
        name.rpartition(".")[0] for name, p in network.named_parameters() if not p.requires_grad
    }
    names = list(network.stages)[:stages]
    parts = ("stem", *(f"stages.{name}" for name in names)) if stages else ()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad is not name.startswith(parts or "none"), name
    assert bool(frozen) is (stages > 0)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert isinstance(module, FixedBatchNorm2d) is name.startswith(parts or "none")


def test_a_frozen_stage_keeps_its_weights_and_its_averages_in_an_update():
    network = samples.trained(SPEC)
    freezing.freeze(network, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    network.train()(torch.randn(4, 3, 16, 16)).square().sum().backward()
    optimizer.step()
    last = f"stages.{list(network.stages)[2]}"
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]) is not name.startswith((last, "head")), name


def test_networks_without_a_stem_and_without_bn_are_frozen_from_their_first_stage():
    network = making.make(zoo.named("vgg16"))
    freezing.freeze(network, 1)
    first = network.stages[next(iter(network.stages))]
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert all(parameter.requires_grad for parameter in network.head.parameters())


@pytest.mark.parametrize("stages", [-1, 4])
def test_more_stages_than_there_are_cannot_be_frozen(stages):
    with pytest.raises(ModelError, match=rf"transfer\.frozen_stages: .* 3 stages, got {stages}"):
        freezing.freeze(samples.trained(SPEC), stages)
