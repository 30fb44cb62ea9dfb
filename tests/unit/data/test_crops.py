import math
from collections import Counter

import numpy as np
import pytest

from resnets.core.errors import DataError
from resnets.data import crops, preprocess
from resnets.data.crops import ResizedCrop, ResizedCut, ScaleCrop, ScaleCut

LAST = 1 - 2**-32  # the greatest of `random.uniforms`


@pytest.mark.parametrize("size", [(640, 427), (300, 500), (224, 224), (97, 4000), (12, 9)])
@pytest.mark.parametrize("shorter", [256, 333, 480])
@pytest.mark.parametrize("where", [(0, 0), (LAST, LAST), (0.5, 0.25)])
def test_a_scale_crops_box_is_what_becomes_the_crop_to_within_half_a_pixel(size, shorter, where):
    down, right = where
    box = ScaleCut(shorter, 224, down, right, flip=False).box(*size)
    wide, high = preprocess.resized(size, shorter)
    left = int(right * (wide - 224 + 1)) * size[0] / wide
    top = int(down * (high - 224 + 1)) * size[1] / high
    exact = (left, top, left + 224 * size[0] / wide, top + 224 * size[1] / high)
    assert all(abs(a - b) <= 0.5 + 1e-9 for a, b in zip(box, exact, strict=True))
    assert 0 <= box[0] < box[2] <= size[0]
    assert 0 <= box[1] < box[3] <= size[1]


def test_a_scale_crop_reaches_the_corners_of_the_image():
    assert ScaleCut(12, 8, 0, 0, flip=False).box(20, 12) == (0, 0, 8, 8)
    assert ScaleCut(12, 8, LAST, LAST, flip=False).box(20, 12) == (12, 4, 20, 12)


def cut(tries, down=0.0, right=0.0):
    return ResizedCut(tuple(tries), (3 / 4, 4 / 3), down, right, flip=False)


def test_a_resized_crops_box_has_the_area_and_the_ratio_of_the_first_try_that_fits():
    assert cut([(0.25, 1.0)]).box(200, 100) == (0, 0, 71, 71)
    assert cut([(0.25, 1.0)], LAST, LAST).box(200, 100) == (129, 29, 200, 100)
    assert cut([(1.0, 1.0), (0.9, 0.75), (0.5, 4 / 3)]).box(200, 100) == (0, 0, 115, 87)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((200, 100), (33, 0, 166, 100)),  # too long: as long as may be
        ((100, 200), (0, 33, 100, 166)),
        ((120, 100), (0, 0, 120, 100)),  # a ratio that is allowed: all of it
        ((1, 90), (0, 44, 1, 45)),
        ((90, 1), (44, 0, 45, 1)),
    ],
)
def test_where_no_try_fits_the_middle_of_the_image_is_taken(size, box):
    assert cut([(1.0, 20.0)] * 10).box(*size) == box


def chosen(augment=ScaleCrop(), seed=0, epoch=0, images=2000):  # noqa: B008 - a frozen value
    return crops.choose(augment, seed, epoch, np.arange(images))


@pytest.mark.parametrize("augment", [ScaleCrop(), ResizedCrop()])
def test_every_cut_is_a_function_of_seed_epoch_and_image(augment):
    cuts, _ = chosen(augment)
    index_n = np.array([1999, 3, 3, 0])
    again, _ = crops.choose(augment, 0, 0, index_n)
    assert again == [cuts[i] for i in index_n]
    for seed, epoch in ((1, 0), (0, 1)):
        other, _ = chosen(augment, seed=seed, epoch=epoch)
        assert not any(a == b for a, b in zip(cuts, other, strict=True))


def test_the_light_is_a_function_of_seed_epoch_and_image():
    _, light = chosen()
    index_n = np.array([1999, 3, 3, 0])
    _, again = crops.choose(ScaleCrop(), 0, 0, index_n)
    assert np.array_equal(again, light[index_n])
    for seed, epoch in ((1, 0), (0, 1)):
        _, other = chosen(seed=seed, epoch=epoch)
        assert not (light == other).any()


def assert_even_and_independent(drawn_nk):
    """Columns of numbers that are even in [0, 1): their means, deviations and correlations."""
    images, columns = drawn_nk.shape
    assert drawn_nk.mean(0) == pytest.approx(0.5, abs=6 * math.sqrt(1 / 12 / images))
    assert drawn_nk.std(0) == pytest.approx(math.sqrt(1 / 12), rel=0.03)
    among = np.corrcoef(drawn_nk.T)[~np.eye(columns, dtype=bool)]
    assert np.abs(among).max() < 6 / math.sqrt(images)


