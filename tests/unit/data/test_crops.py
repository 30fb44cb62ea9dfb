from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import crops, preprocess
from resnets.data.crops import Cut, ScaleCrop

quick = settings(deadline=None, max_examples=60)
fractions = st.floats(0, 1 - 2**-32)


def noise(width, height, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(drawn)


def weights(pixels, wanted):
    """What each of `wanted` pixels takes of each of `pixels`: a triangle over those it covers."""
    scale = pixels / wanted
    middle = (np.arange(wanted) + 0.5) * scale
    distance = np.abs(np.arange(pixels) + 0.5 - middle[:, None]) / max(scale, 1)
    made = np.clip(1 - distance, 0, None)
    return made / made.sum(axis=1, keepdims=True)


def by_hand(image, crop_px, cut):
    """Resize the whole image in real numbers, cut out a square of it, then flip."""
    width, height = preprocess.resized(image.size, cut.shorter_px)
    pixels = np.asarray(image).astype(np.float64)
    sized = np.einsum("yh,hwc,xw->yxc", weights(image.height, height), pixels,
                      weights(image.width, width), optimize=True)  # fmt: skip
    top = int(cut.down * (height - crop_px + 1))
    left = int(cut.right * (width - crop_px + 1))
    square = sized[top : top + crop_px, left : left + crop_px]
    return square[:, ::-1] if cut.flip else square


# Pillow rounds to whole levels twice, after rows and after columns: half a level each.
LEVELS = 1.05


@quick
@given(
    st.integers(9, 60),
    st.integers(9, 60),
    st.integers(8, 40),
    st.integers(1, 8),
    fractions,
    fractions,
    st.booleans(),
)
def test_a_view_is_a_square_of_the_whole_image_resized(w, h, shorter, crop, down, right, flip):
    image, cut = noise(w, h), Cut(shorter, down, right, flip)
    found = crops.view(image, crop, cut)
    assert (found.dtype, found.shape) == (np.uint8, (crop, crop, 3))
    assert np.abs(found - by_hand(image, crop, cut)).max() < LEVELS


@pytest.mark.parametrize("size", [(640, 427), (300, 500), (224, 224), (97, 4000)])
@pytest.mark.parametrize("shorter", [256, 333, 480])
@pytest.mark.parametrize("where", [(0, 0), (1 - 2**-32, 1 - 2**-32), (0.5, 0.25)])
def test_every_crop_of_the_papers_size_lies_inside_the_image(size, shorter, where):
    assert crops.view(noise(*size), 224, Cut(shorter, *where, True)).shape == (224, 224, 3)


def test_the_corners_of_the_image_are_reached_and_nothing_is_beyond_them():
    image = noise(20, 12)
    pixels = np.asarray(image)
    last = 1 - 2**-32
    for down, right, rows, columns in (
        (0, 0, slice(0, 8), slice(0, 8)),
        (last, last, slice(4, 12), slice(12, 20)),
    ):
        found = crops.view(image, 8, Cut(12, down, right, False))
        assert np.array_equal(found, pixels[rows, columns])


@quick
@given(st.integers(8, 40), fractions, fractions)
def test_flipping_twice_changes_nothing(shorter, down, right):
    image = noise(33, 21)
    plain, flipped = (crops.view(image, 8, Cut(shorter, down, right, f)) for f in (False, True))
    assert np.array_equal(flipped[:, ::-1], plain)


def chosen(augment=ScaleCrop(), seed=0, epoch=0, images=2000):  # noqa: B008 - a frozen value
    return crops.choose(augment, seed, epoch, np.arange(images))


def test_every_choice_is_a_function_of_seed_epoch_and_image():
    cuts, light = chosen()
    index_n = np.array([1999, 3, 3, 0])
    again, light_again = crops.choose(ScaleCrop(), 0, 0, index_n)
    assert again == [cuts[i] for i in index_n]
    assert np.array_equal(light_again, light[index_n])
    for seed, epoch in ((1, 0), (0, 1)):
        other, other_light = chosen(seed=seed, epoch=epoch)
        assert sum(a.shorter_px == b.shorter_px for a, b in zip(cuts, other, strict=True)) < 40
        assert not (light == other_light).any()


def test_scales_places_and_flips_are_spread_evenly_and_independently():
    cuts, _ = chosen(images=20_000)
    scales = Counter(cut.shorter_px for cut in cuts)
    assert (min(scales), max(scales), len(scales)) == (256, 480, 225)
    counts = np.array(list(scales.values()))
    expected = 20_000 / 225
    assert ((counts - expected) ** 2).sum() / expected < 224 + 6 * np.sqrt(448)
    drawn = np.array([[cut.shorter_px, cut.down, cut.right, cut.flip] for cut in cuts], float)
    assert drawn[:, 1:].mean(0) == pytest.approx(0.5, abs=6 * 0.5 / np.sqrt(20_000))
    among = np.corrcoef(drawn.T)[~np.eye(4, dtype=bool)]
    assert np.abs(among).max() < 6 / np.sqrt(20_000)


def test_without_flipping_and_with_one_scale_only_the_place_is_chosen():
    cuts, light = chosen(ScaleCrop(shorter_px=(256, 256), flip=False, lighting_std=0.0))
    assert {(cut.shorter_px, cut.flip) for cut in cuts} == {(256, False)}
    assert len({(cut.down, cut.right) for cut in cuts}) == 2000
    assert not light.any()


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
