import math
import re

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import preprocess
from resnets.data.preprocess import Preprocess
from resnets.evaluation import views

WANTED = Preprocess(resize_px=36, crop_px=32)


def noise(width, height, seed=0):
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


# Which views.


def test_a_single_crop_is_the_central_one():
    image = noise(60, 50)
    (found,) = views.of_image(image, WANTED, "single-crop")
    assert np.array_equal(found, preprocess.central(image, WANTED))


def test_ten_crops_are_four_corners_and_the_centre_each_before_its_flip():
    image = noise(40, 36)  # its shorter side already has 36 px
    whole = np.asarray(image)
    found = views.of_image(image, WANTED, "ten-crop")
    corners = ((0, 0), (0, 8), (4, 0), (4, 8), (2, 4))
    assert len(found) == 10
    for i, (top, left) in enumerate(corners):
        expected = whole[top : top + 32, left : left + 32]
        assert np.array_equal(found[2 * i], expected)
        assert np.array_equal(found[2 * i + 1], expected[:, ::-1])


@pytest.mark.parametrize("size", [(60, 50), (31, 77), (300, 3), (1, 1)])
def test_the_crops_of_any_image_are_of_one_size(size):
    found = views.of_image(noise(*size), WANTED, "ten-crop")
    assert {(view.shape, view.dtype) for view in found} == {((32, 32, 3), np.dtype(np.uint8))}


def test_many_scales_are_the_whole_image_at_five_sizes_each_before_its_flip():
    image = noise(64, 48)
    found = views.of_image(image, WANTED, "multi-scale")
    assert [view.shape for view in found[::2]] == [
        (side, side * 64 // 48, 3) for side in views.scales(WANTED)
    ]
    for i, side in enumerate(views.scales(WANTED)):
        whole = np.asarray(preprocess.resize(image, side, "bilinear"))
        assert np.array_equal(found[2 * i], whole)
        assert np.array_equal(found[2 * i + 1], whole[:, ::-1])


def test_the_interpolation_is_the_one_that_is_wanted():
    image = noise(64, 48)
    bicubic = Preprocess(resize_px=36, crop_px=32, interpolation="bicubic")
    for protocol in ("single-crop", "ten-crop", "multi-scale"):
        soft, sharp = (views.of_image(image, each, protocol)[0] for each in (WANTED, bicubic))
        assert soft.shape == sharp.shape
        assert not np.array_equal(soft, sharp)


def test_the_sides_are_the_papers_for_its_crop_and_in_proportion_for_others():
    # He et al. 2015, sec. 3.4: {224, 256, 384, 480, 640}
    assert views.scales(Preprocess(resize_px=256, crop_px=224)) == (224, 256, 384, 480, 640)
    assert views.scales(Preprocess(resize_px=224, crop_px=224)) == (224, 256, 384, 480, 640)
    assert views.scales(Preprocess(resize_px=288, crop_px=288)) == (288, 329, 494, 617, 823)
    assert views.scales(WANTED) == (32, 37, 55, 69, 91)


# What is said of them.


@pytest.mark.parametrize("protocol", ["single-crop", "ten-crop", "multi-scale"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_description_holds_the_protocol_and_every_number(protocol, interpolation):
    wanted = Preprocess(resize_px=235, crop_px=288 - 64, interpolation=interpolation)
    said = views.describe(wanted, protocol)
    assert said.startswith(f"{protocol}: ")
    assert interpolation in said
    assert "\n" not in said
    numbers = {int(number) for number in re.findall(r"\d+", said)}
    sides = set(views.scales(wanted)) if protocol == "multi-scale" else {235, 224}
    assert numbers == sides


def test_ten_crops_of_an_image_that_is_taken_whole_are_refused_and_nothing_else():
    whole = Preprocess(resize_px=32, crop_px=32)
    with pytest.raises(DataError) as caught:
        views.check(whole, "ten-crop")
    assert str(caught.value) == (
        "--protocol ten-crop: this network takes whole images of 32 px, so there is nothing to "
        "crop; use single-crop or multi-scale"
    )
    views.check(whole, "single-crop")
    views.check(whole, "multi-scale")
    views.check(WANTED, "ten-crop")


# What is averaged.


class Scorer:
    """Scores views by their mean colour; remembers the shapes it was given."""

    def __init__(self, classes=6):
        self.weight = torch.randn(3, classes, generator=torch.Generator().manual_seed(0))
        self.seen = []

    def __call__(self, images_nhwc):
        assert images_nhwc.dtype == torch.uint8
        self.seen.append(tuple(images_nhwc.shape))
        with torch.inference_mode():  # as a classifier does
            return (images_nhwc.float().mean((1, 2)) / 50 @ self.weight).log_softmax(1)


def by_hand(of_each):
    """The mean of softmax over an image's views, in double precision, one view at a time."""
    scorer, rows = Scorer(), []
    for of_image in of_each:
        alone = [scorer(torch.from_numpy(view.copy())[None])[0].double().exp() for view in of_image]
        rows.append(torch.stack(alone).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize("protocol", ["single-crop", "ten-crop", "multi-scale"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 10, 1000])
def test_the_score_of_an_image_is_the_mean_over_its_views_however_many_are_scored_at_once(
    protocol, at_once
):
    images = [noise(40 + 5 * i, 61 - 4 * i, i) for i in range(4)]
    of_each = [views.of_image(image, WANTED, protocol) for image in images]
    scorer = Scorer()
    found = views.log_scores(of_each, scorer, at_once)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().double(), by_hand(of_each), atol=1e-6, rtol=1e-6)
    assert max(shape[0] for shape in scorer.seen) <= at_once
    assert sum(shape[0] for shape in scorer.seen) == sum(map(len, of_each))


def test_views_of_one_size_are_scored_together_wherever_they_come_from():
    square, wide = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)
    scorer = Scorer()
    views.log_scores([[square, wide], [wide, square], [wide, wide]], scorer, 100)
    assert sorted(scorer.seen) == [(2, 8, 8, 3), (4, 8, 9, 3)]


def test_the_scores_of_a_single_view_are_left_as_they_are():
    of_each = [[np.asarray(noise(8, 8, i))] for i in range(3)]
    expected = Scorer()(torch.from_numpy(np.stack([view for (view,) in of_each])))
    assert torch.equal(views.log_scores(of_each, Scorer(), 10), expected)


def test_one_view_without_a_number_leaves_its_image_without_and_the_others_alone():
    def broken(images_nhwc):
        scores = Scorer()(images_nhwc).clone()
        scores[images_nhwc[:, 0, 0, 0] == 255] = math.nan
        return scores

    of_each = [[np.full((8, 8, 3), level, np.uint8) for level in (i, 9)] for i in (1, 255, 3)]
    found = views.log_scores(of_each, broken, 10)
    assert found.isnan().all(1).tolist() == [False, True, False]
    assert not found[[0, 2]].isnan().any()


def test_the_mean_of_logarithms_is_the_logarithm_of_the_mean():
    logs = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    for dim in range(3):
        found = views.log_mean(logs, dim)
        torch.testing.assert_close(found, logs.exp().mean(dim).log())
    assert torch.equal(views.log_mean(logs[:, :1], 1), logs[:, 0])


def test_the_mean_keeps_scores_apart_that_are_too_small_for_their_exponentials():
    logs = torch.tensor([[-300.0, -301.0], [-300.0, -301.0]])
    assert views.log_mean(logs, 0).tolist() == pytest.approx([-300, -301])
    nothing = torch.full((2, 1), -math.inf)
    assert views.log_mean(nothing, 0).tolist() == [-math.inf]
