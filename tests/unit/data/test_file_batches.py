import gc
import os
import threading

import numpy as np
import pytest
import torch

from resnets.core.division import WHOLE, Share
from resnets.core.errors import DataError
from resnets.data import crops, cutting, erasing, file_batches, mixing, operations, policies
from resnets.data.crops import ResizedCrop, ScaleCrop
from resnets.data.erasing import RandomErasing
from resnets.data.file_batches import Augmentation, FileBatches
from resnets.data.files import ImageFiles
from resnets.data.mixing import Mixing
from resnets.data.order import Order
from resnets.data.policies import RandAugment, TrivialAugment
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from samples import photo, saved

CPU = torch.device("cpu")
MEAN, STD = torch.tensor(IMAGENET_MEAN).view(1, 1, 3), IMAGENET_STD
MEAN_IMAGE = torch.rand((8, 8, 3), generator=torch.Generator().manual_seed(0))
SCALED = Augmentation(ScaleCrop(shorter_px=(10, 16), crop_px=8))
RESIZED = Augmentation(ResizedCrop(crop_px=8))
CHANGED = Augmentation(ResizedCrop(crop_px=8), policy=TrivialAugment())
ERASED = Augmentation(SCALED.cut, erasing=RandomErasing(probability=0.7, area=(0.1, 0.4)))
ALL = Augmentation(
    ResizedCrop(crop_px=9, interpolation="bicubic"),  # whose rows end between a CPU's vectors
    RandAugment(magnitude=9.0, probability=1.0),
    RandomErasing(probability=0.7),
    Mixing(),
    repeats=2,
)
KINDS = {"scaled": SCALED, "resized": RESIZED, "changed": CHANGED, "erased": ERASED, "all": ALL}


@pytest.fixture
def made(shelf):
    def make(augmentation=SCALED, *, mean_hwc=MEAN, damaged=(), batch_images=4, seed=0, **options):
        return FileBatches(
            shelf(10, damaged).files(),
            mean_hwc,
            augmentation,
            seed=seed,
            batch_images=batch_images,
            device=CPU,
            **options,
        )

    return make


def views(batch_of, number, share=WHOLE, *, before=False):
    """What a batch holds, one after the other: epochs and views."""
    spans = batch_of.order(number, share, before=before)
    return [(epoch, view) for epoch, view_n in spans for view in view_n.tolist()]


def image_by_image(batch_of, epoch, view, mean_hwc, std, *, read=None):
    """One view made alone, in float64, but for mixing: (3, side, side)."""
    done, side_px = batch_of.augmentation, batch_of.side_px
    index_n = np.array([view])
    (cut,), light_n3 = crops.choose(done.cut, 0, epoch, index_n)
    content = batch_of.aside.files.read(view % 10 if read is None else read)
    pixels = cutting.cut(content, "x", cut.box, side_px, done.cut.interpolation)
    pixels = pixels[:, ::-1] if cut.flip else pixels
    if done.policy is not None:
        (chosen,) = policies.choose(done.policy, 0, epoch, index_n, image_px=side_px)
        pixels = operations.apply(pixels, chosen)
    light = 0 if light_n3 is None else light_n3[0]
    image = ((pixels / 255.0 - mean_hwc.numpy() + light) / np.array(std)).transpose(2, 0, 1)
    if done.erasing is not None:
        (box,) = erasing.choose(done.erasing, 0, epoch, index_n, image_px=side_px)
        image[:, box[0] : box[2], box[1] : box[3]] = 0
    return image


def equal(a, b):
    mixed = (a.mix is None) == (b.mix is None)
    if mixed and a.mix is not None:
        mixed = torch.equal(a.mix.partner_labels_n, b.mix.partner_labels_n)
        mixed &= a.mix.share == b.mix.share
    pixels = torch.equal(a.images_nchw, b.images_nchw)
    return mixed and pixels and torch.equal(a.labels_n, b.labels_n)


@pytest.mark.parametrize("std", [(1, 1, 1), STD])
@pytest.mark.parametrize("mean_hwc", [MEAN_IMAGE, MEAN])
@pytest.mark.parametrize("kind", ["scaled", "resized", "changed", "erased"])
def test_a_batch_is_what_cutting_changing_scaling_and_erasing_image_by_image_gives(
    made, kind, mean_hwc, std
):
    batch_of = made(KINDS[kind], mean_hwc=mean_hwc, std=std)
    for number in (1, 2, 3):  # the third holds the end of one epoch and the beginning of the next
        batch, expected = batch_of(number), views(batch_of, number)
        assert batch.mix is None
        assert batch.labels_n.tolist() == [view for _, view in expected]
        for found, (epoch, view) in zip(batch.images_nchw, expected, strict=True):
            image = image_by_image(batch_of, epoch, view, mean_hwc, std)
            # Values are below 5: some roundings to float32.
            assert np.abs(found.double().numpy() - image).max() < 2**-19


