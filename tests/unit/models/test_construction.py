from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from resnets.core.errors import ModelError
from resnets.models import zoo
from resnets.models.construction import with_identity_layers
from resnets.models.network import ResNet, without_bn
from samples import trained


def plain(depth, classes=10):
    """A plain network with weights and averages such as training leaves."""
    return trained(zoo.cifar(depth, shortcut="none", classes=classes)).eval()


def images(n, side=32):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_a_network_of_56_layers_made_from_one_of_20_computes_the_same():
    shallow, x = plain(20), images(64)
    shallow.head.bias -= shallow(x).mean(0)
    deep = with_identity_layers(shallow, 56)
    assert deep.spec == zoo.named("cifar-plain56")
    assert not any(module.training for module in deep.modules())
    wanted, found = shallow(x), deep(x)
    assert len(set(wanted.argmax(1).tolist())) > 4  # the images differ to the network
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())
    assert torch.equal(found.argmax(1), wanted.argmax(1))


@torch.inference_mode()
def test_every_added_layer_copies_its_input_where_that_is_not_negative():
    deep = with_identity_layers(plain(8), 14)
    for stage, block in ((stage, stage[1]) for stage in deep.stages.values()):
        channels = stage[0].body.conv2.out_channels
        x = torch.rand(2, channels, 7, 5, generator=torch.Generator().manual_seed(2)) * 100
        torch.testing.assert_close(block(x), x, rtol=1e-6, atol=0)
        first = F.relu(block.body.bn1(block.body.conv1(x)))
        torch.testing.assert_close(first, x, rtol=1e-6, atol=0)


def test_the_trained_blocks_come_first_in_every_stage_and_nothing_of_them_is_changed_or_shared():
    shallow = plain(14).train()
    before = {name: tensor.clone() for name, tensor in shallow.state_dict().items()}
    deep = with_identity_layers(shallow, 26)
    made = deep.state_dict()
    for name, tensor in before.items():
        assert torch.equal(made[name], tensor), name
    with torch.no_grad():
        for parameter in deep.parameters():
            parameter.zero_()
    assert all(torch.equal(t, before[name]) for name, t in shallow.state_dict().items())
    assert all(module.training for module in shallow.modules())


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_same_depth_is_a_copy_and_the_classes_stay(classes):
    shallow = plain(8, classes)
    with torch.inference_mode():
        torch.testing.assert_close(
            with_identity_layers(shallow, 8)(images(2, 8)), shallow(images(2, 8))
        )
        assert with_identity_layers(shallow, 14)(images(2, 8)).shape == (2, classes)


def test_it_is_the_same_in_double_precision():
    shallow = plain(8).double()
    x = images(2, 8).double()
    with torch.inference_mode():
        found = with_identity_layers(shallow, 20)(x)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, shallow(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["cifar-resnet20", "cifar-highway20", "plain18"])
def test_a_network_of_another_kind_is_refused_by_its_name(name):
    with torch.device("meta"):
        network = ResNet(zoo.named(name))
    with pytest.raises(ModelError, match=f"need a plain CIFAR network.*, got {name}$"):
        with_identity_layers(network, 56)


def test_a_plain_network_that_is_not_one_of_the_papers_is_refused():
    uneven = zoo.cifar(20, shortcut="none")
    uneven = replace(uneven, stages=(replace(uneven.stages[0], blocks=1), *uneven.stages[1:]))
    with pytest.raises(ModelError, match="need a plain CIFAR network"):
        with_identity_layers(ResNet(uneven), 56)


def test_a_network_without_bn_is_refused():
    with pytest.raises(ModelError, match="need a cifar-plain8 with its BN, got one without"):
        with_identity_layers(without_bn(plain(8)), 14)


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (14, "depth: cifar-plain20 has 20 layers and keeps them, got 14"),
        (-1, "depth: cifar-plain20 has 20 layers and keeps them, got -1"),
        (57, "CIFAR networks have 6n[+]2 layers .*, not 57"),
    ],
)
def test_a_depth_that_is_none_of_a_deeper_network_is_refused(depth, message):
    with pytest.raises(ModelError, match=message):
        with_identity_layers(plain(20), depth)
