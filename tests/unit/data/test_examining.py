import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import examining, images
from resnets.data.examining import Bad, Good


def photo(width=60, height=48, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height))


def saved(image, kind="PNG", **options):
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def examined(content, name="cat/a"):
    return examining.file(lambda: content, name)


def test_a_good_image_says_its_size_mode_format_and_hash():
    content = saved(photo(), "JPEG")
    found = examined(content, "cat/a.jpg")
    assert isinstance(found, Good)
    assert (found.width_px, found.height_px, found.mode, found.format) == (60, 48, "RGB", "JPEG")
    assert found.content == hashlib.sha256(content).digest()[:16]
    assert found.oddities == ()
    assert (found.thumb_hw.shape, found.thumb_hw.dtype) == ((32, 32), np.uint8)


WHOLE = saved(photo())
BAD = {
    "truncated": saved(photo(), "JPEG")[:-200],
    "not-an-image": b"<html>404</html>",
    "empty-file": b"",
    "damaged": WHOLE[:200] + bytes(40) + WHOLE[240:],
    "refused": saved(Image.new("RGB", (500, 4))),
}


@pytest.mark.parametrize("trouble", BAD)
def test_a_bad_image_is_told_from_others_by_what_is_wrong_with_it(trouble):
    found = examined(BAD[trouble], "cat/a.jpg")
    assert isinstance(found, Bad)
    assert found.trouble == trouble
    assert found.message.startswith("cat/a.jpg: ")
    with pytest.raises(DataError):  # training sees it with the same eyes
        images.decode(BAD[trouble], "cat/a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("part", [0.5, 0.97])
def test_a_file_that_was_cut_is_truncated_in_every_usual_format(kind, part):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    content = saved(noise, kind)
    found = examined(content[: int(part * len(content))])
    assert isinstance(found, Bad)
    assert found.trouble == "truncated"


def test_too_many_pixels_are_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert examined(saved(photo())).trouble == "refused"


def test_what_cannot_be_read_from_its_place_is_told_too():
    def read():
        raise DataError("/there/cat/a.jpg: cannot be read (Permission denied)")

    found = examining.file(read, "cat/a.jpg")
    assert found == Bad("cannot-be-read", "/there/cat/a.jpg: cannot be read (Permission denied)")


def deep():
    levels = np.linspace(0, 65_535, 60 * 48).reshape(48, 60).astype(np.uint16)
    return Image.fromarray(levels)


def turned(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return saved(photo(), "JPEG", exif=made)


ODD = {
    "grey": (saved(photo().convert("L")), ("grey",)),
    "one bit": (saved(photo().convert("1")), ("grey",)),
    "grey with alpha": (saved(photo().convert("LA")), ("grey", "alpha")),
    "alpha": (saved(photo().convert("RGBA")), ("alpha",)),
    "palette": (saved(photo().convert("P")), ("palette",)),
    "a colour that is transparent": (saved(photo(), transparency=(0, 0, 0)), ("alpha",)),
    "CMYK": (saved(photo().convert("CMYK"), "JPEG"), ("other-colours",)),
    "16 bits": (saved(deep()), ("deep",)),
    "16 bits in a TIFF": (saved(deep(), "TIFF"), ("deep",)),
    "floats": (saved(photo().convert("F"), "TIFF"), ("deep",)),
    "upright": (turned(1), ()),
    "turned": (turned(6), ("turned",)),
    "mirrored": (turned(2), ("turned",)),
    "no such turn": (turned(9), ()),
    "tiny": (saved(photo(40, 31)), ("tiny",)),
    "not tiny": (saved(photo(40, 32)), ()),
    "long": (saved(photo(161, 40)), ("long",)),
    "not so long": (saved(photo(40, 160)), ()),
    "moving": (
        saved(photo(), "GIF", save_all=True, append_images=[photo(seed=1)]),
        ("palette", "moving"),
    ),
    "moving PNG": (saved(photo(), save_all=True, append_images=[photo(seed=1)]), ("moving",)),
    "pages": (saved(photo(), "TIFF", save_all=True, append_images=[photo(seed=1)]), ("moving",)),
    "a phone's photo": (saved(photo(), "MPO", save_all=True, append_images=[photo(30, 24)]), ()),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_in_an_image_is_said(case):
    content, oddities = ODD[case]
    found = examined(content)
    assert isinstance(found, Good)
    assert found.oddities == oddities


def test_a_tiff_that_pillow_turns_itself_is_not_turned_any_more():
    made = Image.Exif()
    made[0x0112] = 6
    found = examined(saved(photo(), "TIFF", exif=made))
    assert (found.width_px, found.oddities) == (48, ())


def test_a_moving_image_whose_later_picture_is_damaged_is_good_as_its_first_is_all_that_is_read():
    content = saved(photo(), "GIF", save_all=True, append_images=[photo(seed=1)])
    assert isinstance(examined(content[:-300]), Good)


@pytest.mark.parametrize(
    ("name", "kind", "odd"),
    [
        ("a.jpg", "JPEG", False),
        ("a.JPEG", "JPEG", False),
        ("a.jpg", "PNG", True),
        ("a.png", "JPEG", True),
        ("a.Tif", "TIFF", False),
        ("a.pgm", "PPM", False),
        ("a.webp", "WEBP", False),
        ("a.webp", "GIF", True),
        ("a", "PNG", False),
        ("a.image", "PNG", False),
    ],
)
def test_a_name_that_promises_another_format_is_odd(name, kind, odd):
    assert ("wrong-extension" in examined(saved(photo(), kind), name).oddities) is odd


def test_damaged_exif_is_no_turn_and_no_warning():
    content = turned(6)
    at = content.index(b"Exif\0\0") + 6
    found = examined(content[:at] + b"XXXX" + content[at + 4 :])
    assert isinstance(found, Good)
    assert found.oddities == ()


def test_pixels_in_memory_are_examined_as_files_are():
    pixels_hwc = np.asarray(photo())
    found = examining.pixels(pixels_hwc)
    assert np.array_equal(found.thumb_hw, examined(saved(photo())).thumb_hw)
    assert (found.width_px, found.height_px, found.format) == (60, 48, None)
    assert found.content == examining.pixels(pixels_hwc.copy()).content
    other_hwc = pixels_hwc.copy()
    other_hwc[5, 7, 2] ^= 1
    assert found.content != examining.pixels(other_hwc).content


def test_a_transposed_array_is_hashed_by_its_pixels_in_order():
    pixels_hwc = np.asarray(photo(48, 48))
    turned_hwc = pixels_hwc.transpose(1, 0, 2)
    assert examining.pixels(turned_hwc).content == examining.pixels(turned_hwc.copy()).content
