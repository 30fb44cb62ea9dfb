import io
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from resnets.core.errors import ImageError
from resnets.data import images


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def read(path):
    found = images.read_rgb(path)
    assert found.mode == "RGB"
    return np.asarray(found)


def test_a_lossless_file_gives_its_pixels(tmp_path):
    pixels = noise(5, 7)
    for name in ("a.png", "a.bmp", "a.tiff"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert np.array_equal(read(tmp_path / name), pixels)


# What the orientations of EXIF 2.3, tag 0x0112, say was done to the picture, undone.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_an_image_is_turned_as_its_exif_says(tmp_path, orientation):
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path / "a.png"), UPRIGHT[orientation](pixels))


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = noise(5, 7)[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), np.repeat(grey[:, :, None], 3, axis=2))
    Image.fromarray(grey > 127).save(tmp_path / "b.png")  # one bit a pixel
    assert np.array_equal(read(tmp_path / "b.png")[:, :, 0], np.where(grey > 127, 255, 0))


def test_transparency_is_dropped_and_the_colours_kept(tmp_path):
    pixels = noise(5, 7)
    alpha = noise(5, 7, seed=1)[:, :, :1]
    Image.fromarray(np.concatenate([pixels, alpha], axis=2)).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), pixels)


def palette_image():
    made = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4), mode="L").convert("P")
    made.putpalette(list(noise(1, 256).reshape(-1)))
    return made, noise(1, 256)[0][np.asarray(made)]


def test_a_palette_is_looked_up(tmp_path):
    made, colours = palette_image()
    made.save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), colours)


def test_a_palette_with_transparent_colours_is_looked_up_without_a_warning(tmp_path):
    made, colours = palette_image()
    made.save(tmp_path / "a.png", transparency=bytes(range(0, 160, 10)))
    assert np.array_equal(read(tmp_path / "a.png"), colours)


def test_a_printers_jpeg_is_read(tmp_path):
    Image.new("CMYK", (6, 5), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    pixels = read(tmp_path / "red.jpg")
    assert pixels.shape == (5, 6, 3)
    assert pixels[:, :, 0].min() > 200
    assert pixels[:, :, 1:].max() < 60


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", np.uint16), ("a.tiff", np.uint16), ("a.tiff", np.int32)]
)
def test_a_16_bit_image_keeps_its_greys(tmp_path, name, kind):
    greys = (np.arange(256, dtype=kind) * 257).reshape(16, 16)
    Image.fromarray(greys).save(tmp_path / name)
    found = read(tmp_path / name)
    assert found[:, :, 0].reshape(-1).tolist() == list(range(256))
    assert np.array_equal(found[:, :, 0], found[:, :, 2])


