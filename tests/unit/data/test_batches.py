import numpy as np
import pytest
import torch

from resnets.core.division import Share
from resnets.core.errors import DataError
from resnets.core.processes import ALONE, Team
from resnets.data import batches, synthetic
from resnets.data.batches import Choices, CropFlip, TrainBatches
from resnets.data.sets import ImageSet

CPU = torch.device("cpu")


def noise(images, height=6, width=5):
    draw = torch.Generator().manual_seed(images)
    pixels = torch.randint(0, 256, (images, height, width, 3), generator=draw, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(images))


def made(images, *, pad_px=2, flip=True, seed=0, batch_images=4):
    return TrainBatches(
        images,
        batches.mean_image(images),
        CropFlip(pad_px=pad_px, flip=flip),
        seed=seed,
        batch_images=batch_images,
        device=CPU,
    )


def by_hand(image_hwc, mean_hwc, pad_px, top, left, flip):
    """One image as the paper says it: subtract the mean, pad with zeros, crop, flip."""
    height, width, _ = image_hwc.shape
    padded = np.zeros((height + 2 * pad_px, width + 2 * pad_px, 3), np.float32)
    for y in range(height):
        for x in range(width):
            for c in range(3):
                scaled = np.float32(image_hwc[y, x, c]) / np.float32(255)
                padded[y + pad_px, x + pad_px, c] = scaled - mean_hwc[y, x, c]
    cropped = padded[top : top + height, left : left + width]
    return (cropped[:, ::-1] if flip else cropped).transpose(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(6, 6), (4, 7)])
@pytest.mark.parametrize("pad_px", [0, 1, 4])
def test_a_batch_is_what_subtracting_padding_cropping_and_flipping_image_by_image_gives(
    height, width, pad_px
):
    images = noise(5, height, width)
    batches_of = made(images, pad_px=pad_px)
    index = [4, 0, 2, 2, 1, 3]
    draw = np.random.default_rng(0)
    top, left = draw.integers(0, 2 * pad_px + 1, (2, len(index)))
    flip = [True, False, True, False, False, True]
    choices = Choices(torch.from_numpy(top), torch.from_numpy(left), torch.tensor(flip))
    found = batches_of.batch(torch.tensor(index), choices)
    mean_hwc = batches.mean_image(images).numpy()
    expected = [
        by_hand(images.images_nhwc[i].numpy(), mean_hwc, pad_px, *where)
        for i, *where in zip(index, top, left, flip, strict=True)
    ]
    assert np.array_equal(found.images_nchw.numpy(), np.stack(expected))
    assert found.labels_n.tolist() == index


def test_a_batch_is_float32_in_channels_last_memory():
    images = noise(20, 8, 8)
    for batch in (made(images, batch_images=16)(1), next(in_order(images, 16))):
        assert batch.images_nchw.shape == (16, 3, 8, 8)
        assert batch.images_nchw.dtype == torch.float32
        assert batch.images_nchw.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels_n.dtype == torch.int64


def test_the_middle_crop_unflipped_is_what_evaluation_sees():
    images = noise(3)
    where = torch.full((3,), 2)
    found = made(images).batch(torch.arange(3), Choices(where, where, torch.zeros(3) == 1))
    seen = batches.prepare(images.images_nhwc, batches.mean_image(images))
    assert torch.equal(found.images_nchw, seen)


def labels_of(batches_of, first, last):
    return torch.cat([batches_of(number).labels_n for number in range(first, last + 1)]).tolist()


