import math

import numpy as np
import pytest
import torch

from resnets.evaluation.moments import Moments


def added(parts):
    return sum((Moments.of(part) for part in parts), Moments())


def numbers(n, mean=0.0):
    return torch.randn(n, generator=torch.Generator().manual_seed(0)) + mean


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
@pytest.mark.parametrize("mean", [0.0, 3.0, 1e4])
def test_the_moments_of_parts_added_are_those_of_the_whole(size, mean):
    x = numbers(1000, mean)
    found, whole = added(x.split(size)), x.double().numpy()
    assert found.values == 1000
    assert found.mean == pytest.approx(whole.mean(), rel=1e-12)
    assert found.std == pytest.approx(np.std(whole), rel=1e-12)


def test_parts_of_different_size_and_mean_count_by_their_size():
    found = added([torch.tensor([1.0]), torch.tensor([4.0, 4.0, 7.0])])
    assert (found.mean, found.std) == (4.0, math.sqrt(18 / 4))


def test_equal_values_have_no_spread_at_all():
    assert added(torch.full((1000,), 0.1).split(37)).std == 0


def test_values_of_any_layout_and_precision_stay_as_they_are():
    x = numbers(24).double().reshape(2, 3, 2, 2).to(memory_format=torch.channels_last)
    kept = x.clone()
    found = Moments.of(x)
    assert torch.equal(x, kept)
    assert found.std == pytest.approx(np.std(kept.numpy()), rel=1e-12)


def test_what_float32_cannot_square_is_measured():
    for scale in (1e-35, 1e35):
        assert Moments.of(numbers(100) * scale).std == pytest.approx(
            Moments.of(numbers(100)).std * scale, rel=1e-5
        )


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_makes_the_spread_nan(bad):
    found = added([numbers(3), torch.tensor([1.0, bad]), numbers(3)])
    assert not math.isfinite(found.mean)
    assert math.isnan(found.std)