def fails(path):
    with pytest.raises(ImageError) as caught:
        images.read_rgb(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "there is no such file" in fails(tmp_path / "none.png")
    assert "not a file; name image files" in fails(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert "not an image" in fails(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tiff"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_image_is_refused(tmp_path, name, share):
    Image.fromarray(noise(64, 64)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    fails(tmp_path / name)


def bomb(path, side_px):
    """A file of a few hundred bytes that says it is a large image."""
    Image.new("1", (8, 8)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = side_px.to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("side_px", [10_000, 20_000, 2**31 - 1])
def test_an_image_that_unpacks_to_too_many_pixels_is_refused(tmp_path, side_px):
    bomb(tmp_path / "a.png", side_px)
    assert "too many pixels" in fails(tmp_path / "a.png")


def test_reading_an_image_leaves_the_programs_warnings_as_they_were(tmp_path):
    Image.fromarray(noise(4, 4)).save(tmp_path / "a.png")
    before = list(warnings.filters)
    read(tmp_path / "a.png")
    assert warnings.filters == before


@pytest.mark.parametrize("size", [(101, 1), (3, 301), (200_000, 1), (1, 50_000)])
def test_an_image_more_than_a_hundred_times_as_long_as_wide_is_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "thin.png")
    assert f"{size[0]} x {size[1]} pixels; at most 100 times" in fails(tmp_path / "thin.png")
    with pytest.raises(ImageError, match=f"^thin: {size[0]} x"):
        images.decode((tmp_path / "thin.png").read_bytes(), "thin")


def test_an_image_a_hundred_times_as_long_as_wide_is_read():
    assert images.decode(encoded(Image.new("RGB", (300, 3))), "a").size == (300, 3)


def encoded(image, kind="PNG", **options):
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def test_an_image_of_a_data_set_is_not_turned_and_a_photo_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(4, 6)
    content = encoded(Image.fromarray(pixels), exif=exif)
    assert np.array_equal(images.decode(content, "a"), pixels)
    assert np.array_equal(images.decode_photo(content, "a"), UPRIGHT[6](pixels))


def test_16_bits_are_cut_off_in_a_data_set_as_the_reference_does_and_scaled_in_a_photo():
    greys = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    content = encoded(greys)
    cut = np.asarray(images.decode(content, "a"))[:, :, 0].reshape(-1)
    assert cut.tolist() == [0] + [255] * 255
    scaled = np.asarray(images.decode_photo(content, "a"))[:, :, 0].reshape(-1)
    assert scaled.tolist() == list(range(256))


def test_the_content_says_what_a_file_is_and_not_its_name(tmp_path):
    pixels = noise(5, 7)
    Image.fromarray(pixels).save(tmp_path / "a.JPEG", "PNG")
    assert np.array_equal(read(tmp_path / "a.JPEG"), pixels)


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\xff\xd8\xff\xe0"])
def test_a_message_names_the_image_it_was_given(content):
    with pytest.raises(ImageError, match=r"^x/b\.jpg: not an image of a format that can be read$"):
        images.decode(content, "x/b.jpg")


def test_a_bomb_in_a_data_set_is_refused(tmp_path):
    bomb(tmp_path / "a.png", 20_000)
    with pytest.raises(ImageError, match=r"^a\.png: unpacks to too many pixels"):
        images.decode((tmp_path / "a.png").read_bytes(), "a.png")


def test_a_truncated_image_of_a_data_set_is_refused():
    content = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    with pytest.raises(ImageError, match=r"^a: a damaged image"):
        images.decode(content[: len(content) // 2], "a")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def test_a_file_that_another_program_would_have_to_run_is_refused(tmp_path, monkeypatch):
    def run(*_, **__):
        raise AssertionError("started a program")

    monkeypatch.setattr(subprocess, "Popen", run)
    (tmp_path / "a.jpg").write_bytes(POSTSCRIPT)
    assert "EPS is no format that can be read" in fails(tmp_path / "a.jpg")


def test_remarks_of_the_decoder_on_a_good_image_are_kept_from_the_user(recwarn):
    # An EXIF block that promises more than it holds; ImageNet has such files.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x1a\0\x05\0\0\0\x01"
    pixels = noise(8, 8)
    content = encoded(Image.fromarray(pixels), "JPEG", exif=exif)
    assert images.decode(content, "a").size == (8, 8)
    made, colours = palette_image()
    content = encoded(made, transparency=bytes(range(0, 160, 10)))
    assert np.array_equal(images.decode(content, "a"), colours)
    assert not recwarn.list


def test_decoding_in_many_threads_gives_the_same_and_leaves_the_warnings_alone(tmp_path):
    bomb(tmp_path / "a.png", 10_000)  # a warning of Pillow's, where nobody makes it an error
    bad = (tmp_path / "a.png").read_bytes()
    good = [noise(16, 16, seed) for seed in range(8)]
    contents = [encoded(Image.fromarray(pixels)) for pixels in good]
    before = list(warnings.filters)

    def right(i):
        with pytest.raises(ImageError, match="too many pixels"):
            images.decode(bad, "bad")
        return np.array_equal(images.decode(contents[i % 8], "good"), good[i % 8])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as if the machine had many more cores
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(right, range(400)))
    finally:
        sys.setswitchinterval(interval)
    assert warnings.filters == before


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_the_header_tells_the_size_that_decoding_gives(tmp_path, kind):
    turned = Image.Exif()
    turned[0x0112] = 6
    draw = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    more = {"lossless": True} if kind == "WEBP" else {}  # larger than what is read at first
    file = tmp_path / "a"
    Image.fromarray(draw).save(
        file, kind, **(more if kind in ("BMP", "GIF") else {"exif": turned, **more})
    )
    assert images.size(file) == images.decode(file.read_bytes(), "a").size
    assert set(images.size(file)) == {200, 150}


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_image_has_no_size(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert images.size(tmp_path / "a.jpg") is None
    assert images.size(tmp_path) is images.size(tmp_path / "none") is None
