"""Augmentation: pure given its choices, and choices that depend on nothing but their cause."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.core import random
from resnets.data import erasing, mixing, operations, policies
from resnets.data.erasing import RandomErasing
from resnets.data.mixing import Mixing
from resnets.data.order import Order
from resnets.data.policies import RandAugment, TrivialAugment

quick = settings(deadline=None, max_examples=80)
seeds, indices = st.integers(0, 2**31), st.lists(st.integers(0, 2**40), min_size=1, max_size=8)
shares = st.floats(0, 1)
policy = st.one_of(
    st.builds(TrivialAugment, interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"])),
    st.builds(
        RandAugment,
        operations=st.integers(1, 4),
        magnitude=st.floats(0, 10),
        magnitude_std=st.floats(0, 9),
        probability=shares,
        interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "random"]),
    ),
    st.builds(
        RandAugment,
        space=st.just("plain"),
        magnitude=st.integers(0, 30),
        magnitude_std=st.just(0.0),
    ),
)
erasings = st.builds(
    RandomErasing,
    probability=shares,
    area=st.lists(shares, min_size=2, max_size=2).map(lambda two: tuple(sorted(two))),
    ratio=st.lists(st.floats(0.05, 20), min_size=2, max_size=2).map(lambda two: tuple(sorted(two))),
)
alphas = st.floats(0.01, 30)
mixings = st.builds(Mixing, mixup_alpha=alphas, cutmix_alpha=alphas, cutmix_share=shares)


@quick
@given(policy, seeds, st.integers(0, 9), indices, st.integers(1, 24), st.integers(1, 24))
def test_a_policy_keeps_shape_and_type_changes_no_input_and_does_the_same_again(
    policy, seed, epoch, index, height, width
):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = pixels.copy()
    for row in policies.choose(policy, seed, epoch, np.array(index), image_px=width):
        found = operations.apply(pixels, row)
        assert (found.shape, found.dtype) == (pixels.shape, np.uint8)
        assert np.array_equal(found, operations.apply(before, row))
        assert np.array_equal(pixels, before)


@quick
@given(policy, erasings, seeds, indices, st.integers(1, 300))
def test_a_choice_for_one_image_is_the_same_in_whatever_batch_it_is_made(
    policy, random_erasing, seed, index, side
):
    together = policies.choose(policy, seed, 3, np.array(index), image_px=side)
    boxes = erasing.choose(random_erasing, seed, 3, np.array(index), image_px=side)
    for i, each in enumerate(index):
        alone = np.array([each])
        assert policies.choose(policy, seed, 3, alone, image_px=side) == [together[i]]
        box = erasing.choose(random_erasing, seed, 3, alone, image_px=side)
        assert np.array_equal(box[0], boxes[i])


@quick
@given(erasings, seeds, indices, st.integers(1, 40))
def test_a_box_lies_in_the_image_and_what_is_in_no_box_stays(random_erasing, seed, index, side):
    boxes = erasing.choose(random_erasing, seed, 0, np.array(index), image_px=side)
    assert boxes.min() >= 0
    assert boxes.max() <= side
    assert (boxes[:, :2] <= boxes[:, 2:]).all()
    images = torch.rand(len(index), 2, side, side, generator=torch.Generator().manual_seed(0)) + 1
    found = erasing.erase(images, torch.from_numpy(boxes))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert (found == 0).sum((1, 2, 3)).tolist() == (2 * areas).tolist()
    assert torch.equal(found[found != 0], images[found != 0])


@quick
@given(mixings, seeds, st.integers(1, 10**6), st.integers(0, 7), st.integers(1, 40))
def test_a_share_is_from_0_to_1_and_in_cutmix_what_the_box_leaves(spec, seed, number, part, side):
    how = mixing.choose(spec, seed, number, part, image_px=side)
    assert 0 <= how.share <= 1
    images = torch.zeros(2, 1, side, side)
    images[1] = 1
    found = mixing.mix(images, how)
    # Of black and white pixels the mean is the share of white ones: what the labels say.
    assert found.mean((1, 2, 3)).tolist() == pytest.approx([1 - how.share, how.share], abs=1e-5)
    assert images.sum() == side**2


@quick
@given(st.integers(1, 9), indices, shares, st.floats(0, 0.99))
def test_targets_are_probabilities(classes, labels, share, smoothing):
    labels_n = torch.tensor(labels) % classes
    found = mixing.soft_targets(labels_n, mixing.partners(labels_n), share, classes, smoothing)
    assert (found.shape, found.dtype) == ((len(labels), classes), torch.float32)
    assert found.min() >= 0
    torch.testing.assert_close(found.sum(1), torch.ones(len(labels)))


def run(order, views):
    """The first so many views of a run, each with its epoch, batch by batch."""
    batches = -(-views // order.batch_images)
    return [
        [(epoch, view) for epoch, view_n in order(number) for view in view_n.tolist()]
        for number in range(1, batches + 1)
    ]


counts = st.integers(1, 40)


@quick
@given(counts, counts, st.integers(1, 5), seeds)
def test_an_epoch_is_as_many_views_of_a_repeatsth_of_the_images(images, size, repeats, seed):
    batches = run(Order(images, size, seed, repeats), 3 * images)
    assert {len(each) for each in batches} == {size}
    for epoch in range(3):
        views = sorted(view for batch in batches for at, view in batch if at == epoch)
        assert len(views) == images == len(set(views))
        seen, times = np.unique(np.array(views) % images, return_counts=True)
        assert len(seen) == -(-images // repeats)
        assert sorted(times)[1:] == [repeats] * (len(seen) - 1)
        # Its copies are numbered from 0: each has an augmentation of its own.
        copies = {image: [view // images for view in views if view % images == image]
                  for image in seen.tolist()}  # fmt: skip
        assert all(each == list(range(len(each))) for each in copies.values())


@quick
@given(counts, counts, st.integers(1, 5), seeds, st.integers(1, 30))
def test_a_batch_with_repeats_is_a_function_of_its_number_alone(images, size, repeats, seed, n):
    asked = Order(images, size, seed, repeats)
    asked(n + 3)
    for found, again in zip(asked(n), Order(images, size, seed, repeats)(n), strict=True):
        assert found[0] == again[0]
        assert np.array_equal(found[1], again[1])


@quick
@given(st.integers(1, 9), st.integers(1, 6), st.integers(1, 5), seeds)
def test_a_part_of_a_batch_no_larger_than_a_repeatsth_holds_different_images(
    per_epoch, part, repeats, seed
):
    """Where epochs end with batches; batches of the references do."""
    size = part * repeats
    for batch in run(Order(per_epoch * size, size, seed, repeats), 2 * per_epoch * size):
        seen = [view % (per_epoch * size) for _, view in batch]
        for first in range(size - part + 1):
            assert len(set(seen[first : first + part])) == part


@quick
@given(counts, counts, seeds)
def test_without_repeats_the_order_is_what_it_was(images, size, seed):
    epochs = [order_of_epoch(images, seed, epoch) for epoch in range(3)]
    expected = [(epoch, index) for epoch, order in enumerate(epochs) for index in order]
    found = [each for batch in run(Order(images, size, seed), 3 * images) for each in batch]
    assert found[: 3 * images] == expected


def order_of_epoch(images, seed, epoch):
    return torch.randperm(images, generator=random.generator(seed, "order", epoch)).tolist()
