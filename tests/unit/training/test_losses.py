from dataclasses import dataclass

import pytest
import torch
from torch import nn

from resnets.training import losses


@dataclass
class Batch:
    images_nchw: torch.Tensor
    labels_n: torch.Tensor


def measured(logits_nk, labels, smoothing=0.0):
    """The loss of a network that returns these logits."""
    batch = Batch(torch.as_tensor(logits_nk), torch.as_tensor(labels))
    return losses.classification(smoothing)(nn.Identity(), batch)


def noise(images=7, classes=5):
    draw = torch.Generator().manual_seed(0)
    return (
        torch.randn(images, classes, generator=draw),
        torch.randint(0, classes, (images,), generator=draw),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_torchs_cross_entropy(smoothing):
    logits, labels = noise()
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, labels)
    assert measured(logits, labels, smoothing)["loss"].item() == expected.item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_its_formula(smoothing):
    logits, labels = noise()
    log_p = logits.double() - logits.double().exp().sum(1, keepdim=True).log()
    target = nn.functional.one_hot(labels, 5).double() * (1 - smoothing) + smoothing / 5
    expected = -(target * log_p).sum(1).mean().item()
    found = measured(logits.double(), labels, smoothing)["loss"].item()
    assert found == pytest.approx(expected, rel=1e-6)  # the loss is computed in float32


def test_smoothing_makes_the_loss_of_certainty_grow():
    certain = [[30.0, 0.0, 0.0]]
    assert measured(certain, [0])["loss"].item() < 1e-6
    assert measured(certain, [0], 0.1)["loss"].item() > 1


def test_logits_of_half_precision_give_a_float32_loss():
    logits, labels = noise()
    for dtype in (torch.bfloat16, torch.float16):
        found = measured(logits.to(dtype), labels)["loss"]
        expected = nn.functional.cross_entropy(logits.to(dtype).float(), labels)
        assert found.dtype == torch.float32
        assert found.item() == expected.item()


class WithAuxiliary(nn.Module):
    """Gives its input as logits, beside those of two auxiliary classifiers."""

    def forward(self, x):
        return x, (-x, x / 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_losses_of_auxiliary_classifiers_are_added_with_weight_0_3(smoothing):
    logits, labels = noise()
    found = losses.classification(smoothing)(WithAuxiliary(), Batch(logits, labels))
    main, first, second = (
        measured(each, labels, smoothing)["loss"].item() for each in (logits, -logits, logits / 2)
    )
    assert found["main_loss"].item() == main
    assert found["loss"].item() == pytest.approx(main + 0.3 * first + 0.3 * second, rel=1e-6)
    error = measured(logits, labels)["train_error_percent"].item()
    assert found["train_error_percent"].item() == error


def test_without_auxiliary_classifiers_there_is_one_loss():
    assert set(measured(*noise())) == {"loss", "train_error_percent"}


def test_the_error_of_the_batch_is_reported_in_percent():
    logits = [[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 1.0, 2.0], [3.0, 1.0, 2.0]]
    assert measured(logits, [0, 1, 2, 0])["train_error_percent"].item() == 0
    assert measured(logits, [0, 1, 2, 1])["train_error_percent"].item() == 25
    assert measured(logits, [1, 2, 0, 1])["train_error_percent"].item() == 100


def test_the_loss_has_a_gradient_and_the_error_none():
    logits, labels = noise()
    logits.requires_grad_()
    found = measured(logits, labels)
    assert found["loss"].requires_grad
    assert not found["train_error_percent"].requires_grad


def test_a_diverged_network_is_wrong_on_every_image():
    found = measured(torch.full((4, 3), float("nan")), [0, 0, 1, 2])
    assert found["train_error_percent"].item() == 100


def test_a_network_that_gives_every_class_the_same_score_is_right_on_one_class_alone():
    found = measured(torch.zeros(10, 10), list(range(10)))
    assert found["train_error_percent"].item() == 90
