"""Batches: every image once an epoch, whatever the batch; augmentation moves pixels and no more."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import batches, sets
from resnets.data.batches import Choices, CropFlip, TrainBatches
from resnets.data.sets import ImageSet

CPU = torch.device("cpu")
quick = settings(deadline=None, max_examples=60)
counts, batch_sizes, seeds = st.integers(1, 12), st.integers(1, 30), st.integers(0, 2**31)
sides, pads = st.integers(1, 6), st.integers(0, 4)


def noise(images, height=3, width=3):
    draw = torch.Generator().manual_seed(images)
    pixels = torch.randint(0, 256, (images, height, width, 3), generator=draw, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(images))


def made(images, *, pad_px=1, seed=0, batch_images=4, mean_hwc=None):
    mean = batches.mean_image(images) if mean_hwc is None else mean_hwc
    return TrainBatches(
        images, mean, CropFlip(pad_px=pad_px), seed=seed, batch_images=batch_images, device=CPU
    )


def stream(batches_of, images):
    """The first so many images and labels of a run."""
    size = batches_of.batch_images
    run = [batches_of(number) for number in range(1, -(-images // size) + 1)]
    pixels = torch.cat([batch.images_nchw for batch in run])[:images]
    return pixels, torch.cat([batch.labels_n for batch in run])[:images]


@quick
@given(counts, batch_sizes, seeds)
def test_every_epoch_holds_every_image_once_whatever_the_size_of_a_batch(images, size, seed):
    _, labels = stream(made(noise(images), batch_images=size, seed=seed), 3 * images)
    for epoch in labels.reshape(3, images):
        assert epoch.sort().values.tolist() == list(range(images))


@quick
@given(counts, batch_sizes, batch_sizes, seeds)
def test_how_images_are_cut_into_batches_changes_neither_their_order_nor_their_augmentation(
    images, size, other_size, seed
):
    data = noise(images)
    one, other = (
        stream(made(data, batch_images=s, seed=seed), 2 * images + 1) for s in (size, other_size)
    )
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@quick
@given(counts, batch_sizes, seeds, st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_a_batch_is_a_function_of_its_number_alone(images, size, seed, numbers):
    data = noise(images)
    asked = made(data, batch_images=size, seed=seed)
    for number in numbers:
        fresh = made(data, batch_images=size, seed=seed)(number)
        again = asked(number)
        assert torch.equal(again.images_nchw, fresh.images_nchw)
        assert torch.equal(again.labels_n, fresh.labels_n)


@st.composite
def images_and_choices(draw):
    height, width, pad_px = draw(sides), draw(sides), draw(pads)
    data = noise(draw(counts), height, width)
    index = draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=6))
    offsets = st.lists(st.integers(0, 2 * pad_px), min_size=len(index), max_size=len(index))
    flips = st.lists(st.booleans(), min_size=len(index), max_size=len(index))
    choices = Choices(*(torch.tensor(draw(drawn)) for drawn in (offsets, offsets, flips)))
    return data, pad_px, torch.tensor(index), choices


def flipped(choices):
    return Choices(choices.top_n, choices.left_n, ~choices.flip_n)


@quick
@given(images_and_choices())
def test_flipping_twice_changes_nothing(given_):
    data, pad_px, index_n, choices = given_
    # Less no mean: a mirror image less the mean is not the mirror image of an image less the mean.
    batches_of = made(data, pad_px=pad_px, mean_hwc=torch.zeros(data.images_nhwc.shape[1:]))
    once = batches_of.batch(index_n, choices).images_nchw
    other = batches_of.batch(index_n, flipped(choices)).images_nchw
    assert torch.equal(other.flip(3), once)
    mirrored = ImageSet(data.images_nhwc.flip(2), data.labels_n)
    opposite = Choices(choices.top_n, 2 * pad_px - choices.left_n, ~choices.flip_n)
    again = made(mirrored, pad_px=pad_px, mean_hwc=torch.zeros(data.images_nhwc.shape[1:]))
    assert torch.equal(again.batch(index_n, opposite).images_nchw, once)


@quick
@given(images_and_choices())
def test_augmentation_moves_pixels_and_makes_none_up(given_):
    data, pad_px, index_n, choices = given_
    batches_of = made(data, pad_px=pad_px)
    found = batches_of.batch(index_n, choices).images_nchw
    seen = batches.prepare(data.images_nhwc, batches.mean_image(data))
    height, width = found.shape[2:]
    for image, index, top, left, flip in zip(
        found, index_n, choices.top_n, choices.left_n, choices.flip_n, strict=True
    ):
        padded = np.zeros((3, height + 2 * pad_px, width + 2 * pad_px), np.float32)
        padded[:, pad_px : pad_px + height, pad_px : pad_px + width] = seen[index]
        cut = padded[:, top : top + height, left : left + width]
        assert np.array_equal(image.numpy(), cut[:, :, ::-1] if flip else cut)


@quick
@given(counts, batch_sizes)
def test_in_order_is_the_whole_set_in_order_whatever_the_size_of_a_batch(images, size):
    data = noise(images)
    mean = batches.mean_image(data)
    found = list(batches.in_order(data, mean, batch_images=size, device=CPU))
    assert [len(batch.labels_n) for batch in found[:-1]] == [size] * (len(found) - 1)
    assert torch.cat([batch.labels_n for batch in found]).tolist() == list(range(images))
    together = torch.cat([batch.images_nchw for batch in found])
    assert torch.equal(together, batches.prepare(data.images_nhwc, mean))


@quick
@given(st.integers(2, 200), st.data())
def test_what_is_held_out_and_what_is_left_are_the_set(images, data):
    held_out = data.draw(st.integers(1, images - 1))
    whole = noise(images, 1, 1)
    train, validation = sets.hold_out(whole, held_out)
    assert (len(train), len(validation)) == (images - held_out, held_out)
    assert set(train.labels_n.tolist()) | set(validation.labels_n.tolist()) == set(range(images))
    for part in (train, validation):
        assert torch.equal(part.images_nhwc, whole.images_nhwc[part.labels_n])
