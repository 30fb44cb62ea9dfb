import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnets.core.errors import ImageError
from resnets.inference import pictures


def noise(seed, height=5, width=7):
    draw = np.random.default_rng(seed)
    return Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))


def save(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(seed).save(path)
    return path


def names(found):
    return [picture.name for picture in found]


def from_input(content, *others):
    return pictures.find(["-", *others], io.BytesIO(content))


# Files and folders.


def test_files_are_found_in_the_order_they_are_named_by_the_names_they_are_named(tmp_path):
    paths = [str(save(tmp_path / name)) for name in ("b.png", "a.png", "a picture, of mine.png")]
    found = pictures.find([paths[0], paths[1], paths[0], paths[2]])
    assert names(found) == [paths[0], paths[1], paths[0], paths[2]]


def test_a_picture_is_read_when_it_is_wanted_and_not_before(tmp_path):
    path = save(tmp_path / "a.png")
    (found,) = pictures.find([str(path)])
    save(path, seed=5)
    assert np.array_equal(np.asarray(found.read()), np.asarray(noise(5)))
    path.unlink()
    with pytest.raises(ImageError, match="there is no such file"):
        found.read()


def test_a_file_is_read_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(0).save(tmp_path / "a.png", exif=exif)
    (found,) = pictures.find([str(tmp_path / "a.png")])
    assert found.read().size == (5, 7)


def test_a_folder_is_every_image_in_it_and_below_by_name_without_hidden_ones(tmp_path):
    for name in ("b.png", "a.JPG", "inner/c.webp", "inner/deep/er/d.tif", "with space/e.png"):
        save(tmp_path / name.lower()).rename(tmp_path / name)
    for name in (".hidden.png", ".thumbnails/f.png", "inner/.git/g.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("mine")
    found = [
        Path(name).relative_to(tmp_path).as_posix() for name in names(pictures.find([tmp_path]))
    ]
    assert found == ["a.JPG", "b.png", "inner/c.webp", "inner/deep/er/d.tif", "with space/e.png"]


def test_a_folder_and_files_can_be_named_together(tmp_path):
    inside, outside = save(tmp_path / "x" / "a.png"), save(tmp_path / "b.png")
    found = pictures.find([str(outside), str(tmp_path / "x"), str(outside)])
    assert names(found) == [str(outside), str(inside), str(outside)]


def test_a_hidden_file_and_folder_that_are_named_are_taken(tmp_path):
    path = save(tmp_path / ".cache" / ".a.png")
    inside = save(tmp_path / ".cache" / "b.png")
    assert names(pictures.find([str(path), str(tmp_path / ".cache")])) == [str(path), str(inside)]


def test_a_file_that_is_named_needs_no_ending_of_an_image(tmp_path):
    save(tmp_path / "a.png").rename(tmp_path / "upload")
    (found,) = pictures.find([str(tmp_path / "upload")])
    assert found.read().size == (7, 5)


def refused(named, match, stdin=None):
    with pytest.raises(ImageError, match=match) as caught:
        pictures.find(named, stdin)
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_image_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    save(tmp_path / ".hidden" / "a.png")
    refused([str(tmp_path)], rf"^{tmp_path}: no image in this folder \(an image ends in \.jpg, ")


def test_a_name_that_leads_nowhere_is_refused(tmp_path):
    refused([str(tmp_path / "none.png")], r"none\.png: there is no such file$")
    save(tmp_path / "a.png")
    refused([str(tmp_path / "a.png" / "b.png")], "there is no such file$")
    refused([str(tmp_path / ("x" * 300))], "x: cannot be read")


def test_a_tilde_is_the_home_of_a_user_and_otherwise_a_letter(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    save(tmp_path / "~copy of a.png")
    assert names(pictures.find(["~/a.png"])) == [str(tmp_path / "a.png")]
    assert names(pictures.find(["~copy of a.png"])) == ["~copy of a.png"]
    refused(["~none such/a.png"], r"^~none such/a\.png: there is no such file$")


# Standard input.

KINDS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "TGA", "ICO", "PCX")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_bytes_of_an_image_are_one_picture(kind, seed):
    made = io.BytesIO()
    noise(seed).save(made, kind)
    (found,) = from_input(made.getvalue())
    assert found.name == "standard input"
    assert found.read().mode == "RGB"


@pytest.mark.parametrize(
    "content",
    [
        b"P3\n2 1\n255\n255 0 0  0 255 0\n",
        b"P2 # grey\n1 1\n9\n9\n",
        b"P1\n2 2\n0 1 1 0\n",
        b"P6\n2 1\n255\nabcdef",
    ],
)
def test_an_image_that_is_text_is_a_picture_too(content):
    (found,) = from_input(content)
    assert found.name == "standard input"
    found.read()


def test_an_image_from_standard_input_is_turned_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    made = io.BytesIO()
    noise(0).save(made, "PNG", exif=exif)
    (found,) = from_input(made.getvalue())
    assert found.read().size == (5, 7)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xd8\xff\xe0", b"abc\0def"])
def test_what_is_neither_a_picture_nor_a_list_of_names_is_refused_when_read(content):
    (found,) = from_input(content)
    with pytest.raises(ImageError, match=r"^standard input: not an image of a format"):
        found.read()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_are_taken_a_line_each(tmp_path, end):
    paths = [save(tmp_path / name) for name in ("b.png", "two words.png", "P3 10 10.png", "ü.png")]
    inside = save(tmp_path / "folder" / "c.png")
    listed = end.join([*map(str, paths), "", str(tmp_path / "folder")])
    for content in (listed, listed + end):
        found = from_input(content.encode(), str(paths[0]))
        assert names(found) == [*map(str, paths), str(inside), str(paths[0])]


def test_a_name_that_looks_like_the_beginning_of_an_image_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("P3.png", "P3 of 4.png"):
        save(tmp_path / name)
        assert names(from_input(name.encode() + b"\n")) == [name]


def test_a_line_that_names_nothing_is_refused():
    refused(["-"], "^none.png: there is no such file$", io.BytesIO(b"none.png\n"))
    refused(["-"], "there is no such file$", io.BytesIO(b"-\n"))
    refused(["-"], "cannot be read", io.BytesIO(b"Lorem ipsum " * 100))


def test_without_a_stream_the_processs_own_is_read(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(str(path).encode())))
    assert names(pictures.find(["-"])) == [str(path)]
