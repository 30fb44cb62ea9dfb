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


@dataclass
class Mix:
    partner_labels_n: torch.Tensor
    share: torch.Tensor | float


@dataclass
class Mixed(Batch):
    mix: Mix | None


def mixed(logits, labels, partners, share, smoothing=0.0, kind="cross-entropy", weights=None):
    batch = Mixed(logits, labels, Mix(partners, share))
    return losses.classification(smoothing, kind, weights)(nn.Identity(), batch)


def targets_of(labels, partners, share, classes=5):
    own, other = (nn.functional.one_hot(each, classes).float() for each in (labels, partners))
    share = torch.as_tensor(share)[..., None]
    return share * own + (1 - share) * other


SHARES = [0.3, 0.85, torch.tensor(0.3), torch.linspace(0, 1, 7)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("share", SHARES, ids=str)
def test_the_target_of_a_mixed_image_is_divided_between_its_labels(smoothing, share):
    logits, labels = noise()
    partners = labels.roll(1)
    target = targets_of(labels, partners, share)
    expected = nn.functional.cross_entropy(logits, target, label_smoothing=smoothing)
    found = mixed(logits, labels, partners, share, smoothing)["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_error_of_mixed_images_is_that_of_their_own_labels():
    logits, labels = noise()
    expected = measured(logits, labels)["train_error_percent"]
    found = mixed(logits, labels, labels.roll(1), 0.1)["train_error_percent"]
    assert found.item() == expected.item()


def test_a_batch_that_is_not_mixed_is_trained_on_as_ever():
    logits, labels = noise()
    found = losses.classification(0.1)(nn.Identity(), Mixed(logits, labels, None))
    assert found["loss"].item() == measured(logits, labels, 0.1)["loss"].item()


def bce(logits, targets, weights=None):
    """Its formula, the mean over images and classes, in double precision."""
    p = logits.double().sigmoid()
    each = -(targets * p.log() + (1 - targets) * (1 - p).log())
    return (each if weights is None else each * weights).mean().item()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_asks_of_every_class_whether_it_is_shown(smoothing):
    logits, labels = noise()
    present = nn.functional.one_hot(labels, 5) * (1 - smoothing) + smoothing / 5
    found = losses.classification(smoothing, "bce")(nn.Identity(), Batch(logits, labels))
    assert found["loss"].item() == pytest.approx(bce(logits, present), rel=1e-6)


@pytest.mark.parametrize(
    ("share", "own", "partner"),
    [(0.5, 1, 1), (0.79, 1, 1), (0.81, 1, 0), (0.21, 1, 1), (0.19, 0, 1), (1.0, 1, 0), (0.0, 0, 1)],
)
def test_a_mixed_image_shows_the_classes_that_have_more_than_a_fifth_of_it(share, own, partner):
    logits = noise(1)[0]
    expected = bce(logits, torch.tensor([[own, partner, 0, 0, 0]]))
    found = mixed(logits, torch.tensor([0]), torch.tensor([1]), share, kind="bce")["loss"]
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_an_image_mixed_with_one_of_its_class_shows_that_class():
    logits, labels = noise()
    expected = losses.classification(0.0, "bce")(nn.Identity(), Batch(logits, labels))["loss"]
    found = mixed(logits, labels, labels, 0.1, kind="bce")["loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_smoothed_presence_is_smoothed_whatever_the_share():
    logits, labels = noise()
    partners = (labels + 1) % 5
    present = targets_of(labels, partners, 0.5).gt(0.2) * 0.9 + 0.02
    found = mixed(logits, labels, partners, 0.5, 0.1, "bce")["loss"]
    assert found.item() == pytest.approx(bce(logits, present), rel=1e-6)


WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 1.5, 0.1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_multiply_the_part_of_each_class(smoothing):
    logits, labels = noise()
    target = nn.functional.one_hot(labels, 5) * (1 - smoothing) + smoothing / 5
    expected = -(WEIGHTS * target * logits.log_softmax(1)).sum(1).mean().item()
    loss_of = losses.classification(smoothing, class_weights=WEIGHTS)
    found = loss_of(nn.Identity(), Batch(logits, labels))["loss"].item()
    assert found == pytest.approx(expected, rel=1e-6)
    loss_of = losses.classification(smoothing, "bce", WEIGHTS)
    found = loss_of(nn.Identity(), Batch(logits, labels))["loss"].item()
    assert found == pytest.approx(bce(logits, target, WEIGHTS), rel=1e-6)


@pytest.mark.parametrize("kind", ["cross-entropy", "bce"])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_the_losses_of_equal_parts_of_a_batch_average_to_its_own(kind, weights):
    logits, labels = noise(8)
    partners = labels.roll(1)

    def loss(part):
        given = (logits[part], labels[part], partners[part])
        return mixed(*given, 0.4, 0.1, kind, weights)["loss"].item()

    halves = (loss(slice(0, 4)) + loss(slice(4, 8))) / 2
    assert loss(slice(0, 8)) == pytest.approx(halves, rel=1e-6)
