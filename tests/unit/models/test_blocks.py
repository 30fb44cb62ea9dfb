from dataclasses import replace

import pytest
import torch
from torch import nn

from resnets.core.errors import ModelError
from resnets.models import cost, making, zoo
from resnets.models.blocks import DropPath, Residual
from resnets.models.network import ResNet, he_init


def drops(spec):
    with torch.device("meta"):
        made = ResNet(spec)
    return [m.drop and m.drop.probability for m in made.modules() if isinstance(m, Residual)]


def test_an_image_is_dropped_whole_or_scaled_up():
    torch.manual_seed(0)
    x = torch.rand(1000, 2, 3, 3) + 0.5
    y = DropPath(0.25).train()(x)
    kept = (y != 0).all(dim=(1, 2, 3))
    dropped = (y == 0).all(dim=(1, 2, 3))
    assert bool((kept | dropped).all())
    assert 180 < int(dropped.sum()) < 320
    torch.testing.assert_close(y[kept], x[kept] / 0.75)


def test_nothing_is_dropped_when_the_network_predicts():
    x = torch.rand(64, 2, 3, 3)
    assert DropPath(0.9).eval()(x) is x


def test_what_is_dropped_is_drawn_from_torchs_generator():
    x = torch.ones(64, 1, 1, 1)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(DropPath(0.5).train()(x))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_deeper_a_block_the_more_it_drops_from_nothing_to_all_of_it():
    spec = replace(zoo.named("resnet50-v1.5"), drop_path=0.05)
    found = drops(spec)
    assert found[0] is None
    assert found[1:] == pytest.approx([0.05 * i / 15 for i in range(1, 16)])
    assert drops(zoo.named("resnet50-v1.5")) == [None] * 16
    one = replace(zoo.cifar(8), stages=zoo.cifar(8).stages[:1], drop_path=0.5)
    assert drops(one) == [None]


def test_a_dropped_body_leaves_the_shortcut():
    block = Residual(nn.Conv2d(2, 2, 1), nn.Identity(), drop=DropPath(0.999999)).train()
    torch.manual_seed(0)
    x = torch.randn(4, 2, 3, 3)
    assert torch.equal(block(x), x.relu())


def test_dropping_changes_no_tensor_no_cost_and_no_prediction():
    spec = zoo.named("cifar-resnet20")
    dropping = replace(spec, drop_path=0.2)
    made, other = making.make(spec).eval(), making.make(dropping).eval()
    he_init(made, torch.Generator().manual_seed(0))
    other.load_state_dict(made.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(made(x), other(x))
    assert cost.measure(dropping).multiply_adds == cost.measure(spec).multiply_adds
    assert zoo.name_of(dropping) == "cifar-resnet20"


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ModelError, match=r"^model\.drop_path: must be in \[0, 1\), got"):
        replace(zoo.named("resnet50"), drop_path=rate)


def test_a_plain_network_drops_nothing():
    with pytest.raises(ModelError, match=r"^model\.drop_path: nothing is left of a plain block"):
        replace(zoo.named("plain34"), drop_path=0.1)
