"""Training views of full-size photos, ../shared/data, against full decoding and Pillow's resizing.

The numbers are what docs/images.md states.
"""

from pathlib import Path

import numpy as np
import pytest

from resnets.data import crops, cutting, images, jpeg, opening, preprocess
from resnets.data.crops import ResizedCrop

pytestmark = pytest.mark.real

PHOTOS = Path(__file__).parents[3] / "shared" / "data" / "imagenet-fullsize-150"


@pytest.fixture(scope="module")
def photos():
    if not (PHOTOS / "labels.csv").is_file():
        pytest.fail(f"{PHOTOS} is missing; it holds the photos of these tests")
    split = opening.open_data(PHOTOS).splits["validation"]
    return [split.read(index) for index in range(len(split))]


def compared(photos, side_px, interpolation):
    """Yield the scale of each photo's view and its levels' distances from the reference.

    Where it was decoded at a smaller scale the reference's box is the one that was rounded there.
    """
    cuts, _ = crops.choose(ResizedCrop(), 0, 0, np.arange(len(photos)))
    for content, cut in zip(photos, cuts, strict=True):
        laid = jpeg.layout(content)
        box = cut.box(laid.width, laid.height)
        pixels, inside = jpeg.decode(content, laid, box, side_px)
        scale = round(laid.width / pixels.shape[1])
        limits = (laid.width, laid.height) * 2
        rounded = tuple(min(edge * scale, most) for edge, most in zip(inside, limits, strict=True))
        whole = images.decode(content, "x").crop(rounded)
        expected = whole.resize((side_px, side_px), preprocess.FILTERS[interpolation])
        found = cutting.cut(content, "x", cut.box, side_px, interpolation)
        yield scale, np.abs(found.astype(int) - np.asarray(expected))


def test_every_photo_is_decoded_the_fast_way(photos):
    assert all(jpeg.layout(content) is not None for content in photos)


def test_views_decoded_at_full_scale_are_within_a_level_of_the_reference(photos):
    levels = [each for scale, each in compared(photos, 224, "bilinear") if scale == 1]
    assert len(levels) > 140
    assert max(each.max() for each in levels) <= 1
    assert np.mean([each.mean() for each in levels]) < 0.05


def test_bicubic_views_decoded_at_full_scale_are_as_near_but_for_where_they_overshoot(photos):
    levels = [each for scale, each in compared(photos, 224, "bicubic") if scale == 1]
    assert np.mean([each.mean() for each in levels]) < 0.05
    assert max(each.mean() for each in levels) < 0.4
    assert max(np.quantile(each, 0.99) for each in levels) <= 1
    assert max(each.max() for each in levels) < 32


@pytest.mark.parametrize("side_px", [224, 112, 64])
def test_views_decoded_at_a_smaller_scale_are_near_the_reference(photos, side_px):
    levels = [each for scale, each in compared(photos, side_px, "bilinear") if scale > 1]
    means = np.array([each.mean() for each in levels])
    assert len(levels) > 2
    assert means.mean() < 1.6
    assert means.max() < 7.5
