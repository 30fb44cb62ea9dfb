import pytest
import torch
from torch import nn

from resnets.models import network, zoo
from resnets.training import decay

NETWORKS = ["cifar-resnet20", "cifar-resnet20-b", "cifar-highway20", "cifar-plain20", "resnet50"]


def on_meta(name):
    with torch.device("meta"):
        return network.ResNet(zoo.named(name))


@pytest.mark.parametrize("on", ["all", "all-but-norms", "weights"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_in_exactly_one_group(name, on):
    model = on_meta(name)
    grouped = [id(p) for g in decay.parameter_groups(model, 1e-4, on) for p in g["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_paper_decays_everything(name):
    model = on_meta(name)
    (group,) = decay.parameter_groups(model, 1e-4, "all")
    assert group["weight_decay"] == 1e-4
    assert len(group["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_alone_are_those_of_convolutions_and_linear_layers(name):
    model = on_meta(name)
    decayed, kept = decay.parameter_groups(model, 5e-4, "weights")
    assert (decayed["weight_decay"], kept["weight_decay"]) == (5e-4, 0.0)
    # Every weight of more than one dimension is a convolution's or a linear layer's.
    assert {id(p) for p in decayed["params"]} == {id(p) for p in model.parameters() if p.ndim > 1}
    assert all(p.ndim == 1 for p in kept["params"])


def test_all_but_norms_spares_the_scales_and_shifts_and_no_bias():
    model = on_meta("resnet50")
    decayed, kept = decay.parameter_groups(model, 2e-5, "all-but-norms")
    assert (decayed["weight_decay"], kept["weight_decay"]) == (2e-5, 0.0)
    norms = {
        id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)
    }
    assert {id(p) for p in kept["params"]} == norms
    assert id(model.head.bias) in {id(p) for p in decayed["params"]}


def test_the_type_of_a_module_decides_and_not_its_name():
    model = nn.ModuleDict(
        {
            "bn_conv": nn.Conv2d(3, 4, 1),
            "downsample_1": nn.BatchNorm2d(4),
            "norm": nn.Linear(4, 4),
            "conv": nn.GroupNorm(2, 4),
        }
    )
    decayed, kept = decay.parameter_groups(model, 1e-4, "weights")
    assert {id(p) for p in decayed["params"]} == {
        id(model["bn_conv"].weight),
        id(model["norm"].weight),
    }
    assert len(kept["params"]) == 6


@pytest.mark.parametrize("on", ["all", "all-but-norms", "weights"])
def test_the_slopes_of_prelu_are_never_decayed(on):
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(4), nn.Linear(4, 2), nn.PReLU())
    decayed, kept = decay.parameter_groups(model, 1e-4, on)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (1e-4, 0.0)
    slopes = {id(model[1].weight), id(model[3].weight)}
    biases = {id(model[0].bias), id(model[2].bias)}
    assert {id(p) for p in kept["params"]} == (slopes | biases if on == "weights" else slopes)
    assert len(decayed["params"]) + len(kept["params"]) == 6


def test_a_shared_weight_is_decayed_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    decayed, kept = decay.parameter_groups(nn.Sequential(first, second), 1e-4, "weights")
    assert [id(p) for p in decayed["params"]] == [id(first.weight)]
    assert len(kept["params"]) == 2


def test_decay_shrinks_what_is_decayed_and_nothing_else():
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    nn.init.ones_(model[0].weight)
    optimizer = torch.optim.SGD(decay.parameter_groups(model, 0.5, "weights"), lr=0.5)
    before = model[0].bias.clone()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(model[0].weight, torch.full((2, 2), 0.75))
    assert torch.equal(model[0].bias, before)
    assert torch.equal(model[1].weight, torch.ones(2))
