import numpy as np
import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import erasing
from resnets.data.erasing import RandomErasing

IMAGES = 20_000
ALWAYS = RandomErasing(probability=1.0)


def chosen(spec=ALWAYS, index_n=None, *, seed=0, epoch=0, image_px=224):
    index_n = np.arange(IMAGES) if index_n is None else np.asarray(index_n)
    return erasing.choose(spec, seed, epoch, index_n, image_px=image_px)


def sizes(boxes_n4):
    return boxes_n4[:, 2] - boxes_n4[:, 0], boxes_n4[:, 3] - boxes_n4[:, 1]


def test_every_box_is_a_function_of_seed_epoch_and_image():
    found = chosen()
    index_n = [1999, 3, 3, 0]
    assert np.array_equal(chosen(index_n=index_n), found[index_n])
    for other in (chosen(seed=1), chosen(epoch=1)):
        assert (other == found).all(1).mean() < 0.01


def test_as_many_images_are_erased_as_the_probability_says():
    height_n, _ = sizes(chosen(RandomErasing()))
    share = (height_n > 0).mean()
    assert share == pytest.approx(0.1, abs=6 * np.sqrt(0.09 / IMAGES))
    assert not chosen(RandomErasing(probability=0.0)).any()


def test_areas_and_logarithms_of_ratios_are_spread_evenly_over_their_ranges():
    height_n, width_n = sizes(chosen())
    assert height_n.min() > 0
    area_n, ratio_n = height_n * width_n / 224**2, np.log(height_n / width_n)
    deviation = 6 / np.sqrt(12 * IMAGES)
    assert area_n.mean() == pytest.approx(0.175, abs=0.31 * deviation + 0.002)
    # Not even for the largest and longest of all, which don't fit in and are drawn again.
    span = np.log(3.3) - np.log(0.3)
    assert ratio_n.mean() == pytest.approx(np.log(0.3) + span / 2, abs=span * deviation + 0.01)
    assert area_n.min() == pytest.approx(0.02, abs=3e-3)
    assert area_n.max() == pytest.approx(0.33, abs=5e-3)
    assert np.abs(ratio_n).max() < np.log(3.3) + 0.05


def test_boxes_lie_anywhere_within_the_image():
    boxes = chosen(image_px=50)
    assert boxes.min() == 0
    assert boxes.max() == 50
    height_n, _ = sizes(boxes)
    place_n = boxes[:, 0] / (50 - height_n)
    assert place_n.mean() == pytest.approx(0.5, abs=6 * place_n.std() / np.sqrt(IMAGES))


def test_what_never_fits_erases_nothing():
    tall = RandomErasing(probability=1.0, area=(0.5, 0.5), ratio=(3.0, 3.0))
    assert not chosen(tall).any()
    # Half of them fit at each of ten attempts.
    sometimes = RandomErasing(probability=1.0, area=(0.5, 0.5), ratio=(1.0, 4.0))
    height_n, _ = sizes(chosen(sometimes))
    assert (height_n == 0).mean() == pytest.approx(2**-10, abs=6 * 2**-5 / np.sqrt(IMAGES))


def test_only_what_is_in_the_box_becomes_zero_and_the_images_are_left_as_they_are():
    images = torch.ones(3, 3, 8, 6).to(memory_format=torch.channels_last)
    boxes = torch.tensor([[1, 2, 4, 3], [0, 0, 0, 0], [0, 0, 8, 6]])
    found = erasing.erase(images, boxes)
    assert images.sum() == images.numel()
    assert [(each == 0).sum().item() for each in found] == [3 * 3, 0, 3 * 48]
    assert not found[0, :, 1:4, 2:3].any()
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probability": -0.1}, "erasing.probability: must be from 0 to 1, got -0.1"),
        ({"area": (0.3, 0.2)}, "erasing.area: must be two shares from 0 to 1, the lesser first"),
        ({"area": (0.3, 1.2)}, "erasing.area: must be two shares from 0 to 1, the lesser first"),
        ({"ratio": (0.0, 1.0)}, "erasing.ratio: must be two positive numbers, the lesser first"),
        ({"ratio": (2.0, 1.0)}, "the lesser first, got 2.0 and 1.0"),
    ],
)
def test_numbers_that_make_no_box_are_refused_naming_the_field(fields, message):
    with pytest.raises(DataError, match=message):
        RandomErasing(**fields)
