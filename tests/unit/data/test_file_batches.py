import gc
import os
import threading

import numpy as np
import pytest
import torch

from resnets.core.division import WHOLE
from resnets.core.errors import DataError
from resnets.data import crops, cutting, file_batches, preprocess
from resnets.data.crops import ResizedCrop, ScaleCrop
from resnets.data.file_batches import FileBatches
from resnets.data.files import ImageFiles
from samples import photo, saved

CPU = torch.device("cpu")
SMALL = ScaleCrop(shorter_px=(10, 16), crop_px=8)
RESIZED = ResizedCrop(crop_px=8)
MEAN, STD = torch.tensor(preprocess.IMAGENET_MEAN), preprocess.IMAGENET_STD


@pytest.fixture
def made(shelf):
    def make(*, mean_hwc=None, damaged=(), augment=SMALL, batch_images=4, seed=0, **options):
        mean = torch.full((8, 8, 3), 0.25) if mean_hwc is None else mean_hwc
        return FileBatches(
            shelf(10, damaged).files(),
            mean,
            augment,
            seed=seed,
            batch_images=batch_images,
            device=CPU,
            **options,
        )

    return make


@pytest.mark.parametrize(
    ("augment", "mean_hwc", "std"),
    [
        (SMALL, torch.rand((8, 8, 3), generator=torch.Generator().manual_seed(0)), (1, 1, 1)),
        (SMALL, MEAN, STD),
        (RESIZED, MEAN, STD),
        (ResizedCrop(crop_px=9, interpolation="bicubic"), MEAN, STD),
    ],
)
def test_a_batch_is_what_cutting_lighting_and_scaling_image_by_image_gives(
    made, augment, mean_hwc, std
):
    batch_of = made(mean_hwc=mean_hwc, augment=augment, std=std)
    for number in (1, 2, 3):  # the third holds the end of one epoch and the beginning of the next
        batch = batch_of(number)
        at = 0
        for epoch, index_n in batch_of.order(number):
            cuts, light_n3 = crops.choose(augment, 0, epoch, index_n)
            light_n3 = np.zeros((len(index_n), 3)) if light_n3 is None else light_n3
            for index, cut, light in zip(index_n.tolist(), cuts, light_n3, strict=True):
                content = batch_of.files.read(index)
                pixels = cutting.cut(
                    content, "x", cut.box, augment.crop_px, augment.interpolation
                ).astype(np.float64)
                pixels = pixels[:, ::-1] if cut.flip else pixels
                expected = (pixels / 255 - mean_hwc.numpy() + light) / np.array(std)
                # Values are below 5: some roundings to float32.
                found = batch.images_nchw[at].double().numpy().transpose(1, 2, 0)
                assert np.abs(found - expected).max() < 2**-19
                assert int(batch.labels_n[at]) == index
                at += 1
        assert at == 4


def test_a_batch_is_float32_in_channels_last_memory(made):
    batch = made()(1)
    assert batch.images_nchw.shape == (4, 3, 8, 8)
    assert batch.images_nchw.dtype == torch.float32
    assert batch.images_nchw.is_contiguous(memory_format=torch.channels_last)
    assert batch.labels_n.dtype == torch.int64


def test_what_is_read_is_the_batch_before_it_is_flipped_and_scaled(made):
    augment = ResizedCrop(crop_px=8, flip=False)
    pixels_nhwc = made(augment=augment).read(2)
    batch = made(augment=augment, mean_hwc=torch.zeros(3))(2)
    assert pixels_nhwc.dtype == torch.uint8
    assert torch.allclose(batch.images_nchw, pixels_nhwc.permute(0, 3, 1, 2) / 255, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10, 25])
