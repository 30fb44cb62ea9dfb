"""What a network is shown, against torchvision on Pillow images: the same pixels, bit for bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from resnets.data import preprocess
from resnets.data.preprocess import Preprocess
from resnets.evaluation import views

NOISE = np.random.default_rng(0).integers(0, 256, (301, 301, 3), dtype=np.uint8)
sides = st.integers(1, 301)
interpolations = st.sampled_from(["bilinear", "bicubic"])


def judged(resize_px, interpolation, crop):
    return transforms.Compose(
        [
            transforms.Resize(resize_px, InterpolationMode(interpolation), antialias=True),
            crop,
        ]
    )


@st.composite
def cases(draw):
    """An image of any shape up to 20 to 1, and how it is wanted."""
    width, height = draw(sides), draw(sides)
    if max(width, height) > 20 * min(width, height):
        width, height = max(width, 20), max(height, 20)
    resize_px = draw(st.integers(1, 90))
    wanted = Preprocess(
        resize_px=resize_px,
        crop_px=draw(st.integers(1, resize_px)),
        interpolation=draw(interpolations),
    )
    return Image.fromarray(NOISE[:height, :width]), wanted


@given(cases())
def test_the_central_view_is_that_of_resize_and_center_crop(case):
    image, wanted = case
    judge = judged(wanted.resize_px, wanted.interpolation, transforms.CenterCrop(wanted.crop_px))
    assert np.array_equal(preprocess.central(image, wanted), np.asarray(judge(image)))


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 700))
def test_an_image_is_resized_to_the_size_torchvision_says(width, height, side_px):
    size = transforms.functional._compute_resized_output_size((height, width), [side_px])

    class Sized:  # resizing for real would take gigabytes
        def resize(self, to, _):
            return to

    image = Sized()
    image.size, image.width, image.height = (width, height), width, height
    found = preprocess.resize(image, side_px, "bilinear")
    assert (found.size if found is image else found) == tuple(reversed(size))


@pytest.mark.parametrize(("resize_px", "crop_px"), [(256, 224), (232, 224), (235, 224)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(500, 375), (333, 499), (224, 256), (120, 91)])
def test_at_the_sizes_in_use_the_central_view_is_that_of_the_judge(
    resize_px, crop_px, interpolation, size
):
    draw = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(draw)
    wanted = Preprocess(resize_px=resize_px, crop_px=crop_px, interpolation=interpolation)
    judge = judged(resize_px, interpolation, transforms.CenterCrop(crop_px))
    assert np.array_equal(preprocess.central(image, wanted), np.asarray(judge(image)))


# torchvision crops the flipped image: its left corner is the flip of our right one.
THEIRS = (0, 6, 1, 5, 2, 8, 3, 7, 4, 9)  # where theirs has each of ours


@given(cases())
def test_the_ten_crops_are_those_of_torchvision(case):
    image, wanted = case
    crop = transforms.TenCrop(wanted.crop_px)
    judge = [
        np.asarray(view) for view in judged(wanted.resize_px, wanted.interpolation, crop)(image)
    ]
    found = views.of_image(image, wanted, "ten-crop")
    assert len(found) == len(judge) == 10
    resized = preprocess.resize(image, wanted.resize_px, wanted.interpolation)
    # An odd margin cannot be halved, and the centre of a flipped image is then one pixel off the
    # flip of the centre, which is what the paper's words and ours are.
    alike = 9 if (resized.width - wanted.crop_px) % 2 else 10
    for view, place in list(zip(found, THEIRS, strict=True))[:alike]:
        assert np.array_equal(view, judge[place])
    assert np.array_equal(found[9], found[8][:, ::-1])
