from dataclasses import dataclass

import pytest
import torch

from resnets.models import googlenet, making, network, spec
from resnets.models.googlenet import Inception, Widths
from resnets.training import losses

SPEC = spec.GoogLeNetSpec(classes=5)


@pytest.fixture(scope="module")
def net():
    made = making.make(SPEC)
    network.he_init(made, torch.Generator().manual_seed(0))
    return made.eval()


@pytest.fixture
def training(net):
    yield net.train()
    net.eval()
    net.zero_grad()


@dataclass
class Batch:
    images_nchw: torch.Tensor
    labels_n: torch.Tensor


def images(rows, columns, n=2):
    return torch.randn(n, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def test_evaluated_it_gives_logits_and_training_the_auxiliary_ones_too(training):
    logits, auxiliary = training(images(32, 32))
    assert logits.shape == (2, 5)
    assert [tuple(each.shape) for each in auxiliary] == [(2, 5), (2, 5)]
    evaluated = training.eval()(images(32, 32))
    assert isinstance(evaluated, torch.Tensor)
    assert evaluated.shape == (2, 5)


def test_the_auxiliary_classifiers_do_not_run_in_evaluation(net):
    ran = []
    handles = [
        each.register_forward_hook(lambda *_: ran.append(1)) for each in net.auxiliary.values()
    ]
    with torch.inference_mode():
        net(images(32, 32))
        net.features(images(32, 32))
    for handle in handles:
        handle.remove()
    assert ran == []


def test_without_dropout_training_gives_the_logits_of_evaluation(net):
    training = making.make(SPEC)
    training.load_state_dict(net.state_dict())
    for module in training.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        torch.testing.assert_close(training(images(64, 64))[0], net(images(64, 64)))
        _, (of_4a, of_4d) = training(images(64, 64))
        maps = net.features(images(64, 64))
        x = maps["inception_3"]
        for name, module in net.stages["inception_4"].named_children():
            x = module(x)
            if name in net.auxiliary:
                expected = {"4a": of_4a, "4d": of_4d}[name]
                torch.testing.assert_close(net.auxiliary[name](x), expected)


def test_the_loss_weighs_the_auxiliary_ones_with_0_3_and_its_gradient_reaches_them(training):
    torch.manual_seed(0)
    found = losses.classification(0.0)(training, Batch(images(32, 32), torch.tensor([1, 4])))
    assert set(found) == {"loss", "train_error_percent", "main_loss"}
    found["loss"].backward()
    missing = [name for name, p in training.named_parameters() if p.grad is None]
    assert missing == []
    for auxiliary in training.auxiliary.values():
        assert auxiliary.conv.weight.grad.abs().sum() > 0
    torch.manual_seed(0)
    logits, auxiliary = training(images(32, 32))
    main, *others = (
        torch.nn.functional.cross_entropy(each, torch.tensor([1, 4]))
        for each in (logits, *auxiliary)
    )
    assert found["main_loss"].item() == pytest.approx(main.item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx((main + 0.3 * sum(others)).item(), rel=1e-5)


def test_features_are_one_map_of_each_resolution(net):
    with torch.inference_mode():
        maps = net.features(images(64, 96))
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "conv1": (64, 32, 48),
        "conv2_x": (192, 16, 24),
        "inception_3": (480, 8, 12),
        "inception_4": (832, 4, 6),
        "inception_5": (1024, 2, 3),
    }
    assert all(x.min() == 0 for x in maps.values())  # after the ReLU


def test_the_score_map_of_a_map_up_to_7x7_is_the_logits(net):
    with torch.inference_mode():
        for x in (images(32, 32), images(64, 96), images(224, 224, n=1)):
            torch.testing.assert_close(net.score_map(x), net(x)[:, :, None, None])


def test_the_mean_of_the_score_map_is_a_mean_over_windows_of_7x7(net):
    with torch.inference_mode():
        x = images(256, 288, n=1)
        found = net.score_map(x)
        last = net.features(x)["inception_5"]
        assert last.shape[2:] == (8, 9)
        assert found.shape == (1, 5, 2, 3)
        expected = net.head(last[:, :, 1:8, 2:9].mean(dim=(2, 3)))
        torch.testing.assert_close(found[:, :, 1, 2], expected)


def test_local_response_normalisation_is_its_formula(net):
    x = 30 * torch.randn(2, 12, 3, 2, generator=torch.Generator().manual_seed(2)).double()
    found = net.stages["conv2_x"].norm(x)
    for n, channel, row, column in torch.ones_like(x).nonzero().tolist():
        low, high = max(0, channel - 2), min(11, channel + 2)
        squares = sum(x[n, c, row, column].item() ** 2 for c in range(low, high + 1))
        expected = x[n, channel, row, column].item() / (1 + 1e-4 / 5 * squares) ** 0.75
        assert found[n, channel, row, column].item() == pytest.approx(expected, rel=1e-9)


def test_the_normalisation_stands_behind_the_first_pool_and_before_the_second(net):
    assert [name for name, _ in net.stages["conv2_x"].named_children()][:2] == ["pool", "norm"]
    assert [name for name, _ in net.stages["inception_3"].named_children()] == [
        *("norm", "pool", "3a", "3b")
    ]


def test_the_parts_of_a_module_stand_in_the_papers_order():
    made = Inception(4, Widths(one=1, reduce3=2, three=3, reduce5=2, five=4, pool=2))
    x = images(5, 5)[:, :1].expand(2, 4, 5, 5)
    found = made(x)
    assert found.shape == (2, 10, 5, 5)
    for part, (low, high) in {"one": (0, 1), "three": (1, 4), "five": (4, 8)}.items():
        assert torch.equal(found[:, low:high], getattr(made, part)(x))
    assert torch.equal(found[:, 8:], made.pool(x))


def test_an_auxiliary_classifier_sees_4x4_means_of_5x5():
    made = googlenet.Auxiliary(3, 2).eval()
    x = images(14, 14)
    with torch.inference_mode():
        rows = [
            torch.stack(
                [x[:, :, r : r + 5, c : c + 5].mean(dim=(2, 3)) for c in (0, 3, 6, 9)], dim=2
            )
            for r in (0, 3, 6, 9)
        ]
        hidden = made.conv(torch.stack(rows, dim=2)).relu().flatten(1)
        torch.testing.assert_close(made(x), made.head(made.fc(hidden).relu()))


@pytest.mark.parametrize("side", [1, 2, 4, 5, 13, 16])
def test_an_auxiliary_classifier_takes_maps_of_any_size(side):
    assert googlenet.Auxiliary(3, 2).eval()(images(side, side)).shape == (2, 2)


def test_its_tensors_are_all_there_is_to_save(net):
    other = making.make(SPEC).eval()
    other.load_state_dict(net.state_dict())
    with torch.inference_mode():
        assert torch.equal(other(images(32, 32)), net(images(32, 32)))
    assert "stages.inception_3.3a.three.reduce.weight" in net.state_dict()
    assert "auxiliary.4d.head.bias" in net.state_dict()
