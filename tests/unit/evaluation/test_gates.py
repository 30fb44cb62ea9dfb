import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from resnets.core.errors import DataError, ModelError
from resnets.evaluation.gates import gates
from resnets.models import zoo
from resnets.models.network import ResNet, without_bn
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec

SPEC = ResNetSpec(
    stem=StemSpec(kernel=3, width=4, stride=1, pool=False),
    block="basic",
    stages=(StageSpec(blocks=2, width=4, stride=1), StageSpec(blocks=1, width=6, stride=2)),
    shortcut="highway",
    classes=10,
)


def by_hand(network, given):
    """Every value of every gate: the sigmoid of a convolution of the block's input."""
    values = {}
    with torch.no_grad():
        for batch in given:
            x = network.eval().stem(batch.images_nchw)
            for name, stage in network.stages.items():
                for i, block in enumerate(stage):
                    conv = block.gate.conv
                    z = F.conv2d(x, conv.weight, conv.bias, stride=conv.stride, padding=1)
                    t = 1 / (1 + np.exp(-z.double().numpy()))
                    values.setdefault(f"stages.{name}.{i}", []).append(t.ravel())
                    x = block(x)
    return {name: np.concatenate(parts) for name, parts in values.items()}


def test_a_gate_is_what_the_sigmoid_of_its_convolution_is_by_hand(trained, batches):
    network, given = trained(SPEC), batches(5, 3)
    wanted = by_hand(network, given)
    found = gates(network, iter(given))
    assert [gate.block for gate in found] == [
        "stages.conv2_x.0",
        "stages.conv2_x.1",
        "stages.conv3_x.0",
    ]
    for gate in found:
        t = wanted[gate.block]
        assert gate.mean == pytest.approx(t.mean(), rel=1e-6)
        assert gate.std == pytest.approx(t.std(), rel=1e-6)
        # A value within float32's rounding of the border may count on either side.
        assert gate.closed_share == pytest.approx((t < 0.1).mean(), abs=2 / len(t))
        assert gate.open_share == pytest.approx((t > 0.9).mean(), abs=2 / len(t))
        assert 0 < gate.open_share < gate.closed_share < 1


@pytest.mark.parametrize(
    ("bias", "mean", "closed", "opened"),
    [(-2.0, 0.1192029, 0, 0), (-3.0, 0.0474259, 1, 0), (3.0, 0.9525741, 0, 1), (0.0, 0.5, 0, 0)],
)
def test_a_gate_that_only_has_a_bias_stands_still(bias, mean, closed, opened, trained, batches):
    network = trained(SPEC)
    for block in (block for stage in network.stages.values() for block in stage):
        nn.init.zeros_(block.gate.conv.weight)
        nn.init.constant_(block.gate.conv.bias, bias)
    for gate in gates(network, batches(2, 1)):
        assert gate.mean == pytest.approx(mean, rel=1e-6)
        assert gate.std == 0
        assert (gate.closed_share, gate.open_share) == (closed, opened)


def test_the_size_of_the_batches_changes_nothing_but_rounding(trained, batches):
    network = trained(SPEC)
    for one, other in zip(
        gates(network, batches(7)), gates(network, batches(1, 4, 2)), strict=True
    ):
        assert one.mean == pytest.approx(other.mean, rel=1e-6)
        assert one.std == pytest.approx(other.std, rel=1e-6)
        assert one.closed_share == pytest.approx(other.closed_share, abs=1e-3)


def test_the_network_stays_as_it_was(trained, batches):
    network = trained(SPEC).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    gates(network, batches(3))
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize("name", ["cifar-plain20", "cifar-resnet20"])
def test_a_network_without_gates_is_refused_by_its_name(name, batches):
    with pytest.raises(ModelError, match=f"^gates: {name} has none; highway networks have"):
        gates(ResNet(zoo.named(name)), batches(1))


def test_gates_stay_where_bn_is_taken_away(trained, batches):
    assert len(gates(without_bn(trained(SPEC)), batches(1))) == 3


def test_no_batch_at_all_is_refused(trained):
    with pytest.raises(DataError, match="need at least one batch of images, got none"):
        gates(trained(SPEC), [])
