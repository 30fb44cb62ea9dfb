import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import preprocess
from resnets.data.preprocess import Preprocess


def noise(width, height, seed=0):
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_by_default_the_mean_and_std_are_imagenets():
    wanted = Preprocess(resize_px=256, crop_px=224)
    assert wanted.interpolation == "bilinear"
    assert wanted.mean == (0.485, 0.456, 0.406)
    assert wanted.std == (0.229, 0.224, 0.225)
    with pytest.raises(dataclasses.FrozenInstanceError):
        wanted.crop_px = 1


@pytest.mark.parametrize(
    ("resize_px", "crop_px"), [(224, 225), (32, 0), (32, -1), (0, 0), (4097, 224), (4097, 4097)]
)
def test_a_crop_that_does_not_fit_is_refused(resize_px, crop_px):
    with pytest.raises(DataError) as caught:
        Preprocess(resize_px=resize_px, crop_px=crop_px)
    assert str(caught.value) == (
        f"preprocessing: a crop of {crop_px} px from a shorter side of {resize_px} px; "
        "needs 1 <= crop <= resize <= 4096"
    )


def test_the_ends_of_what_is_accepted_are_accepted():
    for resize_px, crop_px in ((1, 1), (4096, 4096), (4096, 1)):
        Preprocess(resize_px=resize_px, crop_px=crop_px)


@pytest.mark.parametrize("bad", [0.0, -0.2, math.nan, math.inf])
@pytest.mark.parametrize("place", range(3))
def test_a_std_that_cannot_be_divided_by_is_refused(bad, place):
    std = tuple(bad if i == place else 0.2 for i in range(3))
    with pytest.raises(DataError, match=r"^preprocessing\.std: must be positive, got \("):
        Preprocess(resize_px=32, crop_px=32, std=std)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_mean_that_is_no_number_is_refused(bad):
    with pytest.raises(DataError, match=r"^preprocessing\.mean: must be finite, got \("):
        Preprocess(resize_px=32, crop_px=32, mean=(0.5, bad, 0.5))


def test_an_image_of_the_wanted_side_is_the_image():
    image = noise(32, 32)
    assert preprocess.resize(image, 32, "bicubic") is image
    wanted = Preprocess(resize_px=32, crop_px=32)
    assert np.array_equal(preprocess.central(image, wanted), np.asarray(image))
    longer = noise(47, 32)
    assert preprocess.resize(longer, 32, "bilinear") is longer


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((500, 375), (341, 256)),  # 341.33
        ((375, 500), (256, 341)),
        ((300, 299), (256, 256)),  # 256.9 is rounded down
        ((3, 2), (384, 256)),
        ((1, 100), (256, 25_600)),
    ],
)
def test_the_shorter_side_is_resized_and_the_longer_rounded_down(size, resized):
    assert preprocess.resize(Image.new("L", size), 256, "bilinear").size == resized


@pytest.mark.parametrize(
    ("size", "corner"),
    [((8, 8), (2, 2)), ((9, 8), (2, 2)), ((11, 8), (4, 2)), ((8, 13), (2, 4)), ((4, 4), (0, 0))],
)
def test_a_crop_is_central_and_half_a_pixel_goes_to_the_even_number(size, corner):
    image = noise(*size)
    left, top = corner
    found = preprocess.crop(image, 4)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.asarray(image)[top : top + 4, left : left + 4])


def test_a_crop_may_be_written_to():
    assert preprocess.crop(noise(8, 8), 4).flags.writeable


@pytest.mark.parametrize(
    ("size", "square"),
    [((96, 64), (16, 0, 80, 64)), ((64, 96), (0, 16, 64, 80)), ((16, 16), (0, 0, 16, 16))],
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_view_is_the_central_square_but_for_what_the_filter_sees_of_the_rest(
    size, square, interpolation
):
    image = noise(*size)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    expected = image.crop(square).resize((32, 32), filters[interpolation])
    wanted = Preprocess(resize_px=32, crop_px=32, interpolation=interpolation)
    found = preprocess.central(image, wanted)
    inner = slice(3, -3)
    assert np.array_equal(found[inner, inner], np.asarray(expected)[inner, inner])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (31, 33), (300, 3), (37, 1000)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_an_image_of_any_shape_gives_a_square_and_one_colour_stays_one_colour(size, interpolation):
    wanted = Preprocess(resize_px=36, crop_px=32, interpolation=interpolation)
    found = preprocess.central(Image.new("RGB", size, (10, 200, 30)), wanted)
    assert found.shape == (32, 32, 3)
    assert (found == [10, 200, 30]).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shrinking_averages_and_does_not_skip_pixels(interpolation):
    board = np.indices((128, 128)).sum(0) % 2 * 255
    image = Image.fromarray(np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8))
    wanted = Preprocess(resize_px=32, crop_px=28, interpolation=interpolation)
    found = preprocess.central(image, wanted)
    assert found.min() >= 126
    assert found.max() <= 129


def test_grey_is_the_brightness_that_pillow_has():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    levels = torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("L")).copy()).float()
    images = torch.from_numpy(pixels).float().permute(2, 0, 1)[None]
    assert preprocess.as_channels(images, 3) is images
    made = preprocess.as_channels(images, 1)
    assert made.shape == (1, 1, 9, 7)
    assert (made[0, 0] - levels).abs().max() < 1  # Pillow rounds


def test_of_a_grey_picture_it_is_the_level_normalised_by_its_own_mean_and_deviation():
    mean, std = torch.tensor(preprocess.IMAGENET_MEAN), torch.tensor(preprocess.IMAGENET_STD)
    levels = torch.linspace(0, 1, 5).view(1, 1, 1, 5)
    normal = (levels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    grey_mean, grey_std = preprocess.grey(mean, std)
    torch.testing.assert_close(preprocess.as_channels(normal, 1), (levels - grey_mean) / grey_std)
