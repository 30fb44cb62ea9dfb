import io
import json
import struct
import zipfile
import zlib
from importlib import resources

import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import cifar, sample
from resnets.data.sets import DataSet, ImageSet


@pytest.fixture(scope="module")
def loaded():
    return sample.load()


def about(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("sample.json"))


def test_the_sample_is_the_one_that_was_published(loaded):
    assert loaded.digest == sample.CONTENT_SHA256
    assert loaded.name == loaded.where == "cifar10-sample"
    assert loaded.classes == cifar.CLASSES


def test_the_sample_has_500_and_100_images_a_class_and_none_twice(loaded):
    assert loaded.train.labels_n.bincount().tolist() == [500] * 10
    assert loaded.test.labels_n.bincount().tolist() == [100] * 10
    assert loaded.check().findings == ()
    for split in (loaded.train, loaded.test):
        assert split.images_nhwc.shape == (len(split), 32, 32, 3)
        assert split.images_nhwc.dtype == torch.uint8


@pytest.mark.parametrize(("split", "images"), [("train", 50_000), ("test", 10_000)])
def test_the_file_says_where_in_cifar10_each_image_stands(loaded, split, images):
    told = about(resources.files("resnets.data").joinpath(sample.FILE).read_bytes())[split]
    index = told["index"]
    assert index == sorted(set(index))
    assert index[0] >= 0
    assert index[-1] < images
    assert told["label"] == getattr(loaded, split).labels_n.tolist()


@pytest.mark.parametrize(("split", "a_class"), [("train", 500), ("test", 100)])
def test_choosing_takes_as_many_of_each_class_in_ascending_order_and_always_the_same(
    split, a_class
):
    labels_n = torch.randint(0, 10, (10_000,), generator=torch.Generator().manual_seed(0))
    chosen = sample.choose(labels_n, split)
    assert labels_n[chosen].bincount().tolist() == [a_class] * 10
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert torch.equal(sample.choose(labels_n, split), chosen)


def test_choosing_spreads_over_the_set_and_differs_between_the_splits():
    labels_n = torch.arange(50_000) % 10
    train = sample.choose(labels_n, "train")
    thirds = torch.bucketize(train, torch.tensor([16_667, 33_334])).bincount()
    assert thirds.min() > 1500  # of 5,000: 1,667 expected, deviation 33
    test = sample.choose(labels_n, "test")
    assert not set(test.tolist()) <= set(train.tolist())


@pytest.fixture(scope="module")
def small():
    """A file like the sample's, of 20 and 10 images, and what it was made of."""

    def drawn(images, seed):
        # Few colours in large squares, with some noise: quick to encode.
        draw = torch.Generator().manual_seed(seed)
        pixels = torch.randint(0, 256, (images, 2, 2, 3), generator=draw, dtype=torch.uint8)
        pixels = pixels.repeat_interleave(16, 1).repeat_interleave(16, 2)
        pixels[:, :2, :9] = torch.randint(0, 256, (images, 2, 9, 3), generator=draw)
        return ImageSet(pixels, torch.arange(images) % 10)

    whole = DataSet("cifar10", "cifar10", cifar.CLASSES, drawn(50, 0), drawn(30, 1))
    return whole, encoded(whole)


def encoded(whole):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "IMAGES_A_CLASS", {"train": 2, "test": 1})
        return sample.encode(whole)


def test_decoding_gives_back_every_pixel_that_was_encoded(small):
    whole, content = small
    found = sample.decode(content)
    for split, a_class in (("train", 2), ("test", 1)):
        index_n = torch.tensor(about(content)[split]["index"])
        expected = getattr(whole, split).take(index_n)
        assert torch.equal(getattr(found, split).images_nhwc, expected.images_nhwc)
        assert torch.equal(getattr(found, split).labels_n, expected.labels_n)
        assert expected.labels_n.bincount().tolist() == [a_class] * 10


def test_encoding_gives_the_same_bytes_every_time(small):
    whole, content = small
    assert encoded(whole) == content


def changed(content, **entries):
    """The same file with some of its entries replaced."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            key = name.replace(".", "_")
            if entries.get(key, b"") is not None:
                new.writestr(name, entries.get(key) or old.read(name))
    return made.getvalue()


def about_with(content, labels):
    told = about(content)
    told["train"]["label"] = labels
    return changed(content, sample_json=json.dumps(told))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"", id="empty"),
        pytest.param(lambda content: b"hello" * 100, id="text"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut"),
        pytest.param(lambda content: content[1000:], id="headless"),
        pytest.param(lambda content: changed(content, sample_json=None), id="without labels"),
        pytest.param(lambda content: changed(content, train_webp=None), id="without images"),
        pytest.param(lambda content: changed(content, train_webp=b"RIFF"), id="not webp"),
        pytest.param(lambda content: changed(content, sample_json="{"), id="not json"),
        pytest.param(lambda content: changed(content, sample_json="[1]"), id="a list"),
        pytest.param(lambda content: about_with(content, [0] * 19), id="a label too few"),
        pytest.param(lambda content: about_with(content, ["a"] * 20), id="words for labels"),
        pytest.param(lambda content: about_with(content, 20), id="a number for labels"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(small, damage):
    with pytest.raises(DataError, match=sample.FILE) as caught:
        sample.decode(damage(small[1]))
    assert "\n" not in str(caught.value)


def in_directory(content, offset, value):
    """Change one byte of the first entry's line in the zip's directory."""
    at = content.index(b"PK\x01\x02") + offset
    return content[:at] + bytes([value]) + content[at + 1 :]


def png_header(side_px):
    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: in_directory(content, 8, 1), id="encrypted"),
        pytest.param(lambda content: in_directory(content, 10, 1), id="odd compression"),
        pytest.param(lambda content: in_directory(content, 10, 8), id="not deflated"),
        pytest.param(lambda content: in_directory(content, 6, 255), id="newer zip"),
        pytest.param(lambda content: changed(content, sample_json="[" * 100_000), id="deep json"),
        pytest.param(lambda content: changed(content, train_webp=png_header(20_000)), id="bomb"),
    ],
)
def test_a_file_damaged_in_its_structure_is_refused_as_well(small, damage):
    with pytest.raises(DataError, match=sample.FILE):
        sample.decode(damage(small[1]))


@pytest.mark.parametrize("label", [-1, 10, 0.5, [1]], ids=str)
def test_labels_that_are_no_class_are_refused(small, label):
    with pytest.raises(DataError, match=sample.FILE):
        sample.decode(about_with(small[1], [label] * 20))
