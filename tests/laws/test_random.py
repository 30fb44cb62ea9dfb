"""Randomness is a function of its cause: of nothing else, and evenly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.core import random

seeds = st.integers(0, 2**31)
words = st.text("abcdefghij-_", min_size=1, max_size=8)
indices = st.lists(st.integers(0, 2**40), min_size=1, max_size=50)
belows = st.integers(1, 2**16)


@settings(deadline=None)
@given(seeds, words, st.integers(0, 300), indices, belows, st.data())
def test_a_choice_for_one_image_is_the_same_in_whatever_batch_it_is_made(
    seed, word, epoch, chosen, below, data
):
    index_n = np.array(chosen)
    together = random.integers(seed, word, epoch, index_n=index_n, below=below)
    alone = [
        random.integers(seed, word, epoch, index_n=index_n[i : i + 1], below=below)[0]
        for i in range(len(index_n))
    ]
    assert together.tolist() == alone
    order = np.array(data.draw(st.permutations(range(len(chosen)))))
    shuffled = random.integers(seed, word, epoch, index_n=index_n[order], below=below)
    assert np.array_equal(shuffled, together[order])


@given(seeds, words, indices, belows)
def test_every_integer_is_in_range(seed, word, chosen, below):
    drawn = random.integers(seed, word, index_n=np.array(chosen), below=below)
    assert drawn.dtype == np.int64
    assert drawn.shape == (len(chosen),)
    assert drawn.min() >= 0
    assert drawn.max() < below


@given(seeds, indices)
def test_the_type_of_the_indices_does_not_matter(seed, chosen):
    small = [index % 2**31 for index in chosen]
    drawn = [
        random.integers(seed, "type", index_n=np.array(small, dtype), below=1000).tolist()
        for dtype in (np.int32, np.int64, np.uint64)
    ]
    assert drawn[0] == drawn[1] == drawn[2]


@given(seeds, seeds, words, words)
def test_another_seed_or_another_purpose_draws_other_integers(seed, other_seed, word, other_word):
    index_n = np.arange(64)

    def draw(*cause):
        return random.integers(*cause, index_n=index_n, below=2**16).tolist()

    base = draw(seed, word, 0)
    assert (draw(other_seed, word, 0) == base) == (other_seed == seed)
    assert (draw(seed, other_word, 0) == base) == (other_word == word)
    assert draw(seed, word, 1) != base
    assert draw(seed, word) != base


def chi_square(counts):
    expected = counts.sum() / counts.size
    return ((counts - expected) ** 2).sum() / expected


def widest(cells):
    """Six standard deviations above the mean of chi-square with cells - 1 degrees of freedom."""
    return cells - 1 + 6 * np.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("below", [2, 3, 9, 10, 256, 1000])
def test_integers_are_close_to_uniform_over_consecutive_images(seed, below):
    drawn = random.integers(seed, "uniform", index_n=np.arange(50_000), below=below)
    assert chi_square(np.bincount(drawn, minlength=below)) < widest(below)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_purposes_two_epochs_and_two_neighbours_are_independent(seed):
    n = 50_000

    def draw(purpose, epoch):
        return random.integers(seed, purpose, epoch, index_n=np.arange(n), below=9)

    row = draw("row", 0)
    for other in (draw("column", 0), draw("row", 1), np.roll(row, 1), np.roll(row, 128)):
        assert chi_square(np.bincount(9 * row + other, minlength=81)) < widest(81)


@settings(deadline=None, max_examples=30)
@given(seeds, words, st.integers(0, 300))
def test_a_generator_depends_only_on_its_arguments(seed, word, epoch):
    first = random.generator(seed, word, epoch)
    drawn = torch.randn(8, generator=first)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(epoch)
        before = torch.random.get_rng_state()
        again = torch.randn(8, generator=random.generator(seed, word, epoch))
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(again, drawn)
    assert not torch.equal(torch.randn(8, generator=first), drawn)


@settings(deadline=None, max_examples=30)
@given(seeds, seeds, words, words)
def test_generators_of_different_causes_differ(seed, other_seed, word, other_word):
    def draw(*cause):
        return torch.randn(8, generator=random.generator(*cause)).tolist()

    base = draw(seed, word, 0)
    assert (draw(other_seed, word, 0) == base) == (other_seed == seed)
    assert (draw(seed, other_word, 0) == base) == (other_word == word)
    assert draw(seed, word, 1) != base


def test_the_streams_are_the_ones_that_published_numbers_were_made_with():
    key = 0xACF14FF0A8920C  # printf "(7, 'augment', 3, 'row')" | b2sum -l 56
    index_n = np.array([0, 1, 2, 49_999, 2**40])
    found = random.integers(7, "augment", 3, "row", index_n=index_n, below=9).tolist()
    assert found == [splitmix_by_hand(key, int(i)) % 9 for i in index_n]


def splitmix_by_hand(key, index):
    x = (key + index * 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


@settings(deadline=None, max_examples=30)
@given(seeds, words, st.lists(st.integers(0, 2**40), min_size=1, max_size=9))
def test_a_real_number_is_fixed_by_its_cause_whatever_is_drawn_beside_it(seed, word, index):
    for draw in (random.uniforms, random.normals):
        together = draw(seed, word, index_n=np.array(index))
        alone = [draw(seed, word, index_n=np.array([i]))[0] for i in index]
        assert together.dtype == np.float64
        assert together.tolist() == alone


def test_uniforms_fill_the_unit_interval_and_stay_below_1():
    drawn = random.uniforms(0, "place", index_n=np.arange(50_000))
    assert 0 <= drawn.min() < drawn.max() <= 1 - 2**-32
    assert chi_square(np.bincount((drawn * 100).astype(int), minlength=100)) < widest(100)
    highest = 1 - 2.0**-32
    assert all(int(highest * n) == n - 1 for n in (1, 257, 2**21))


def test_normals_have_the_moments_of_the_normal_distribution():
    drawn = random.normals(0, "light", index_n=np.arange(100_000))
    moments = [(drawn**power).mean() for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=6 * np.sqrt(96 / 100_000))
    assert moments[:2] == pytest.approx([0, 1], abs=6 * np.sqrt(2 / 100_000))
    assert abs(drawn).max() < 6.7
    other = random.normals(0, "light", 1, index_n=np.arange(100_000))
    assert abs(np.corrcoef(drawn, other)[0, 1]) < 6 / np.sqrt(100_000)


@settings(deadline=None, max_examples=60)
@given(seeds, words, indices, st.floats(1e-3, 1e3))
def test_a_beta_number_is_in_the_unit_interval_and_fixed_by_its_cause(seed, word, chosen, alpha):
    together = random.betas(seed, word, index_n=np.array(chosen), alpha=alpha)
    assert together.dtype == np.float64
    assert ((together >= 0) & (together <= 1)).all()
    alone = [random.betas(seed, word, index_n=np.array([i]), alpha=alpha)[0] for i in chosen]
    assert together.tolist() == alone


# The distributions of these alphas have a formula: arcsine, uniform, parabola.
BETAS = {
    0.5: lambda x: 2 / np.pi * np.arcsin(np.sqrt(x)),
    1.0: lambda x: x,
    2.0: lambda x: x**2 * (3 - 2 * x),
}


@pytest.mark.parametrize("alpha", BETAS)
def test_beta_numbers_are_distributed_as_their_formula_says(alpha):
    n = 50_000
    drawn = np.sort(random.betas(0, "share", index_n=np.arange(n), alpha=alpha))
    gap = np.abs(BETAS[alpha](drawn) - (np.arange(n) + 0.5) / n).max()
    assert gap < 2 / np.sqrt(n)  # Kolmogorov and Smirnov: one sample in 1,500 has more


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.8, 5.0])
def test_beta_numbers_have_the_moments_of_the_beta_distribution(alpha):
    n = 100_000
    centred = random.betas(0, "share", index_n=np.arange(n), alpha=alpha) - 0.5
    variance = 1 / (4 * (2 * alpha + 1))
    fourth = 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))
    assert centred.mean() == pytest.approx(0, abs=6 * np.sqrt(variance / n))
    assert (centred**2).mean() == pytest.approx(
        variance, abs=6 * np.sqrt((fourth - variance**2) / n)
    )
    assert (centred**4).mean() == pytest.approx(fourth, rel=0.05)