def test_a_policy_sees_what_is_flipped_and_changes_some_images(made):
    plain, changed = made(RESIZED), made(CHANGED)
    flips, same = set(), set()
    for number in range(1, 6):
        one, other = plain(number), changed(number)
        for at, (epoch, view) in enumerate(views(plain, number)):
            (cut,), _ = crops.choose(RESIZED.cut, 0, epoch, np.array([view]))
            flips.add(cut.flip)
            same.add(torch.equal(one.images_nchw[at], other.images_nchw[at]))
    assert flips == same == {True, False}


def test_what_is_erased_is_zero_once_the_image_is_normalised_and_lit(made):
    zeros = []
    for number in range(1, 6):
        erased, whole = (made(each, std=STD)(number).images_nchw for each in (ERASED, SCALED))
        gone = (erased == 0).all(dim=1)
        assert torch.equal(erased, whole.masked_fill(gone[:, None], 0))
        zeros += gone.flatten(1).sum(dim=1).tolist()
    assert min(zeros) == 0
    assert max(zeros) >= 6  # of 64 pixels


def test_a_batch_is_float32_in_channels_last_memory(made):
    for augmentation in KINDS.values():
        batch = made(augmentation)(1)
        side_px = augmentation.cut.crop_px
        assert batch.images_nchw.shape == (4, 3, side_px, side_px)
        assert batch.images_nchw.dtype == torch.float32
        assert batch.images_nchw.is_contiguous(memory_format=torch.channels_last)
        assert batch.labels_n.dtype == torch.int64


def test_what_is_read_is_the_batch_before_it_is_flipped_and_scaled(made):
    augmentation = Augmentation(ResizedCrop(crop_px=8, flip=False))
    pixels_nhwc = made(augmentation).read(2)
    batch = made(augmentation, mean_hwc=torch.zeros(1, 1, 3))(2)
    assert pixels_nhwc.dtype == torch.uint8
    assert torch.allclose(batch.images_nchw, pixels_nhwc.permute(0, 3, 1, 2) / 255, atol=1e-6)


