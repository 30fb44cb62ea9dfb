import struct

import numpy as np
import pytest
from PIL import Image

from resnets.data import images, jpeg
from samples import photo, saved


def reference(content):
    return np.asarray(images.decode(content, "x"))


SAMPLINGS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("size", [(96, 64), (97, 75), (33, 130)])
def test_any_box_decoded_at_full_scale_has_exactly_the_reference_pixels(sampling, size):
    content = saved(photo(*size), subsampling=SAMPLINGS[sampling], quality=88)
    laid, expected = jpeg.layout(content), reference(content)
    assert (laid.width, laid.height, laid.sequential) == (*size, True)
    for bottom in range(1, size[1] + 1):
        box = (size[0] // 3, bottom // 2, size[0] - 2, bottom)
        pixels, inside = jpeg.decode(content, laid, box, least_px=1000)
        assert inside == box
        left, top, right, under = box
        assert np.array_equal(pixels[top:under, left:right], expected[top:under, left:right])


def test_rows_below_the_box_are_not_decoded():
    content = saved(photo(64, 640))
    pixels, _ = jpeg.decode(content, jpeg.layout(content), (0, 0, 64, 100), least_px=1000)
    assert 100 <= len(pixels) <= 102


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_large_box_is_decoded_at_the_least_scale_that_keeps_enough_pixels(scale):
    content = saved(photo(333, 257), subsampling=2)
    laid = jpeg.layout(content)
    box = (8, 16, 8 + 200, 16 + 216)
    pixels, inside = jpeg.decode(content, laid, box, least_px=200 // scale)
    assert pixels.shape[1] == -(-333 // scale)
    assert inside == tuple(edge // scale for edge in box)
    if scale < 8:  # one pixel more, and the scale is not taken
        _, larger = jpeg.decode(content, laid, box, least_px=200 // scale + 1)
        assert larger == tuple(2 * edge // scale for edge in box)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_edges_of_a_scaled_box_move_by_half_a_pixel_at_most_and_stay_inside(scale):
    content = saved(photo(151, 203))
    laid = jpeg.layout(content)
    for box in ((0, 0, 151, 203), (13, 27, 150, 200), (151 - 67, 203 - 71, 151, 203)):
        shorter = min(box[2] - box[0], box[3] - box[1])
        pixels, inside = jpeg.decode(content, laid, box, least_px=shorter // scale)
        for edge, found in zip(box, inside, strict=True):
            assert abs(found * scale - edge) <= max(scale / 2, -edge % scale)
        assert 0 <= inside[0] < inside[2] <= pixels.shape[1]
        assert 0 <= inside[1] < inside[3] <= pixels.shape[0]


def test_the_smallest_images_and_boxes_are_decoded():
    for size in ((1, 1), (1, 40), (40, 1), (7, 9)):
        content = saved(photo(*size))
        pixels, (left, top, right, bottom) = jpeg.decode(
            content, jpeg.layout(content), (size[0] - 1, size[1] - 1, *size), least_px=1
        )
        assert np.array_equal(pixels[top:bottom, left:right], reference(content)[-1:, -1:])


def test_progressive_files_are_decoded_whole():
    content = saved(photo(90, 120), progressive=True)
    laid = jpeg.layout(content)
    assert not laid.sequential
    pixels, _ = jpeg.decode(content, laid, (0, 0, 90, 20), least_px=1000)
    assert np.array_equal(pixels, reference(content))


def test_grey_files_have_three_equal_channels():
    content = saved(photo(90, 120).convert("L"))
    pixels, _ = jpeg.decode(content, jpeg.layout(content), (0, 0, 90, 120), least_px=1000)
    assert np.array_equal(pixels, reference(content))


def test_what_applications_add_is_passed_over():
    exif = Image.Exif()
    exif[0x0112] = 6
    small = saved(photo(20, 15))
    content = saved(photo(60, 40), exif=exif, comment=b"\xff\xd9 no end", icc_profile=bytes(70_000))
    content = content[:2] + b"\xff\xe9" + struct.pack(">H", len(small) + 2) + small + content[2:]
    laid = jpeg.layout(content)
    assert (laid.width, laid.height) == (60, 40)
    pixels, _ = jpeg.decode(content, laid, (0, 0, 60, 40), least_px=1000)
    assert np.array_equal(pixels, reference(content))


PLAIN = saved(photo(60, 40))
CMYK = saved(photo(60, 40).convert("CMYK"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xd9",
        saved(photo(60, 40), "PNG"),
        CMYK,
        PLAIN[:-1],
        PLAIN[: len(PLAIN) // 2],
        PLAIN + b"\0",
        PLAIN[:30] + b"\xff\xd9",
        PLAIN.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc9\x00\x11\x08"),  # arithmetic codes
        PLAIN.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c"),  # 12 bits
        PLAIN.replace(b"\x08\x00\x28\x00\x3c", b"\x08\x00\x00\x00\x3c"),  # the height comes later
        PLAIN.replace(b"\xff\xda", b"\xff\xda\x00", 1)[:-2],
    ],
)
def test_anything_but_a_whole_plain_file_is_not_laid_out(content):
    assert jpeg.layout(content) is None


def test_every_beginning_of_a_file_is_refused_or_read_without_an_error_of_ours():
    for cut in range(700):
        jpeg.layout(PLAIN[:cut] + b"\xff\xd9")
        jpeg.layout(PLAIN[:cut] + bytes(9) + PLAIN[cut + 9 :])


def test_what_the_decoder_cannot_read_is_a_value_error():
    laid = jpeg.layout(PLAIN)
    at = PLAIN.index(b"\xff\xdb")
    with pytest.raises(ValueError, match=r"\S"):
        jpeg.decode(PLAIN[:at] + b"\xff\xc4" + PLAIN[at + 2 :], laid, (0, 0, 60, 40), 1000)
