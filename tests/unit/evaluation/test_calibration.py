import itertools
import math

import numpy as np
import pytest
import torch

from resnets.core.random import uniforms
from resnets.evaluation.calibration import BINS, by_chance, calibration

NAN = float("nan")


def made(pairs, bins=BINS):
    probabilities = torch.tensor([p for p, _ in pairs], dtype=torch.float64)
    return calibration(
        probabilities, torch.tensor([right for _, right in pairs], dtype=torch.bool), bins
    )


def test_the_error_is_worked_out_by_hand():
    # Of two bins: (0, .5] has .2 and .4 with one right; (.5, 1] has .6, .8 and 1 with two right.
    found = made([(0.2, True), (0.4, False), (0.6, True), (0.8, False), (1.0, True)], bins=2)
    low, high = found.bins
    assert (low.images, low.hits, high.images, high.hits) == (2, 1, 3, 2)
    assert (low.accuracy, low.probability) == (0.5, pytest.approx(0.3))
    assert high.probability == pytest.approx(0.8)
    # 2/5 |.5 - .3| + 3/5 |2/3 - .8|
    assert found.error == pytest.approx(0.4 * 0.2 + 0.6 * (0.8 - 2 / 3))
    assert found.accuracy == pytest.approx(0.6)
    assert found.probability == pytest.approx(0.6)
    assert (found.images, found.left_out) == (5, 0)


@pytest.mark.parametrize("bins", [1, 3, 10, 15, 20, 49])
def test_a_probability_at_an_edge_belongs_below_it(bins):
    for i in range(1, bins + 1):
        found = made([(i / bins, True)], bins)
        assert [each.images for each in found.bins].index(1) == i - 1
        assert found.bins[i - 1].high == i / bins


def test_zero_belongs_to_the_first_bin_and_one_to_the_last():
    found = made([(0.0, False), (1.0, True)])
    assert [each.images for each in found.bins] == [1, *[0] * (BINS - 2), 1]
    assert found.error == 0.0


def test_bins_without_images_say_nothing():
    empty = made([(1.0, True)]).bins[0]
    assert empty.images == 0
    assert empty.accuracy is None
    assert empty.interval is None
    assert empty.probability is None


def test_the_bins_are_of_equal_width_from_0_to_1():
    bins = made([(0.5, True)]).bins
    assert (bins[0].low, bins[-1].high, len(bins)) == (0.0, 1.0, BINS)
    assert all(a.high == b.low for a, b in itertools.pairwise(bins))


def test_always_right_and_always_sure_has_no_error_and_always_wrong_has_all_of_it():
    assert made([(1.0, True)] * 9).error == 0.0
    assert made([(1.0, False)] * 9).error == 1.0


def test_what_is_no_number_is_left_out_and_counted():
    found = made([(NAN, False), (0.9, True), (NAN, True)])
    assert (found.images, found.left_out) == (1, 2)
    assert found.error == pytest.approx(0.1)
    assert found.accuracy == 1.0


@pytest.mark.parametrize("pairs", [[], [(NAN, False)]])
def test_without_probabilities_there_is_no_error(pairs):
    found = made(pairs)
    assert found.error is None
    assert found.probability is None
    assert found.accuracy is None
    assert found.images == 0
    assert by_chance(torch.tensor([p for p, _ in pairs], dtype=torch.float64)) is None


def test_float32_is_counted_in_float64():
    sure = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    a = calibration(sure, sure > 0.5)
    b = calibration(sure.double(), sure > 0.5)
    assert a == b


def test_the_interval_of_a_bin_is_the_published_score_interval():
    # Newcombe 1998, Two-sided confidence intervals for the single proportion, Table I, method 3.
    (whole,) = made([(0.7, i < 81) for i in range(263)], bins=1).bins
    assert [round(end, 4) for end in whole.interval] == [0.2553, 0.3662]


def perfect(n, seed):
    index = np.arange(n)
    sure = torch.from_numpy(uniforms(seed, "sure", index_n=index))
    return sure, torch.from_numpy(uniforms(seed, "right", index_n=index)) < sure


def test_perfect_probabilities_have_the_error_that_chance_gives():
    for seed in range(3):
        sure, right = perfect(2_000, seed)
        mean, most = by_chance(sure)
        assert 0 < mean < most < 0.06
        assert calibration(sure, right).error < 1.5 * most


def test_chance_gives_less_error_to_more_images():
    means = [by_chance(perfect(n, 0)[0])[0] for n in (50, 500, 5_000)]
    assert means[0] > 2 * means[1] > 4 * means[2]


def test_too_sure_by_a_tenth_is_an_error_of_a_tenth():
    index = np.arange(20_000)
    sure = torch.from_numpy(0.5 + 0.4 * uniforms(0, "sure", index_n=index))
    right = torch.from_numpy(uniforms(0, "right", index_n=index)) < sure - 0.1
    found = calibration(sure, right)
    assert found.error == pytest.approx(0.1, abs=0.01)
    assert found.probability - found.accuracy == pytest.approx(0.1, abs=0.01)
    assert found.error > by_chance(sure)[1]


def test_chance_is_the_same_every_time():
    sure = perfect(100, 0)[0]
    assert by_chance(sure) == by_chance(sure.clone())
    assert not math.isnan(by_chance(sure)[0])