@pytest.mark.parametrize("batch_images", [1, 3, 4, 10, 25])
def test_every_image_comes_once_an_epoch_though_batches_straddle_epochs(batch_images):
    epochs = 6
    updates = -(-epochs * 10 // batch_images)
    seen = labels_of(made(noise(10), batch_images=batch_images), 1, updates)
    orders = [seen[10 * epoch : 10 * (epoch + 1)] for epoch in range(epochs)]
    for order in orders:
        assert sorted(order) == list(range(10))
    assert len({tuple(order) for order in orders}) == epochs


def equal(a, b):
    return torch.equal(a.images_nchw, b.images_nchw) and torch.equal(a.labels_n, b.labels_n)


def test_a_batch_depends_on_its_number_and_not_on_which_were_asked_for_before():
    images = noise(10)
    asked = made(images)
    expected = {number: made(images)(number) for number in (1, 2, 3, 8, 40)}
    for number in (40, 3, 1, 8, 8, 2, 40, 1):
        assert equal(asked(number), expected[number])


def test_a_long_run_does_not_collect_the_orders_of_its_past_epochs():
    batches_of = made(noise(10))
    for number in range(1, 101):
        batches_of(number)
        assert len(batches_of.order._orders) <= 2


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    images = noise(10)
    first, again, other = (made(images, seed=seed)(2) for seed in (0, 0, 1))
    assert equal(first, again)
    assert other.labels_n.tolist() != first.labels_n.tolist()


def choices_seen(images, seed, pad_px, flip):
    """Read each image's crop and flip from a bright pixel and its dimmer right neighbour."""
    side = 2 * pad_px + 2
    pixels = torch.zeros((images, side, side, 3), dtype=torch.uint8)
    pixels[:, pad_px, pad_px, 0] = 255
    pixels[:, pad_px, pad_px + 1, 1] = 255
    marked = ImageSet(pixels, torch.arange(images))
    batches_of = TrainBatches(
        marked,
        torch.zeros(side, side, 3),
        CropFlip(pad_px=pad_px, flip=flip),
        seed=seed,
        batch_images=images,
        device=CPU,
    )
    seen = {}
    for epoch in (1, 2):
        batch = batches_of(epoch)
        for image, label in zip(batch.images_nchw, batch.labels_n.tolist(), strict=True):
            red, green = (image[c].nonzero()[0].tolist() for c in (0, 1))
            flipped = green[1] < red[1]
            column = side - 1 - red[1] if flipped else red[1]
            seen[epoch, label] = (2 * pad_px - red[0], 2 * pad_px - column, flipped)
    return seen


def test_every_place_of_the_crop_and_both_directions_occur_and_change_from_epoch_to_epoch():
    seen = choices_seen(400, seed=0, pad_px=4, flip=True)
    assert len(seen) == 800
    assert {top for top, _, _ in seen.values()} == set(range(9))
    assert {left for _, left, _ in seen.values()} == set(range(9))
    assert {flip for _, _, flip in seen.values()} == {False, True}
    first, second = ([seen[epoch, i] for i in range(400)] for epoch in (1, 2))
    unchanged = sum(a == b for a, b in zip(first, second, strict=True))
    assert unchanged < 20  # 400 / 162 are expected
    other = choices_seen(400, seed=1, pad_px=4, flip=True)
    assert sum(seen[key] == other[key] for key in seen) < 40


def test_without_padding_and_flipping_nothing_is_chosen():
    assert set(choices_seen(50, seed=0, pad_px=0, flip=False).values()) == {(0, 0, False)}
    assert {flip for _, _, flip in choices_seen(50, seed=0, pad_px=1, flip=False).values()} == {
        False
    }


def in_order(images, batch_images):
    return batches.in_order(
        images, batches.mean_image(images), batch_images=batch_images, device=CPU
    )


def test_in_order_gives_every_image_once_and_the_last_batch_may_be_smaller():
    images = noise(10)
    found = list(in_order(images, 4))
    assert [len(batch.labels_n) for batch in found] == [4, 4, 2]
    assert torch.cat([batch.labels_n for batch in found]).tolist() == list(range(10))
    together = torch.cat([batch.images_nchw for batch in found])
    expected = (images.images_nhwc.double() / 255 - batches.mean_image(images)).permute(0, 3, 1, 2)
    # Values are in [-1, 1]: two roundings to float32.
    assert torch.allclose(together.double(), expected, rtol=0, atol=2**-23)


@pytest.mark.parametrize("count", [7, 5000])  # the sum is made of parts of 4,096
def test_the_mean_image_is_the_mean_of_every_pixel(count):
    images = noise(count, 2, 3)
    found = batches.mean_image(images)
    assert found.dtype == torch.float32
    expected = images.images_nhwc.numpy().astype(np.float64).mean(0) / 255
    assert np.array_equal(found.numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("pad_px", [-1, 129])
def test_a_padding_that_makes_no_sense_is_refused_naming_the_field(pad_px):
    with pytest.raises(DataError, match=rf"data\.augment\.pad_px: must be .* got {pad_px}$"):
        CropFlip(pad_px=pad_px)


def test_the_shares_of_a_batch_are_the_batch():
    images = synthetic.make().train
    batch_of = TrainBatches(
        images,
        batches.mean_image(images),
        CropFlip(),
        seed=0,
        batch_images=12,
        device=torch.device("cpu"),
    )
    shares = [Share(part=i, parts=3, slice=i, slices=3) for i in range(3)]
    for number in (1, 22):  # the second straddles epochs
        parts, whole = [batch_of(number, share) for share in shares], batch_of(number)
        assert torch.equal(torch.cat([p.images_nchw for p in parts]), whole.images_nchw)
        assert torch.equal(torch.cat([p.labels_n for p in parts]), whole.labels_n)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_of_a_set_in_order_every_process_is_dealt_batches_of_its_own(size):
    images = synthetic.make().test  # 64, so the last batch of 10 is smaller
    mean = batches.mean_image(images)

    def dealt(team):
        return [
            batch.labels_n
            for batch in batches.in_order(
                images, mean, batch_images=10, device=torch.device("cpu"), team=team
            )
        ]

    whole = dealt(ALONE)
    each = [dealt(Team(rank, size)) for rank in range(size)]
    for number, labels_n in enumerate(whole):
        assert torch.equal(each[number % size][number // size], labels_n)
    assert sum(map(len, each)) == len(whole)
