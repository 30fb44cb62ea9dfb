import subprocess
import sys
import warnings
import zlib

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


def test_the_centre_of_an_image_of_that_size_is_the_image():
    pixels = noise(32, 32)
    assert np.array_equal(images.centre(Image.fromarray(pixels), 32), pixels)


@pytest.mark.parametrize(
    ("size", "square"),
    [
        ((96, 64), (16, 0, 80, 64)),
        ((64, 96), (0, 16, 64, 80)),
        ((32, 50), (0, 9, 32, 41)),
        ((16, 16), (0, 0, 16, 16)),
        ((100, 67), (16, 0, 83, 67)),
    ],
)
def test_the_central_square_is_cut_out_and_resized(size, square):
    whole = Image.fromarray(noise(size[1], size[0]))
    expected = whole.crop(square)
    if expected.size != (32, 32):
        expected = expected.resize((32, 32), Image.Resampling.BICUBIC)
    found = images.centre(whole, 32)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.array(expected))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 31), (31, 33), (500, 3), (37, 1000)])
def test_an_image_of_any_shape_gives_a_square_and_one_colour_stays_one_colour(size):
    found = images.centre(Image.new("RGB", size, (10, 200, 30)), 32)
    assert found.shape == (32, 32, 3)
    assert (found == [10, 200, 30]).all()


def test_shrinking_averages_and_does_not_skip_pixels():
    board = np.indices((128, 128)).sum(0) % 2 * 255
    image = Image.fromarray(np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8))
    found = images.centre(image, 32)[2:-2, 2:-2]
    assert found.min() >= 126
    assert found.max() <= 129


THIN = """
import resource, sys
from pathlib import Path
from resnets.core.errors import ImageError
from resnets.data import images
image = images.read_rgb(Path(sys.argv[1]))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), used + (256 << 20)))
try:
    assert images.centre(image, 32).shape == (32, 32, 3)
except ImageError:
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits and /proc")
def test_a_small_but_very_long_image_does_not_need_gigabytes(tmp_path):
    Image.new("RGB", (200_000, 1)).save(tmp_path / "thin.png")
    assert (tmp_path / "thin.png").stat().st_size < 3_000
    command = [sys.executable, "-c", THIN, tmp_path / "thin.png"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
