import math

import pytest
import torch

from resnets.models import making, network, prelu_net, spec
from resnets.models.prelu_net import PReLUNet, spatial_pyramid

SPEC = spec.PReLUNetSpec(classes=3)
NARROW = {"_FC": 16, "_STAGES": {"conv2_x": 4, "conv3_x": 8, "conv4_x": 6}}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """Leave the network as deep as it is but make it narrow, so that a test can afford it."""
    for name, value in NARROW.items():
        monkeypatch.setattr(prelu_net, name, value)


@pytest.fixture
def net():
    made = making.make(SPEC)
    network.he_init(made, torch.Generator().manual_seed(0))
    return made.eval()


def images(rows, columns, n=2):
    return torch.randn(n, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def by_hand(x):
    """The pyramid, a bin and a pixel at a time, of one map of (channels, rows, columns)."""
    values = []
    for bins in (7, 3, 2, 1):
        for channel in x.tolist():
            for i in range(bins):
                for j in range(bins):
                    rows = channel[i * len(channel) // bins : -(-(i + 1) * len(channel) // bins)]
                    wide = len(channel[0])
                    span = slice(j * wide // bins, math.ceil((j + 1) * wide / bins))
                    values.append(max(max(row[span]) for row in rows))
    return values


@pytest.mark.parametrize(("rows", "columns"), [(14, 14), (14, 9), (20, 17), (3, 5), (1, 1)])
def test_the_spatial_pyramid_is_the_maximum_of_every_bin(rows, columns):
    x = torch.randn(2, 4, rows, columns, generator=torch.Generator().manual_seed(rows))
    found = spatial_pyramid(x)
    assert found.shape == (2, 63 * 4)
    assert [row.tolist() for row in found] == [by_hand(each) for each in x]


def test_making_gives_a_prelu_net_that_keeps_its_spec(net):
    assert isinstance(net, PReLUNet)
    assert net.spec == SPEC


def test_features_are_those_before_the_pools_at_strides_2_to_16(net):
    with torch.inference_mode():
        maps = net.features(images(64, 96))
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "conv1": (96, 32, 48),
        "conv2_x": (4, 16, 24),
        "conv3_x": (8, 8, 12),
        "conv4_x": (6, 4, 6),
    }
    assert all(x.min() < 0 for x in maps.values())  # after the PReLU


def test_the_score_map_of_a_map_up_to_14x14_is_the_logits(net):
    with torch.inference_mode():
        for x in (images(224, 224), images(15, 15), images(64, 96)):
            torch.testing.assert_close(net.score_map(x), net(x)[:, :, None, None])


def test_the_score_map_of_a_larger_image_has_the_logits_of_every_14x14_window(net):
    with torch.inference_mode():
        x = images(256, 272)
        found = net.score_map(x)
        last = net.features(x)["conv4_x"]
        assert last.shape[2:] == (16, 17)
        assert found.shape == (2, 3, 3, 4)
        for row in range(3):
            for column in range(4):
                window = last[:, :, row : row + 14, column : column + 14]
                x = net.prelu2(net.fc2(net.prelu1(net.fc1(spatial_pyramid(window)))))
                torch.testing.assert_close(found[:, :, row, column], net.head(x))


def test_a_map_that_is_small_on_one_side_alone_has_windows_along_the_other(net):
    with torch.inference_mode():
        x = images(64, 256)
        found = net.score_map(x)
        assert found.shape == (2, 3, 1, 3)
        last = net.features(x)["conv4_x"][:, :, :, 2:16]
        x = net.prelu2(net.fc2(net.prelu1(net.fc1(spatial_pyramid(last)))))
        torch.testing.assert_close(found[:, :, 0, 2], net.head(x))


def test_the_slope_of_each_channel_is_its_own_and_has_a_gradient(net):
    net(images(32, 32)).sum().backward()
    for module in (net.stages["conv1"].prelu1, net.prelu1):
        assert module.weight.grad.unique().numel() > 1
    with torch.no_grad():
        net.stages["conv1"].prelu1.weight.zero_()
        assert net.features(images(32, 32))["conv1"].min() == 0


def test_its_tensors_are_all_there_is_to_save(net):
    other = making.make(SPEC).eval()
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(images(32, 32)), net(images(32, 32)))
    assert "stages.conv4_x.prelu6.weight" in net.state_dict()
