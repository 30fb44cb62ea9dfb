import pytest
import torch

from resnets.models import making, network, spec, vgg
from resnets.models.vgg import Vgg

SMALL = spec.VggSpec(convolutions=(1, 1, 2, 1, 1), classes=3)


@pytest.fixture(scope="module")
def net():
    """The stages as they are, the linear layers narrow, so that a test can afford them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "_FC", 16)
        patch.setattr(vgg, "_WIDTHS", (4, 8, 8, 16, 16))
        made = making.make(SMALL)
        network.he_init(made, torch.Generator().manual_seed(0))
        yield made.eval()


def images(rows, columns, n=2):
    return torch.randn(n, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def test_making_gives_a_vgg_that_keeps_its_spec(net):
    assert isinstance(net, Vgg)
    assert net.spec == SMALL
    assert net.head.out_features == 3


def test_features_are_those_before_the_pools_at_strides_1_to_16(net):
    with torch.inference_mode():
        maps = net.features(images(64, 96))
    assert list(maps) == [f"conv{i}_x" for i in range(1, 6)]
    assert [tuple(m.shape) for m in maps.values()] == [
        (2, width, 64 // stride, 96 // stride)
        for width, stride in zip((4, 8, 8, 16, 16), (1, 2, 4, 8, 16), strict=True)
    ]
    assert all(m.min() == 0 for m in maps.values())  # after the ReLU


def test_the_score_map_of_the_papers_size_is_the_logits(net):
    x = images(224, 224, n=1)
    with torch.inference_mode():
        torch.testing.assert_close(net.score_map(x)[:, :, 0, 0], net(x))
        assert net.score_map(x).shape == (1, 3, 1, 1)


def test_the_score_map_of_a_larger_image_has_the_logits_of_every_window(net):
    x = images(256, 288, n=1)
    with torch.inference_mode():
        found = net.score_map(x)
        last = net.pool(net.features(x)["conv5_x"])
        assert found.shape == (1, 3, 2, 3)
        for row in range(2):
            for column in range(3):
                window = last[:, :, row : row + 7, column : column + 7].flatten(1)
                expected = net.head(net.fc7(net.fc6(window).relu()).relu())
                torch.testing.assert_close(found[:, :, row, column], expected)


@pytest.mark.parametrize("side", [32, 64])
def test_an_image_of_another_size_gives_the_same_logits_either_way(net, side):
    with torch.inference_mode():
        torch.testing.assert_close(
            net.score_map(images(side, side))[:, :, 0, 0], net(images(side, side))
        )


def test_a_small_image_stands_for_its_last_map_spread_to_7x7(net):
    x = images(32, 32)
    with torch.inference_mode():
        one = net.pool(net.features(x)["conv5_x"])
        expected = net.fc6(one.expand(2, 16, 7, 7).flatten(1)).relu()
        torch.testing.assert_close(net(x), net.head(net.fc7(expected).relu()))


def test_dropout_acts_in_training_alone(net):
    x = images(32, 32)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))
        try:
            net.train()
            assert not torch.equal(net(x), net(x))
        finally:
            net.eval()


def test_its_tensors_are_all_there_is_to_save(net, monkeypatch):
    monkeypatch.setattr(vgg, "_FC", 16)
    monkeypatch.setattr(vgg, "_WIDTHS", (4, 8, 8, 16, 16))
    other = making.make(SMALL).eval()
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(images(32, 32)), net(images(32, 32)))
    assert "stages.conv3_x.conv2.weight" in net.state_dict()


@pytest.mark.parametrize("convolutions", [(1, 1, 1, 1), (1, 1, 1, 1, 0), ()])
def test_numbers_of_convolutions_that_make_no_network_are_refused(convolutions):
    with pytest.raises(spec.ModelError, match=r"model\.convolutions: needs five positive"):
        spec.VggSpec(convolutions=convolutions, classes=3)
