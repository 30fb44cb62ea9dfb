"""Random resized crops against torchvision's: the same law, and the same pixels of the same box."""

import numpy as np
import pytest
import torch
from torchvision import transforms
from torchvision.transforms import InterpolationMode, functional

from resnets.data import crops, cutting, images
from resnets.data.crops import ResizedCrop
from samples import photo, saved

DRAWN = 3000
BOXES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def theirs(size, area, ratio):
    """Left, top, width, height as torchvision draws them."""
    width, height = size
    image = torch.empty(3, height, width, device="meta")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [
            transforms.RandomResizedCrop.get_params(image, list(area), list(ratio))
            for _ in range(DRAWN)
        ]
    return np.array([(left, top, wide, high) for top, left, high, wide in drawn])


def ours(size, area, ratio):
    cuts, _ = crops.choose(ResizedCrop(area=area, ratio=ratio), 0, 0, np.arange(DRAWN))
    boxes = np.array([cut.box(*size) for cut in cuts])
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def distance(a, b):
    """Return the greatest distance of two samples' distributions: Kolmogorov and Smirnov's."""
    at = np.union1d(a, b)
    below = [np.searchsorted(np.sort(each), at, side="right") / len(each) for each in (a, b)]
    return np.abs(below[0] - below[1]).max()


@pytest.mark.parametrize("size", [(500, 375), (333, 500), (224, 224), (640, 200), (30, 41)])
@pytest.mark.parametrize("area", [(0.08, 1.0), (0.35, 1.0)])
def test_boxes_have_the_law_of_torchvisions(size, area):
    ratio = (3 / 4, 4 / 3)
    found, expected = ours(size, area, ratio), theirs(size, area, ratio)
    # So far apart are two samples of one law once in 10,000 times.
    most = np.sqrt(-np.log(1e-4 / 2) / 2) * np.sqrt(2 / DRAWN)
    for column in range(4):
        assert distance(found[:, column], expected[:, column]) < most
    assert distance(found[:, 2] * found[:, 3], expected[:, 2] * expected[:, 3]) < most
    assert distance(found[:, 2] / found[:, 3], expected[:, 2] / expected[:, 3]) < most


@pytest.mark.parametrize("size", [(4000, 50), (50, 4000), (600, 7), (3, 290), (1, 1), (2, 100)])
def test_where_nothing_fits_the_box_is_torchvisions(size):
    area, ratio = (0.9, 1.0), (3 / 4, 4 / 3)
    (box,) = {tuple(box) for box in theirs(size, area, ratio).tolist()}
    assert {tuple(found) for found in ours(size, area, ratio).tolist()} == {box}


@pytest.mark.parametrize("interpolation", BOXES)
def test_pixels_are_those_of_torchvisions_transform_to_a_level_or_two(interpolation):
    content = saved(photo(300, 220), subsampling=2)
    for left, top, right, bottom in ((3, 5, 290, 217), (100, 20, 180, 200), (0, 0, 300, 220)):
        expected = functional.resized_crop(
            images.decode(content, "x"),
            top,
            left,
            bottom - top,
            right - left,
            [160, 160],
            BOXES[interpolation],
        )
        box = (left, top, right, bottom)
        found = cutting.cut(content, "x", lambda w, h, box=box: box, 160, interpolation)
        levels = np.abs(found.astype(int) - np.asarray(expected))
        assert levels.mean() < 0.35
        assert levels.max() <= (1 if interpolation == "bilinear" else 2)
