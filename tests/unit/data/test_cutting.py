import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from resnets.core.errors import ImageError
from resnets.data import cutting, images, jpeg, preprocess
from samples import photo, saved


def by_pillow(content, box, side_px, interpolation="bilinear"):
    image = images.decode(content, "x").crop(box)
    return np.asarray(image.resize((side_px, side_px), preprocess.FILTERS[interpolation]))


def cut(content, box, side_px, interpolation="bilinear"):
    return cutting.cut(content, "n/x.jpg", lambda w, h: box, side_px, interpolation)


def differences(found, expected):
    levels = np.abs(found.astype(int) - expected)
    return levels.mean(), levels.max()


BOXES = [(0, 0, 150, 110), (31, 9, 90, 100), (10, 60, 149, 110), (70, 50, 71, 51), (3, 0, 140, 30)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize("box", BOXES)
def test_decoded_at_full_scale_pixels_are_within_a_level_or_two_of_the_reference(
    interpolation, sampling, box
):
    content = saved(photo(150, 110), subsampling=sampling, quality=90)
    found = cut(content, box, 111, interpolation)
    assert (found.dtype, found.shape) == (np.uint8, (111, 111, 3))
    mean, most = differences(found, by_pillow(content, box, 111, interpolation))
    # Pillow and torch round to whole levels after rows and after columns, in another order.
    assert mean < 0.35
    assert most <= (1 if interpolation == "bilinear" else 2)


@pytest.mark.parametrize("sampling", [0, 2])
@pytest.mark.parametrize(("side_px", "scale"), [(90, 2), (50, 4), (24, 8)])
def test_decoded_at_a_smaller_scale_pixels_are_near_the_reference_of_the_rounded_box(
    sampling, side_px, scale
):
    content = saved(photo(500, 375, cell_px=40), subsampling=sampling, quality=90)
    box = (101, 53, 101 + 301, 53 + 222)
    laid = jpeg.layout(content)
    pixels, inside = jpeg.decode(content, laid, box, side_px)
    assert pixels.shape[1] == -(-500 // scale)
    rounded = tuple(edge * scale for edge in inside)
    mean, most = differences(cut(content, box, side_px), by_pillow(content, rounded, side_px))
    assert mean < 1.5
    assert most < 24
    assert max(abs(a - b) for a, b in zip(rounded, box, strict=True)) <= scale / 2


def test_a_box_of_the_size_that_is_wanted_is_not_changed():
    content = saved(photo(150, 110), subsampling=0)
    expected = np.asarray(images.decode(content, "x"))[20:84, 30:94]
    assert np.array_equal(cut(content, (30, 20, 94, 84), 64), expected)


@pytest.mark.parametrize(
    ("kind", "options", "mode"),
    [
        ("PNG", {}, "RGB"),
        ("PNG", {}, "RGBA"),
        ("PNG", {}, "P"),
        ("WEBP", {}, "RGB"),
        ("JPEG", {}, "CMYK"),
        ("JPEG", {}, "L"),
        ("JPEG", {"progressive": True}, "RGB"),
    ],
)
def test_every_kind_of_file_gives_the_reference_pixels(kind, options, mode):
    content = saved(photo(150, 110).convert(mode), kind, **options)
    mean, most = differences(cut(content, BOXES[1], 40), by_pillow(content, BOXES[1], 40))
    assert (mean < 0.35, most <= 1) == (True, True)


def test_exif_does_not_turn_the_image():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, plain = (saved(photo(150, 110), exif=about) for about in (exif, Image.Exif()))
    assert np.array_equal(cut(turned, BOXES[1], 40), cut(plain, BOXES[1], 40))


def test_the_box_is_asked_for_once_with_the_size_of_the_image():
    for content in (saved(photo(150, 110)), saved(photo(150, 110), "PNG")):
        asked = []

        def box_of(width, height, asked=asked):
            asked.append((width, height))
            return 0, 0, width, height

        cutting.cut(content, "x", box_of, 16)
        assert asked == [(150, 110)]


GOOD = saved(photo(150, 110))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no image",
        GOOD[: len(GOOD) // 2],
        GOOD[:-40],
        saved(photo(150, 110), "PNG")[:-500],
        saved(Image.new("RGB", (2020, 20))),
    ],
)
def test_what_cannot_be_decoded_has_the_error_of_the_reference(content):
    with pytest.raises(ImageError) as expected:
        images.decode(content, "n/x.jpg")
    with pytest.raises(ImageError) as caught:
        cut(content, (0, 0, 10, 10), 8)
    assert str(caught.value) == str(expected.value)


def test_an_image_that_would_unpack_to_too_much_is_refused_before_it_is_decoded():
    huge = GOOD.replace((110).to_bytes(2) + (150).to_bytes(2), b"\xff\xff\xff\xff", 1)
    with pytest.raises(ImageError, match="too many pixels"):
        cut(huge, (0, 0, 10, 10), 8)


def test_damaged_codes_give_what_pillow_makes_of_them():
    damaged = bytearray(GOOD)
    middle = GOOD.index(b"\xff\xda") + (len(GOOD) - GOOD.index(b"\xff\xda")) // 2
    damaged[middle : middle + 30] = bytes(30)
    box = (0, 0, 150, 110)
    mean, most = differences(cut(bytes(damaged), box, 100), by_pillow(bytes(damaged), box, 100))
    assert (mean < 0.35, most <= 1) == (True, True)


THREADS = """
import os, sys, time
from concurrent.futures import ThreadPoolExecutor
import torch
from resnets.data import cutting

content = open(sys.argv[1], "rb").read()
torch.set_num_threads(4)

def threads():
    return len(os.listdir("/proc/self/task"))

def work(call):
    call()
    time.sleep(0.1)  # so that both threads get some

with ThreadPoolExecutor(2) as pool:
    list(pool.map(work, [lambda: None] * 4))
    before = threads()
    box_of = lambda width, height: (1, 1, width - 1, height - 1)
    list(pool.map(work, [lambda: cutting.cut(content, "x", box_of, 500)] * 8))
    list(pool.map(work, [lambda: cutting.cut(content, "x", box_of, 500, "bicubic")] * 8))
    print(threads() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
def test_a_thread_that_cuts_starts_no_threads(tmp_path):
    path = tmp_path / "large.jpg"
    path.write_bytes(saved(photo(900, 700)))
    ran = subprocess.run(
        [sys.executable, "-c", THREADS, str(path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "0\n"
