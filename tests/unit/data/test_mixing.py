import numpy as np
import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import mixing
from resnets.data.mixing import Mix, Mixing

UPDATES = 2000


def chosen(spec=Mixing(), *, seed=0, part=0, updates=UPDATES):  # noqa: B008 - a frozen value
    return [mixing.choose(spec, seed, n, part, image_px=224) for n in range(1, updates + 1)]


def test_a_mix_is_a_function_of_seed_update_and_part():
    assert chosen(updates=50) == chosen(updates=50)
    for other in (chosen(seed=1, updates=50), chosen(part=1, updates=50)):
        assert sum(a.share == b.share for a, b in zip(chosen(updates=50), other, strict=True)) < 3


def test_either_way_of_mixing_comes_as_often_as_it_should():
    def share_of_cutmix(spec):
        return np.mean([how.box is not None for how in chosen(spec)])

    six = 6 * 0.5 / np.sqrt(UPDATES)
    assert share_of_cutmix(Mixing()) == pytest.approx(0.5, abs=six)
    assert share_of_cutmix(Mixing(cutmix_share=0.2)) == pytest.approx(0.2, abs=six)
    assert share_of_cutmix(Mixing(mixup_alpha=0.0, cutmix_share=0.2)) == 1
    assert share_of_cutmix(Mixing(cutmix_alpha=0.0)) == 0
    untouched = [how for how in chosen(Mixing(probability=0.3)) if how == Mix(1.0, None)]
    assert len(untouched) / UPDATES == pytest.approx(0.7, abs=six)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0])
def test_mixups_shares_have_the_variance_of_the_beta_distribution(alpha):
    shares = np.array([how.share for how in chosen(Mixing(mixup_alpha=alpha, cutmix_alpha=0.0))])
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean() == pytest.approx(0.5, abs=6 * np.sqrt(variance / UPDATES))
    assert shares.var() == pytest.approx(variance, rel=0.1)


def test_cutmix_takes_a_square_about_any_middle_cut_off_at_the_edges():
    boxes = np.array([how.box for how in chosen(Mixing(mixup_alpha=0.0))])
    inside = boxes[(boxes.min(1) > 0) & (boxes.max(1) < 224)]
    assert len(inside) > 100
    assert ((inside[:, 2] - inside[:, 0]) == (inside[:, 3] - inside[:, 1])).all()
    assert (boxes.min(), boxes.max()) == (0, 224)


def numbered(images=4, side=6):
    return torch.arange(images).float()[:, None, None, None].expand(images, 3, side, side).clone()


def test_mixup_averages_each_image_with_the_one_before_it():
    found = mixing.mix(numbered(), Mix(0.75, None))
    expected = torch.tensor([0.75, 0.75, 1.75, 2.75])  # the first with the last
    assert torch.equal(found, expected[:, None, None, None].expand(found.shape))


def test_cutmix_pastes_a_box_of_the_one_before():
    found = mixing.mix(numbered(), Mix(0.5, (1, 2, 3, 6)))
    pasted = found[:, :, 1:3, 2:6]
    assert pasted.unique(dim=0)[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert torch.equal(pasted, numbered()[:, :, 1:3, 2:6].roll(1, 0))
    assert (found != numbered()).sum() == 4 * 3 * 8


@pytest.mark.parametrize("how", [Mix(0.3, None), Mix(0.5, (1, 2, 3, 6))])
def test_the_images_are_left_as_they_are_and_keep_their_layout(how):
    images = numbered().to(memory_format=torch.channels_last)
    found = mixing.mix(images, how)
    assert torch.equal(images, numbered())
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_is_not_mixed_is_not_copied():
    images = numbered()
    assert mixing.mix(images, Mix(1.0, None)) is images


def test_an_image_alone_in_its_part_is_its_own_partner():
    for how in (Mix(0.3, None), Mix(0.5, (1, 2, 3, 6))):
        torch.testing.assert_close(mixing.mix(numbered(1) + 2, how), numbered(1) + 2)


def test_targets_share_1_between_two_labels_and_all_classes():
    labels = torch.tensor([0, 1, 2, 2])
    found = mixing.soft_targets(labels, mixing.partners(labels), 0.75, 4, smoothing=0.2)
    shared = [[0.6, 0, 0.2, 0], [0.2, 0.6, 0, 0], [0, 0.2, 0.6, 0], [0, 0, 0.8, 0]]
    torch.testing.assert_close(found, torch.tensor(shared) + 0.05)


def test_each_image_may_have_a_share_of_its_own():
    labels, partners = torch.tensor([0, 1]), torch.tensor([1, 0])
    found = mixing.soft_targets(labels, partners, torch.tensor([0.25, 1.0]), 2)
    assert found.tolist() == [[0.25, 0.75], [0, 1]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixup_alpha": -0.1}, "mixing.mixup_alpha: must not be negative, got -0.1"),
        ({"cutmix_alpha": float("inf")}, "mixing.cutmix_alpha: must not be negative"),
        ({"mixup_alpha": 0.0, "cutmix_alpha": 0.0}, "mixup_alpha and cutmix_alpha must not both"),
        ({"cutmix_share": 1.5}, "mixing.cutmix_share: must be from 0 to 1, got 1.5"),
        ({"probability": -1.0}, "mixing.probability: must be from 0 to 1, got -1.0"),
    ],
)
def test_numbers_that_mix_nothing_are_refused_naming_the_field(fields, message):
    with pytest.raises(DataError, match=message):
        Mixing(**fields)
