from collections import Counter

import numpy as np
import pytest

from resnets.core.errors import DataError
from resnets.data import policies
from resnets.data.policies import RandAugment, TrivialAugment

PLAIN = RandAugment(space="plain", magnitude=9, magnitude_std=0, probability=1.0)
POLICIES = (TrivialAugment(), RandAugment(), PLAIN)
IMAGES = 10_000


def chosen(policy, index_n=None, *, seed=0, epoch=0, image_px=224):
    index_n = np.arange(IMAGES) if index_n is None else np.asarray(index_n)
    return policies.choose(policy, seed, epoch, index_n, image_px=image_px)


def near(count, share, of=IMAGES):
    """Within six standard deviations of a binomial count."""
    return abs(count - share * of) < 6 * np.sqrt(of * share * (1 - share))


@pytest.mark.parametrize("policy", POLICIES)
def test_every_choice_is_a_function_of_seed_epoch_and_image(policy):
    found = chosen(policy)
    index_n = [1999, 3, 3, 0, IMAGES - 1]
    assert chosen(policy, index_n) == [found[index] for index in index_n]
    for other in (chosen(policy, seed=1), chosen(policy, epoch=1)):
        same = sum(a == b for a, b in zip(found, other, strict=True))
        assert same < IMAGES / 2


def test_trivial_augment_draws_each_of_14_operations_as_often_and_the_identity_is_one():
    rows = chosen(TrivialAugment())
    counts = Counter(row[0].name if row else "identity" for row in rows)
    assert len(counts) == 14
    assert all(near(count, 1 / 14) for count in counts.values())
    assert {len(row) for row in rows} == {0, 1}


def test_trivial_augment_draws_each_of_31_strengths_and_both_signs_as_often():
    degrees = [row[0].amount for row in chosen(TrivialAugment()) if row and row[0].name == "rotate"]
    bins = Counter(round(abs(each) / 4.5) for each in degrees)
    assert sorted(bins) == list(range(31))
    assert all(near(count, 1 / 31, len(degrees)) for count in bins.values())
    turned = [each for each in degrees if each]
    assert near(sum(each > 0 for each in turned), 1 / 2, len(turned))
    assert (min(degrees), max(degrees)) == (-135, 135)


def test_rand_augment_does_each_drawn_operation_with_its_probability():
    rows = chosen(RandAugment(probability=0.3))
    done = Counter(len(row) for row in rows)
    for number, share in enumerate((0.49, 0.42, 0.09)):
        assert near(done[number], share)
    names = Counter(operation.name for row in rows for operation in row)
    assert len(names) == 15
    assert all(near(count, 2 * 0.3 / 15, 2 * IMAGES) or near(count, 0.3 / 15, 2 * IMAGES)
               for count in names.values())  # fmt: skip
    first = [row[0].name for row in rows if len(row) == 2]
    again = sum(row[0].name == row[1].name for row in rows if len(row) == 2)
    assert near(again, 1 / 15, len(first))


def test_rand_augments_strength_is_normal_about_its_magnitude_and_cut_off_at_the_ends():
    def degrees(**how):
        rows = chosen(RandAugment(operations=1, probability=1.0, **how))
        return np.abs([row[0].amount for row in rows if row[0].name == "rotate"])

    around = degrees(magnitude=7, magnitude_std=0.5) / 3
    assert around.mean() == pytest.approx(7, abs=6 * 0.5 / np.sqrt(len(around)))
    assert around.std() == pytest.approx(0.5, abs=6 * 0.5 / np.sqrt(2 * len(around)))
    cut_off = degrees(magnitude=10, magnitude_std=2.0)
    assert near((cut_off == 30).sum(), 1 / 2, len(cut_off))
    assert degrees(magnitude=1, magnitude_std=2.0).min() == 0


def test_rand_augments_random_interpolation_is_bilinear_or_bicubic():
    ways = Counter(each.interpolation for row in chosen(RandAugment()) for each in row)
    assert set(ways) == {"bilinear", "bicubic"}
    assert near(ways["bicubic"], 1 / 2, ways.total())


def test_interpolation_and_fill_are_the_policys():
    for policy in (
        TrivialAugment(interpolation="nearest", fill_rgb=(1, 2, 3)),
        RandAugment(interpolation="nearest", fill_rgb=(1, 2, 3)),
    ):
        ways = {(each.interpolation, each.fill_rgb) for row in chosen(policy) for each in row}
        assert ways == {("nearest", (1, 2, 3))}


@pytest.mark.parametrize("image_px", [100, 224])
def test_shifts_are_32_px_at_most_or_relative_to_the_image(image_px):
    def furthest(policy):
        rows = chosen(policy, image_px=image_px)
        return max(op.amount for row in rows for op in row if op.name.startswith("translate"))

    assert furthest(TrivialAugment()) == 32
    assert furthest(RandAugment(magnitude=10, magnitude_std=0)) == pytest.approx(0.45 * image_px)
    assert furthest(PLAIN) == int(150 / 331 * image_px * 9 / 30)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operations": 0}, "policy.operations: must be from 1 to 16, got 0"),
        ({"probability": 1.1}, "policy.probability: must be from 0 to 1, got 1.1"),
        ({"magnitude_std": -1.0}, "policy.magnitude_std: must not be negative, got -1.0"),
        ({"magnitude": 10.5}, "policy.magnitude: must be from 0 to 10 in the space 'increasing'"),
        ({"magnitude": float("nan")}, "policy.magnitude: must be from 0 to 10"),
        ({"space": "plain", "magnitude": 31}, "policy.magnitude: must be from 0 to 30"),
        ({"space": "plain", "magnitude": 9}, "policy.magnitude: must be a whole number"),
        (
            {"space": "plain", "magnitude": 9.5, "magnitude_std": 0},
            "with magnitude_std 0, in the space 'plain', got 9.5 and 0",
        ),
        ({"fill_rgb": (0, 256, 0)}, "policy.fill_rgb: must be three levels from 0 to 255"),
    ],
)
def test_numbers_that_make_no_policy_are_refused_naming_the_field(fields, message):
    with pytest.raises(DataError, match=message):
        RandAugment(**fields)


def test_a_colour_that_is_none_is_refused():
    with pytest.raises(DataError, match=r"^policy\.fill_rgb: must be three levels"):
        TrivialAugment(fill_rgb=(-1, 0, 0))
