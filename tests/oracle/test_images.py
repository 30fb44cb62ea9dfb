"""Images of a data set against torchvision's loader: equal pixels, whatever kind of file it is."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS, pil_loader

from resnets.data import folders, images, opening

NOISE = np.random.default_rng(0).integers(0, 256, (24, 31, 4), dtype=np.uint8)
GREY, RGB = Image.fromarray(NOISE[:, :, 0]), Image.fromarray(NOISE[:, :, :3])
RGBA = Image.fromarray(NOISE)
GREY_16 = Image.fromarray(NOISE[:, :, 0].astype(np.uint16) * 257)
GREY_32 = Image.fromarray(NOISE[:, :, 0].astype(np.int32) * 257)
GREY_FLOAT = Image.fromarray(NOISE[:, :, 0].astype(np.float32))
CMYK = Image.frombytes("CMYK", (31, 24), NOISE.tobytes())
PALETTE = RGB.quantize(16)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What stands in docs/images.md, row by row: image, format, options, mode that Pillow opens it in.
KINDS = {
    "colour JPEG": (RGB, "JPEG", {}, "RGB"),
    "progressive JPEG": (RGB, "JPEG", {"progressive": True, "quality": 60}, "RGB"),
    "grey JPEG": (GREY, "JPEG", {}, "L"),
    "CMYK JPEG": (CMYK, "JPEG", {}, "CMYK"),
    "CMYK TIFF": (CMYK, "TIFF", {}, "CMYK"),
    "YCbCr TIFF": (RGB.convert("YCbCr"), "TIFF", {}, "YCbCr"),
    "Lab TIFF": (Image.frombytes("LAB", (31, 24), RGB.tobytes()), "TIFF", {}, "LAB"),
    "colour PNG": (RGB, "PNG", {}, "RGB"),
    "grey PNG": (GREY, "PNG", {}, "L"),
    "grey with one transparent level": (GREY, "PNG", {"transparency": 7}, "L"),
    "grey with alpha": (GREY.convert("LA"), "PNG", {}, "LA"),
    "colour with alpha": (RGBA, "PNG", {}, "RGBA"),
    "colour with one transparent": (RGB, "PNG", {"transparency": (1, 2, 3)}, "RGB"),
    "palette": (PALETTE, "PNG", {}, "P"),
    "palette, one transparent": (PALETTE, "PNG", {"transparency": 3}, "P"),
    "palette, alpha": (PALETTE, "PNG", {"transparency": bytes(range(0, 160, 10))}, "P"),
    "one bit": (GREY.convert("1"), "PNG", {}, "1"),
    "16-bit PNG": (GREY_16, "PNG", {}, "I;16"),
    "16-bit TIFF": (GREY_16, "TIFF", {}, "I;16"),
    "32-bit TIFF": (GREY_32, "TIFF", {}, "I"),
    "float TIFF": (GREY_FLOAT, "TIFF", {}, "F"),
    "GIF": (RGB, "GIF", {}, "P"),
    "transparent GIF": (PALETTE, "GIF", {"transparency": 3}, "P"),
    "moving GIF": (PALETTE, "GIF", {"save_all": True, "append_images": [GREY] * 2}, "P"),
    "WebP": (RGB, "WEBP", {}, "RGB"),
    "WebP with alpha": (RGBA, "WEBP", {"lossless": True}, "RGBA"),
    "BMP": (RGB, "BMP", {}, "RGB"),
    "PPM": (RGB, "PPM", {}, "RGB"),
    **{
        f"{kind} turned {orientation}": (RGB, kind, {"exif": turned(orientation)}, "RGB")
        for kind in ("JPEG", "PNG")
        for orientation in range(1, 9)
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_the_pixels_of_torchvisions_loader(kind, tmp_path):
    image, made_as, options, mode = KINDS[kind]
    path = tmp_path / "a.JPEG"  # whatever it is, as in ImageNet
    image.save(path, made_as, **options)
    with Image.open(path) as opened:
        assert opened.mode == mode
        assert opened.format == made_as
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on palettes with alpha
        expected = pil_loader(str(path))
    found = images.decode(path.read_bytes(), path.name)
    assert found.mode == expected.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(expected))


def colour_16():
    """A 16-bit colour PNG; Pillow cannot write one, so its parts are put together here."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = b"".join(b"\0" + bytes(range(48)) for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_16_bit_colour_image_has_the_pixels_of_torchvisions_loader(tmp_path):
    (tmp_path / "a.png").write_bytes(colour_16())
    found = np.asarray(images.decode(colour_16(), "a.png"))
    assert np.array_equal(found, np.asarray(pil_loader(str(tmp_path / "a.png"))))
    assert found[0, 1].tolist() == [6, 8, 10]  # the upper bytes


def test_the_judge_does_not_turn_an_image_and_a_photo_is_turned():
    made = io.BytesIO()
    RGB.save(made, "PNG", exif=turned(6))
    assert images.decode(made.getvalue(), "a").size == (31, 24)
    assert images.decode_photo(made.getvalue(), "a").size == (24, 31)


def test_an_image_file_is_what_torchvision_takes_for_one():
    assert set(folders.EXTENSIONS) == set(IMG_EXTENSIONS)


def test_class_folders_are_listed_as_torchvision_lists_them(tmp_path):
    names = ("b/z.png", "b/a.JPEG", "b/x/y/m.webp", "a/1.jpg", "C/2.tif", "C/notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    judge = ImageFolder(str(tmp_path))
    data = opening.open_data(tmp_path)
    split = data.splits["validation"]
    assert data.classes == tuple(judge.classes)
    assert {
        (str(tmp_path / name), label)
        for name, label in zip(split.names, split.labels_n.tolist(), strict=True)
    } == set(judge.samples)