@pytest.mark.parametrize("size", [1, 3, 10, 25])
def test_every_image_comes_once_an_epoch_though_batches_straddle_epochs(made, size):
    batch_of = made(batch_images=size)
    seen = torch.cat([batch_of(n).labels_n for n in range(1, -(-30 // size) + 1)]).tolist()
    for epoch in range(3):
        assert sorted(seen[10 * epoch : 10 * epoch + 10]) == list(range(10))


def test_with_repeats_an_image_comes_so_often_in_a_row_and_each_time_as_another_view(made):
    batch_of = made(Augmentation(RESIZED.cut, repeats=2), std=STD)
    for number in (1, 2, 3):
        batch, expected = batch_of(number), views(batch_of, number)
        assert expected == [
            (epoch, view)
            for epoch, view_n in Order(10, 4, 0, repeats=2)(number)
            for view in view_n.tolist()
        ]
        assert batch.labels_n.tolist() == [view % 10 for _, view in expected]
        for found, (epoch, view) in zip(batch.images_nchw, expected, strict=True):
            image = image_by_image(batch_of, epoch, view, MEAN, STD)
            assert np.abs(found.double().numpy() - image).max() < 2**-19
    first = batch_of(1)
    assert torch.equal(first.labels_n[:2], first.labels_n[2:])
    assert not any(map(torch.equal, first.images_nchw[:2], first.images_nchw[2:]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_depends_on_its_number_and_the_seed_and_not_on_what_was_asked_before(made, kind):
    asked = made(KINDS[kind])
    for number in (40, 3, 4, 1, 1, 2, 8):
        assert equal(asked(number), made(KINDS[kind])(number))
    assert not equal(made(KINDS[kind], seed=1)(1), asked(1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_threads_changes_nothing(made, kind):
    several = [made(KINDS[kind], batch_images=26, workers=workers) for workers in (1, 2, 7)]
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
    FileBatches(watched, MEAN, SCALED, seed=0, batch_images=28, device=CPU, workers=3)(1)
    assert len(seen) == 3
    assert threading.get_ident() not in seen


def test_unless_said_otherwise_there_are_as_many_threads_as_processors_allowed():
    if hasattr(os, "sched_getaffinity"):
        assert file_batches.processors() == len(os.sched_getaffinity(0))
    else:
        assert file_batches.processors() == os.cpu_count()


@pytest.mark.parametrize("kind", ["scaled", "resized", "changed", "erased"])
def test_how_images_are_cut_into_batches_changes_no_pixel(made, kind):
    one, other = made(KINDS[kind], batch_images=4), made(KINDS[kind], batch_images=6)
    by_4 = torch.cat([one(n).images_nchw for n in (1, 2, 3)])
    by_6 = torch.cat([other(n).images_nchw for n in (1, 2)])
    assert torch.equal(by_4, by_6)


def halves(parts, slices):
    """The shares of a batch in so many parts and slices, in order."""
    each = slices // parts
    return [Share(part=i // each, parts=parts, slice=i, slices=slices) for i in range(slices)]


@pytest.mark.parametrize("kind", ["scaled", "resized", "changed", "erased"])
def test_the_shares_of_a_batch_are_the_batch(made, kind):
    whole, parted = made(KINDS[kind]), made(KINDS[kind], shares=halves(2, 2))
    for number in (1, 2, 3):
        shares = [parted(number, share) for share in halves(2, 2)]
        expected = whole(number)
        assert torch.equal(torch.cat([p.images_nchw for p in shares]), expected.images_nchw)
        assert torch.equal(torch.cat([p.labels_n for p in shares]), expected.labels_n)


def test_the_images_of_a_part_are_mixed_with_the_one_before_each_and_in_one_way(made):
    how = Mixing(mixup_alpha=0.5, cutmix_alpha=0.5)
    plain, mixed = (
        made(RESIZED, batch_images=8),
        made(Augmentation(RESIZED.cut, mixing=how), batch_images=8, shares=halves(2, 2)),
    )
    kinds, chosen_shares = set(), set()
    for number in range(1, 9):
        for share in halves(2, 2):
            alone, batch = plain(number, share), mixed(number, share)
            chosen = mixing.choose(how, 0, number, share.part, image_px=8)
            before = [3, 0, 1, 2]
            assert torch.equal(batch.labels_n, alone.labels_n)
            assert torch.equal(batch.mix.partner_labels_n, alone.labels_n[before])
            assert batch.mix.share == chosen.share
            own, partner = alone.images_nchw, alone.images_nchw[before]
            if chosen.box is None:
                expected = chosen.share * own + (1 - chosen.share) * partner
            else:
                top, left, bottom, right = chosen.box
                expected = own.clone()
                expected[..., top:bottom, left:right] = partner[..., top:bottom, left:right]
            assert (batch.images_nchw - expected).abs().max() < 2**-20
            kinds.add(chosen.box is None)
            chosen_shares.add(chosen.share)
    assert kinds == {True, False}
    assert len(chosen_shares) == 16  # another for every part


@pytest.mark.parametrize("damaged", [(), (3, 4)])
@pytest.mark.parametrize("together", [2, 4])
@pytest.mark.parametrize("parts", [1, 2])
def test_processes_that_share_a_part_have_the_bits_of_one_that_has_it_alone(
    made, parts, together, damaged
):
    for augmentation in (ALL, Augmentation(SCALED.cut, erasing=ERASED.erasing, mixing=Mixing())):
        alone = made(augmentation, batch_images=16, damaged=damaged, shares=halves(parts, parts))
        slices = halves(parts, parts * together)
        processes = [
            made(augmentation, batch_images=16, damaged=damaged, shares=[share]) for share in slices
        ]
        for number in (1, 2, 3):
            expected = [alone(number, share) for share in halves(parts, parts)]
            found = [own(number, share) for own, share in zip(processes, slices, strict=True)]
            assert {len(batch.labels_n) for batch in found} == {16 // len(slices)}
            for of in (
                lambda batch: batch.images_nchw,
                lambda batch: batch.labels_n,
                lambda batch: batch.mix.partner_labels_n,
                lambda batch: torch.full((len(batch.labels_n),), batch.mix.share),
            ):
                assert torch.equal(torch.cat([*map(of, found)]), torch.cat([*map(of, expected)]))


def test_while_a_batch_is_used_the_next_three_are_read_and_no_others(shelf):
    many = shelf(20)
    batch_of = FileBatches(many.files(), MEAN, SCALED, seed=0, batch_images=4, device=CPU)
    for number in (1, 2, 3):
        batch_of(number)
        batch_of.wait()
        expected = [view for n in range(1, number + 4) for _, view in views(batch_of, n)]
        assert sorted(many.read) == sorted(expected)


def test_while_a_share_is_used_the_next_three_are_read_and_no_others(shelf):
    many, shares = shelf(20), halves(4, 4)[1:3]  # of a process that has two of four
    batch_of = FileBatches(
        many.files(), MEAN, SCALED, seed=0, batch_images=8, device=CPU, shares=shares
    )
    asked = [(number, share) for number in range(1, 5) for share in shares]
    for i, each in enumerate(asked[:-3]):
        batch_of(*each)
        batch_of.wait()
        expected = [view for one in asked[: i + 4] for _, view in views(batch_of, *one)]
        assert sorted(many.read) == sorted(expected)


def test_a_slice_reads_beside_its_own_images_the_one_that_is_mixed_in(shelf):
    many, share = shelf(20), halves(1, 4)[1]
    batch_of = FileBatches(
        many.files(),
        MEAN,
        Augmentation(SCALED.cut, mixing=Mixing()),
        seed=0,
        batch_images=16,
        device=CPU,
        shares=[share],
    )
    batch_of(1, share)
    batch_of.wait()
    expected = [view for n in range(1, 5) for _, view in views(batch_of, n, share, before=True)]
    assert len(expected) == 4 * (16 // 4 + 1)
    assert sorted(many.read) == sorted(expected)


@pytest.mark.parametrize("augmentation", [SCALED, CHANGED, Augmentation(CHANGED.cut, repeats=3)])
def test_the_next_good_image_stands_in_for_a_bad_one_with_its_own_label_treated_as_the_bad_one(
    made, augmentation
):
    whole, spoilt = made(augmentation), made(augmentation, damaged=(3, 4))
    passed_over = set()
    for number in range(1, 6):
        expected, batch = whole(number), spoilt(number)
        wanted = expected.labels_n.tolist()
        assert batch.labels_n.tolist() == [5 if i in (3, 4) else i for i in wanted]
        for at, (epoch, view) in enumerate(views(spoilt, number)):
            if view % 10 not in (3, 4):
                assert torch.equal(batch.images_nchw[at], expected.images_nchw[at])
                continue
            stood_in = image_by_image(spoilt, epoch, view, MEAN, (1, 1, 1), read=5)
            found = batch.images_nchw[at].double().numpy()
            assert np.abs(found - stood_in).max() < 2**-20
            passed_over |= set(range(view % 10, 5))
    assert spoilt.aside.found().keys() == passed_over
    assert passed_over


def test_what_could_not_be_read_is_counted_when_its_batch_is_used_and_not_when_it_is_read(made):
    bad, used = {0, 3, 5, 8}, set()
    batch_of = made(damaged=bad, batch_images=2)
    for number in range(1, 6):
        batch_of(number)
        batch_of.wait()
        used |= {view for _, view in views(batch_of, number)}
        assert batch_of.aside.found().keys() == bad & used
    assert batch_of.aside.found().keys() == bad


@pytest.mark.parametrize("kind", KINDS)
def test_with_bad_images_too_a_batch_depends_on_its_number_alone(made, kind):
    asked = made(KINDS[kind], damaged=(0, 7, 8))
    for number in (40, 3, 4, 1, 1, 2, 8):
        assert equal(asked(number), made(KINDS[kind], damaged=(0, 7, 8))(number))


def test_a_stand_in_is_mixed_under_its_own_label(made):
    augmentation = Augmentation(RESIZED.cut, mixing=Mixing())
    batch = made(augmentation, batch_images=10, damaged=(3, 4))(1)
    assert sorted(batch.labels_n.tolist()) == [0, 1, 2, 5, 5, 5, 6, 7, 8, 9]
    assert torch.equal(batch.mix.partner_labels_n, batch.labels_n.roll(1))


@pytest.mark.parametrize("workers", [1, 4])
def test_where_no_image_is_good_the_message_names_the_first_and_what_to_do(made, workers):
    with pytest.raises(DataError) as caught:
        made(damaged=range(10), workers=workers)(1)
    message = str(caught.value)
    assert message.startswith("none of 10 training images can be read; 10 of 10 training images")
    assert "n/0.png: not an image of a format that can be read" in message
    assert "`resnets data check`" in message
    assert "\n" not in message


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