def test_every_image_comes_once_an_epoch_though_batches_straddle_epochs(made, size):
    batch_of = made(batch_images=size)
    seen = torch.cat([batch_of(n).labels_n for n in range(1, -(-30 // size) + 1)]).tolist()
    for epoch in range(3):
        assert sorted(seen[10 * epoch : 10 * epoch + 10]) == list(range(10))


def equal(a, b):
    return torch.equal(a.images_nchw, b.images_nchw) and torch.equal(a.labels_n, b.labels_n)


@pytest.mark.parametrize("augment", [SMALL, RESIZED])
def test_a_batch_depends_on_its_number_and_the_seed_and_not_on_what_was_asked_before(made, augment):
    asked = made(augment=augment)
    for number in (40, 3, 4, 1, 1, 2, 8):
        assert equal(asked(number), made(augment=augment)(number))
    assert not equal(made(augment=augment, seed=1)(1), asked(1))


@pytest.mark.parametrize("augment", [SMALL, RESIZED])
def test_the_number_of_threads_changes_nothing(made, augment):
    several = [made(augment=augment, batch_images=25, workers=workers) for workers in (1, 2, 7)]
    for number in (1, 2, 3):
        first, *others = [batch_of(number) for batch_of in several]
        assert all(equal(first, other) for other in others)


def test_as_many_threads_read_as_are_asked_for(shelf):
    many = shelf(28)
    files, seen, meeting = many.files(), set(), threading.Barrier(3, timeout=10)

    def read(index):
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            meeting.wait()  # passes only once three threads are here
        return many.contents[index]

    watched = ImageFiles(files.names, files.labels_n, read)
    FileBatches(watched, MEAN, SMALL, seed=0, batch_images=28, device=CPU, workers=3)(1)
    assert len(seen) == 3
    assert threading.get_ident() not in seen


def test_unless_said_otherwise_there_are_as_many_threads_as_processors_allowed():
    if hasattr(os, "sched_getaffinity"):
        assert file_batches.processors() == len(os.sched_getaffinity(0))
    else:
        assert file_batches.processors() == os.cpu_count()


def test_how_images_are_cut_into_batches_changes_no_pixel(made):
    one, other = made(batch_images=4), made(batch_images=6)
    by_4 = torch.cat([one(n).images_nchw for n in (1, 2, 3)])
    by_6 = torch.cat([other(n).images_nchw for n in (1, 2)])
    assert torch.equal(by_4, by_6)


def test_while_a_batch_is_used_the_next_three_are_read_and_no_others(shelf):
    many = shelf(20)
    batch_of = FileBatches(many.files(), MEAN, SMALL, seed=0, batch_images=4, device=CPU)
    for number in (1, 2, 3):
        batch_of(number)
        for view in batch_of._ahead[number + 1, WHOLE].views:
            view.result()
        expected = [i for n in range(1, number + 2) for _, part in batch_of.order(n) for i in part]
        assert sorted(many.read) == sorted(expected)


def test_the_next_good_image_stands_in_for_a_bad_one_with_its_own_label_cut_as_the_bad_one(made):
    whole, spoilt = made(), made(damaged=(3, 4))
    for number in (1, 2, 3):
        expected, batch = whole(number), spoilt(number)
        wanted = expected.labels_n.tolist()
        assert batch.labels_n.tolist() == [5 if i in (3, 4) else i for i in wanted]
        chosen = [(e, i) for e, part in spoilt.order(number) for i in part.tolist()]
        for at, (epoch, index) in enumerate(chosen):
            if index not in (3, 4):
                assert torch.equal(batch.images_nchw[at], expected.images_nchw[at])
                continue
            cuts, light_n3 = crops.choose(SMALL, 0, epoch, np.array([index]))
            pixels = crops.view(spoilt.files.image(5), 8, cuts[0]).astype(np.float64)
            stood_in = (pixels / 255 - 0.25 + light_n3[0]).transpose(2, 0, 1)
            found = batch.images_nchw[at].double().numpy()
            assert np.abs(found - stood_in).max() < 2**-21
    assert spoilt.aside.report().images == 2


def test_with_bad_images_too_a_batch_depends_on_its_number_alone(made):
    asked = made(damaged=(0, 7, 8))
    for number in (40, 3, 4, 1, 1, 2, 8):
        assert equal(asked(number), made(damaged=(0, 7, 8))(number))


def test_where_no_image_is_good_the_message_names_the_first_and_what_to_do(made):
    batch_of.wait()
    expected = [i for n in range(1, number + 4) for _, part in batch_of.order(n) for i in part]
    assert sorted(many.read) == sorted(expected)


def test_a_batch_that_is_kept_is_not_overwritten_and_one_that_is_not_gives_its_memory_back(made):
    batch_of = made()
    kept = batch_of(1)
    view, copy = kept.images_nchw[2:], kept.images_nchw.clone()
    del kept
    gc.collect()
    places = set()
    for number in range(2, 12):
        places.add(batch_of(number).images_nchw.data_ptr())
    assert len(places) <= 2
    assert torch.equal(view, copy[2:])


def test_large_photos_and_small_ones_share_a_batch():
    contents = [saved(photo(700, 500)), saved(photo(9, 7)), saved(photo(60, 80), "PNG")]
    files = ImageFiles(("a", "b", "c"), torch.arange(3), lambda i: contents[i])
    batch = FileBatches(files, MEAN, RESIZED, seed=0, batch_images=3, device=CPU, std=STD)(1)
    assert sorted(batch.labels_n.tolist()) == [0, 1, 2]
    assert torch.isfinite(batch.images_nchw).all()


def test_an_image_that_cannot_be_decoded_stops_at_its_batch_and_says_its_name(made):
    first = made()(1).labels_n.tolist()
    damaged = next(i for i in range(10) if i not in first)
    batch_of = made(damaged=(damaged,))
    assert batch_of(1).labels_n.tolist() == first
    with pytest.raises(DataError) as caught:
        made(damaged=range(10))(1)
    message = str(caught.value)
    assert message.startswith("none of 10 training images can be read; 10 of 10 training images")
    assert "n/0.png: not an image of a format that can be read" in message
    assert "`resnets data check`" in message
    assert "\n" not in message


@pytest.mark.parametrize("workers", [1, 4])
def test_of_several_that_cannot_be_decoded_the_first_of_the_batch_is_named(made, workers):
    order = made(batch_images=40)(1).labels_n.tolist()
    damaged = order[9], order[3]
    with pytest.raises(DataError, match=rf"^n/{order[3]}\.png: "):
        made(batch_images=40, damaged=damaged, workers=workers)(1)