def test_scales_places_and_flips_are_spread_evenly_and_independently():
    cuts, _ = chosen(images=20_000)
    scales = Counter(cut.shorter_px for cut in cuts)
    assert (min(scales), max(scales), len(scales)) == (256, 480, 225)
    counts = np.array(list(scales.values()))
    expected = 20_000 / 225
    assert ((counts - expected) ** 2).sum() / expected < 224 + 6 * np.sqrt(448)
    drawn = np.array([[(c.shorter_px - 256) / 224, c.down, c.right] for c in cuts])
    assert_even_and_independent(drawn)
    flips = np.array([cut.flip for cut in cuts])
    assert flips.mean() == pytest.approx(0.5, abs=6 * 0.5 / np.sqrt(20_000))
    assert abs(np.corrcoef(flips, drawn[:, 0])[0, 1]) < 6 / np.sqrt(20_000)


def test_areas_logarithms_of_ratios_and_places_are_spread_evenly_and_independently():
    cuts, light = chosen(ResizedCrop(), images=20_000)
    assert light is None
    tries = np.array([cut.tries for cut in cuts])
    assert tries.shape == (20_000, 10, 2)
    areas = (tries[:, :, 0] - 0.08) / 0.92
    ratios = np.log(tries[:, :, 1] / 0.75) / np.log(16 / 9)
    for drawn in (areas, ratios):
        assert (drawn.min() >= 0, drawn.max() <= 1 + 1e-12) == (True, True)
    places = np.array([[cut.down, cut.right] for cut in cuts])
    assert_even_and_independent(np.concatenate([areas, ratios, places], axis=1))
    flips = np.array([cut.flip for cut in cuts])
    assert flips.mean() == pytest.approx(0.5, abs=6 * 0.5 / np.sqrt(20_000))


def test_boxes_of_a_photo_have_the_areas_and_ratios_that_are_asked_for():
    cuts, _ = chosen(ResizedCrop(area=(0.2, 0.5), ratio=(0.5, 2.0)), images=4000)
    boxes = np.array([cut.box(500, 375) for cut in cuts])
    wide, high = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    shares, ratios = wide * high / (500 * 375), wide / high
    assert (shares.min() > 0.198, shares.max() < 0.502) == (True, True)
    assert (ratios.min() > 0.495, ratios.max() < 2.02) == (True, True)
    assert shares.mean() == pytest.approx(0.35, abs=0.01)


def test_without_flipping_and_with_one_scale_only_the_place_is_chosen():
    cuts, light = chosen(ScaleCrop(shorter_px=(256, 256), flip=False, lighting_std=0.0))
    assert {(cut.shorter_px, cut.flip) for cut in cuts} == {(256, False)}
    assert len({(cut.down, cut.right) for cut in cuts}) == 2000
    assert light is None


def test_without_flipping_no_resized_crop_is_flipped():
    cuts, _ = chosen(ResizedCrop(flip=False))
    assert not any(cut.flip for cut in cuts)


def test_no_amount_of_the_principal_colours_adds_nothing():
    assert not crops.lighting(np.zeros((3, 3))).any()


def test_the_light_has_the_published_covariance():
    _, light = chosen(images=50_000)
    vectors = np.array(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    expected = vectors @ np.diag((0.1 * np.array([0.2175, 0.0188, 0.0045])) ** 2) @ vectors.T
    found = light.T.astype(float) @ light / len(light)
    assert light.dtype == np.float32
    assert found == pytest.approx(expected, rel=0.05, abs=6e-6)
    assert np.abs(light.mean(0)).max() < 6 * np.sqrt(expected.max() / 50_000)


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("shorter_px", (480, 256), "two lengths from 1 to 4096, the lesser first, got 480 and 256"),
        ("shorter_px", (0, 9), "two lengths from 1 to 4096"),
        ("shorter_px", (256, 4097), "two lengths from 1 to 4096"),
        ("crop_px", 257, "from 1 to 256, the least shorter_px, got 257"),
        ("crop_px", 0, "from 1 to 256"),
        ("lighting_std", -0.1, "not be negative, got -0.1"),
        ("lighting_std", float("nan"), "not be negative, got nan"),
    ],
)
def test_numbers_that_make_no_crop_are_refused_naming_the_field(field, value, accepted):
    with pytest.raises(DataError, match=rf"^data\.augment\.{field}: must (be )?{accepted}"):
        ScaleCrop(**{field: value})


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("crop_px", 0, "from 1 to 4096, got 0"),
        ("crop_px", 4097, "from 1 to 4096, got 4097"),
        ("area", (0.0, 1.0), "two shares above 0 and up to 1, the lesser first, got 0.0 and 1.0"),
        ("area", (0.5, 0.4), "two shares above 0"),
        ("area", (0.5, 1.1), "two shares above 0"),
        ("area", (float("nan"), 1.0), "two shares above 0"),
        ("ratio", (0.0, 1.0), "two ratios above 0, the lesser first, got 0.0 and 1.0"),
        ("ratio", (2.0, 1.0), "two ratios above 0"),
        ("ratio", (1.0, float("inf")), "two ratios above 0"),
    ],
)
def test_numbers_that_make_no_resized_crop_are_refused_naming_the_field(field, value, accepted):
    with pytest.raises(DataError, match=rf"^data\.augment\.{field}: must be {accepted}"):
        ResizedCrop(**{field: value})
