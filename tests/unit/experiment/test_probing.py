from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import samples
from resnets.core import hardware
from resnets.core.errors import DataError
from resnets.experiment import probing
from resnets.models import zoo

STD = (0.5, 0.25, 0.125)
MEAN = torch.tensor([0.5, 0.4, 0.3]).view(1, 1, 3)


def draw(seed):
    return torch.Generator().manual_seed(seed)


def clusters(images, classes, channels=6, apart=3.0, seed=0):
    """Features in as many heaps as there are classes, and of which heap each is."""
    labels_n = torch.arange(images) % classes
    centres = torch.randn(classes, channels, generator=draw(1)) * apart
    return centres[labels_n] + torch.randn(images, channels, generator=draw(seed)), labels_n


def wrong(found, features_nc, labels_n):
    weight_kc, bias_k = found
    answers = (features_nc @ weight_kc.T + bias_k).argmax(1)
    return int((answers != labels_n).sum())


@pytest.fixture
def network():
    return samples.trained(replace(zoo.cifar(8), classes=3)).eval()


@pytest.fixture
def in_float32(monkeypatch):
    monkeypatch.setattr(hardware, "precision", lambda where: hardware.Choice("float32", "a test"))


def pixels(images, side=16):
    return np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)


def given(images_nhwc, view_of=None):
    return {
        "view_of": view_of or (lambda index: images_nhwc[index]),
        "images": len(images_nhwc),
        "mean_hwc": MEAN,
        "std": STD,
    }


def test_features_are_what_the_last_layer_takes_of_every_image_in_order(network, in_float32):
    images_nhwc = pixels(35)  # more than are looked at together
    features_nc, index_n = probing.features(network, **given(images_nhwc))
    x = (torch.from_numpy(images_nhwc).float() / 255 - MEAN) / torch.tensor(STD)
    with torch.no_grad():
        logits = network(x.permute(0, 3, 1, 2))
        torch.testing.assert_close(network.head(features_nc), logits, rtol=1e-4, atol=1e-4)
    assert index_n.tolist() == list(range(35))
    assert features_nc.dtype is torch.float32
    assert not features_nc.is_inference()  # what is solved of them needs gradients


def test_the_network_is_left_as_it_is(network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    probing.features(network, **given(pixels(3)))
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert isinstance(network.head, torch.nn.Linear)


def test_images_that_cannot_be_read_are_left_out_and_the_others_keep_their_index(network):
    images_nhwc = pixels(34)
    bad = {0, 7, *range(32, 34)}  # the last ones are all that there is of their share

    def view_of(index):
        return None if index in bad else images_nhwc[index]

    features_nc, index_n = probing.features(network, **given(images_nhwc, view_of))
    assert index_n.tolist() == [i for i in range(34) if i not in bad]
    assert len(features_nc) == 30


def test_without_any_image_that_can_be_read_there_is_nothing_to_solve(network):
    with pytest.raises(DataError, match="none of 4 training images can be read"):
        probing.features(network, **given(pixels(4), lambda index: None))


def test_classes_that_a_plane_can_tell_apart_are_told_apart():
    features_nc, labels_n = clusters(90, 3)
    found = probing.solve(features_nc, labels_n, 3)
    assert [tuple(each.shape) for each in found] == [(3, 6), (3,)]
    assert wrong(found, features_nc, labels_n) <= 1
    fresh_nc, fresh_n = clusters(90, 3, seed=5)
    assert wrong(found, fresh_nc, fresh_n) <= 3


def test_the_solution_is_for_the_features_as_they_come_whatever_their_place_and_scale():
    features_nc, labels_n = clusters(60, 3)
    one = probing.solve(features_nc, labels_n, 3)
    moved_nc = 100 * features_nc + 1_000
    other = probing.solve(moved_nc, labels_n, 3)
    first = (features_nc @ one[0].T + one[1]).softmax(1)
    second = (moved_nc @ other[0].T + other[1]).softmax(1)
    torch.testing.assert_close(first, second, rtol=0.02, atol=0.02)


def test_the_solution_is_where_the_penalised_loss_is_least():
    features_nc, labels_n = clusters(60, 3, apart=0.5)
    found = probing._fit(features_nc, labels_n, torch.ones(3), 0.1)

    def loss(weight, bias):
        value = cross_entropy(features_nc @ weight.T + bias, labels_n)
        return float(value + 0.05 * weight.square().sum())

    least = loss(*found)
    for seed in range(5):
        step = 0.05 * torch.randn(found[0].shape, generator=draw(seed))
        assert loss(found[0] + step, found[1]) > least


def test_noise_is_answered_with_a_large_penalty_and_unsure_scores():
    noise_nc = torch.randn(40, 200, generator=draw(3))
    labels_n = torch.arange(40) % 2
    weight_kc, bias_k = probing.solve(noise_nc, labels_n, 2)
    other_nc = torch.randn(200, 200, generator=draw(4))
    sure = (other_nc @ weight_kc.T + bias_k).softmax(1).max(1).values
    assert float(sure.mean()) < 0.8


def test_a_class_without_images_gets_the_smallest_score():
    features_nc, labels_n = clusters(60, 2)
    weight_kc, bias_k = probing.solve(features_nc, labels_n, 3)
    scores_nk = features_nc @ weight_kc.T + bias_k
    assert not (scores_nk.argmax(1) == 2).any()
    assert weight_kc.isfinite().all()


@pytest.mark.parametrize("images", [1, 2])
def test_as_few_images_as_there_can_be_have_a_solution(images):
    features_nc, labels_n = clusters(images, 2)
    weight_kc, bias_k = probing.solve(features_nc, labels_n, 2)
    assert weight_kc.isfinite().all()
    assert bias_k.isfinite().all()


def test_a_heavier_class_wins_more_of_what_is_unsure():
    features_nc, labels_n = clusters(80, 2, apart=0.3)
    found = {
        weight: probing.solve(features_nc, labels_n, 2, (1.0, weight)) for weight in (0.2, 5.0)
    }
    ones = {
        weight: int((features_nc @ w.T + b).argmax(1).sum()) for weight, (w, b) in found.items()
    }
    assert ones[0.2] < ones[5.0]


def test_the_same_features_have_the_same_solution_and_no_generator_is_touched():
    features_nc, labels_n = clusters(30, 3)
    before = torch.random.get_rng_state()
    one, other = (probing.solve(features_nc, labels_n, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)
