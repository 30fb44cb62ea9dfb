import numpy as np
import pytest
import torch

from resnets.core.division import WHOLE, Share
from resnets.core.errors import DataError
from resnets.data import crops
from resnets.data.crops import ScaleCrop
from resnets.data.file_batches import FileBatches

CPU = torch.device("cpu")
SMALL = ScaleCrop(shorter_px=(10, 16), crop_px=8)


@pytest.fixture
def made(shelf):
    def make(*, seed=0, batch_images=4, mean_hwc=None, damaged=()):
        mean = torch.full((8, 8, 3), 0.25) if mean_hwc is None else mean_hwc
        files = shelf(10, damaged).files()
        return FileBatches(files, mean, SMALL, seed=seed, batch_images=batch_images, device=CPU)

    return make


def test_a_batch_is_what_cutting_lighting_and_subtracting_image_by_image_gives(made):
    mean_hwc = torch.rand((8, 8, 3), generator=torch.Generator().manual_seed(0))
    batch_of = made(mean_hwc=mean_hwc)
    for number in (1, 2, 3):  # the third holds the end of one epoch and the beginning of the next
        batch = batch_of(number)
        at = 0
        for epoch, index_n in batch_of.order(number):
            cuts, light_n3 = crops.choose(SMALL, 0, epoch, index_n)
            for index, cut, light in zip(index_n.tolist(), cuts, light_n3, strict=True):
                pixels = crops.view(batch_of.files.image(index), 8, cut).astype(np.float64)
                expected = (pixels / 255 - mean_hwc.numpy() + light).transpose(2, 0, 1)
                # Values are below 2: three roundings to float32.
                found = batch.images_nchw[at].double().numpy()
                assert np.abs(found - expected).max() < 2**-21
                assert int(batch.labels_n[at]) == index
                at += 1
        assert at == 4


def test_a_batch_is_float32_in_channels_last_memory(made):
    batch = made()(1)
    assert batch.images_nchw.shape == (4, 3, 8, 8)
    assert batch.images_nchw.dtype == torch.float32
    assert batch.images_nchw.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels_n.dtype == torch.int64


@pytest.mark.parametrize("size", [1, 3, 10, 25])
def test_every_image_comes_once_an_epoch_though_batches_straddle_epochs(made, size):
    batch_of = made(batch_images=size)
    seen = torch.cat([batch_of(n).labels_n for n in range(1, -(-30 // size) + 1)]).tolist()
    for epoch in range(3):
        assert sorted(seen[10 * epoch : 10 * epoch + 10]) == list(range(10))


def equal(a, b):
    return torch.equal(a.images_nchw, b.images_nchw) and torch.equal(a.labels_n, b.labels_n)


def test_a_batch_depends_on_its_number_and_the_seed_and_not_on_what_was_asked_before(made):
    asked = made()
    for number in (40, 3, 4, 1, 1, 2, 8):
        assert equal(asked(number), made()(number))
    assert not equal(made(seed=1)(1), asked(1))


def test_how_images_are_cut_into_batches_changes_no_pixel(made):
    one, other = made(batch_images=4), made(batch_images=6)
    by_4 = torch.cat([one(n).images_nchw for n in (1, 2, 3)])
    by_6 = torch.cat([other(n).images_nchw for n in (1, 2)])
    assert torch.equal(by_4, by_6)


def test_while_a_batch_is_used_the_next_is_read_and_no_other(shelf):
    many = shelf(20)
    mean_hwc = torch.zeros(8, 8, 3)
    batch_of = FileBatches(many.files(), mean_hwc, SMALL, seed=0, batch_images=4, device=CPU)
    for number in (1, 2, 3):
        batch_of(number)
        for view in batch_of._ahead[number + 1, WHOLE].views:
            view.result()
        expected = [i for n in range(1, number + 2) for _, part in batch_of.order(n) for i in part]
        assert sorted(many.read) == sorted(expected)


def test_an_image_that_cannot_be_decoded_stops_at_its_batch_and_says_its_name(made):
    first = made()(1).labels_n.tolist()
    damaged = next(i for i in range(10) if i not in first)
    batch_of = made(damaged=(damaged,))
    assert batch_of(1).labels_n.tolist() == first
    with pytest.raises(DataError) as caught:
        [batch_of(number) for number in (2, 3)]
    message = str(caught.value)
    assert message.startswith(f"n/{damaged}.png: not an image of a format that can be read; ")
    assert "`resnets data check`" in message
    assert "\n" not in message


SHARES = [Share(part=i, parts=2, slice=i, slices=2) for i in range(2)]


def test_the_shares_of_a_batch_are_the_batch(made):
    whole, parted = made(), made()
    for number in (1, 2, 3):
        parts = [parted(number, share) for share in SHARES]
        expected = whole(number)
        assert torch.equal(torch.cat([p.images_nchw for p in parts]), expected.images_nchw)
        assert torch.equal(torch.cat([p.labels_n for p in parts]), expected.labels_n)


def test_while_a_share_is_used_the_next_is_read_and_no_other(shelf):
    many = shelf(20)
    mean_hwc = torch.zeros(8, 8, 3)
    batch_of = FileBatches(
        many.files(), mean_hwc, SMALL, seed=0, batch_images=4, device=CPU, shares=SHARES
    )
    asked = [(number, share) for number in (1, 2, 3) for share in SHARES]
    for i, (number, share) in enumerate(asked[:-1]):
        batch_of(number, share)
        for view in batch_of._ahead[asked[i + 1]].views:
            view.result()
        expected = [i for each in asked[: i + 2] for _, part in batch_of.order(*each) for i in part]
        assert sorted(many.read) == sorted(expected)
