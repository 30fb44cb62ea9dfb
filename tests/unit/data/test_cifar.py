import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import cifar

PUBLISHED = cifar.CONTENT_SHA256  # before any test says otherwise


@pytest.fixture(scope="module")
def invented():
    """60,000 images in the order of the published files, (n, 3072), and their labels."""
    place = np.arange(3072)
    channel, row, column = place // 1024, place // 32 % 32, place % 32
    pattern = (101 * channel + 50 * row + 3 * column).astype(np.uint8)
    number_n = np.arange(60_000)
    pixels = pattern[None, :] + (7 * number_n + number_n // 256).astype(np.uint8)[:, None]
    return pixels, (number_n * 7 // 3 % 10).astype(np.uint8)


@pytest.fixture(scope="module")
def forms(invented, as_python_2, tmp_path_factory):
    """A folder with one folder a published form, all of the same images."""
    pixels, labels = invented
    root = tmp_path_factory.mktemp("forms")
    for name in ("python", "binary", "png"):
        (root / name).mkdir()
    for number, name in enumerate(cifar.PYTHON):
        part = slice(10_000 * number, 10_000 * (number + 1))
        batch = python_batch(pixels[part], labels[part], name)
        (root / "python" / name).write_bytes(as_python_2(batch))
        records = np.concatenate([labels[part, None], pixels[part]], axis=1)
        records.tofile(root / "binary" / f"{name}.bin")
        sheet = pixels[part].reshape(-1, 3, 1024).transpose(0, 2, 1)
        image = Image.fromarray(np.ascontiguousarray(sheet))
        image.save(root / "png" / f"{name}.png", compress_level=1)
    for name, part in zip(cifar.PNG_LABELS, (labels[:50_000], labels[50_000:]), strict=True):
        (root / "png" / name).write_text(json.dumps(part.tolist()))
    yield root
    shutil.rmtree(root)  # half a gigabyte


def python_batch(pixels, labels, name="data_batch_1"):
    return {
        "data": pixels,
        "labels": labels.tolist(),
        "batch_label": f"batch of {name}",
        "filenames": ["a.png"] * 3,
    }


@pytest.fixture(scope="module")
def hashed(invented):
    """The invented images as they should be read, their labels, and the hash of both."""
    pixels, labels = invented
    images_nhwc = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    made = hashlib.sha256()
    for part in (slice(50_000), slice(50_000, None)):
        made.update(images_nhwc[part].tobytes())
        made.update(labels[part].astype(np.int64).tobytes())
    return images_nhwc, labels, made.hexdigest()


@pytest.fixture
def expected(hashed, monkeypatch):
    """The same, taken for CIFAR-10's."""
    monkeypatch.setattr(cifar, "CONTENT_SHA256", hashed[2])
    return hashed


@pytest.mark.parametrize("form", ["python", "binary", "png"])
def test_every_published_form_gives_the_same_images_labels_and_hash(forms, expected, form):
    images_nhwc, labels, digest = expected
    found = cifar.read_folder(forms / form)
    assert found.digest == digest
    assert found.name == "cifar10"
    assert found.where == str(forms / form)
    assert found.classes == cifar.CLASSES
    assert (len(found.train), len(found.test)) == (50_000, 10_000)
    assert np.array_equal(
        found.train.images_nhwc[[0, 9_999, 49_999]], images_nhwc[[0, 9_999, 49_999]]
    )
    assert np.array_equal(found.test.images_nhwc[-1], images_nhwc[-1])
    assert np.array_equal(found.train.labels_n, labels[:50_000])
    assert found.train.labels_n.dtype == torch.int64
    assert found.test.images_nhwc.dtype == torch.uint8


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("cifar-10-batches-py", "data_batch_1"),
        ("cifar-10-batches-bin", "data_batch_1.bin"),
        ("package", "data_batch_1.png"),
    ],
)
def test_the_folder_that_was_unpacked_into_is_taken_too(tmp_path, inside, name):
    (tmp_path / inside).mkdir()
    (tmp_path / inside / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{inside}: CIFAR-10 with .*data_batch_2.* missing"):
        cifar.read_folder(tmp_path)


def test_images_that_are_not_those_of_cifar10_are_refused_with_both_hashes(forms, expected):
    _, _, digest = expected
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "CONTENT_SHA256", PUBLISHED)
        with pytest.raises(DataError) as caught:
            cifar.read_folder(forms / "binary")
    assert digest[:12] in str(caught.value)
    assert PUBLISHED[:12] in str(caught.value)
    assert "resnets data fetch cifar10" in str(caught.value)


def with_one_changed(forms, form, folder, name, content):
    """Link a form's files into a folder, one of them with another content or missing."""
    for file in (forms / form).iterdir():
        if file.name != name:
            (folder / file.name).symlink_to(file)
    if content is not None:
        (folder / name).write_bytes(content)
    return folder


FIRST = [
    pytest.param("python", "data_batch_1", id="python"),
    pytest.param("binary", "data_batch_1.bin", id="binary"),
    pytest.param("png", "data_batch_1.png", id="png"),
]


def refused(folder, match):
    with pytest.raises(DataError, match=match) as caught:
        cifar.read_folder(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(("form", "name"), FIRST)
def test_a_missing_file_is_named(forms, tmp_path, form, name):
    refused(with_one_changed(forms, form, tmp_path, name, None), f"{name} missing; fetch it again")


@pytest.mark.parametrize(("form", "name"), FIRST)
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_refused_naming_it(forms, tmp_path, form, name, share):
    content = (forms / form / name).read_bytes()
    cut = content[: int(share * len(content))]
    refused(with_one_changed(forms, form, tmp_path, name, cut), name)


@pytest.mark.parametrize(("form", "name"), FIRST)
def test_a_file_of_something_else_is_refused_naming_it(forms, tmp_path, form, name):
    refused(with_one_changed(forms, form, tmp_path, name, b"<html>hello</html>" * 1000), name)


def test_a_label_that_is_no_class_is_refused(forms, tmp_path):
    content = bytearray((forms / "binary" / "data_batch_1.bin").read_bytes())
    content[3073 * 17] = 10
    folder = with_one_changed(forms, "binary", tmp_path, "data_batch_1.bin", content)
    refused(folder, r"data_batch_1\.bin: expected 10,000 labels from 0 to 9")


def test_a_label_that_is_another_class_is_refused_by_the_content_hash(forms, expected, tmp_path):
    content = bytearray((forms / "binary" / "data_batch_1.bin").read_bytes())
    content[3073 * 17] = (content[3073 * 17] + 1) % 10
    folder = with_one_changed(forms, "binary", tmp_path, "data_batch_1.bin", content)
    refused(folder, "not its images and labels")


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("{", "train_lables.json: not JSON"),
        ("[" * 100_000, "train_lables.json: not JSON"),
        ('{"a": 1}', "train_lables.json: expected a list"),
        ("[]", "expected 10,000 labels"),
        (json.dumps(["a"] * 50_000), "its labels are not numbers"),
        (json.dumps([2**70] * 50_000), "its labels are not numbers"),
        (json.dumps([[1]] * 50_000), "expected 10,000 labels"),
        (json.dumps([-1] * 50_000), "expected 10,000 labels from 0 to 9"),
    ],
    ids=["broken", "deep", "object", "none", "words", "huge", "nested", "negative"],
)
def test_labels_beside_png_sheets_that_are_not_labels_are_refused(
    forms, tmp_path, labels, complaint
):
    name = "train_lables.json"
    refused(with_one_changed(forms, "png", tmp_path, name, labels.encode()), complaint)


def test_a_sheet_of_another_size_is_refused(forms, tmp_path):
    Image.new("RGB", (1024, 100)).save(tmp_path / "data_batch_1.png")
    content = (tmp_path / "data_batch_1.png").read_bytes()
    folder = with_one_changed(forms, "png", tmp_path, "data_batch_1.png", content)
    refused(folder, r"expected 10,000 images of 32x32, got \(100, 1024, 3\)")


def test_a_folder_with_neither_form_is_refused_saying_what_is_looked_for(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"")
    refused(tmp_path, r"neither form of CIFAR-10 is here \(data_batch_1 .*resnets data fetch")


def read_one(tmp_path, content):
    (tmp_path / "data_batch_1").write_bytes(content)
    return cifar._read_pickled(tmp_path / "data_batch_1")


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_pickled_in_either_memory_order_gives_the_same_images(
    invented, as_python_2, tmp_path, order
):
    pixels, labels = (values[:10_000] for values in invented)
    batch = python_batch(np.array(pixels, order=order), labels)
    found = read_one(tmp_path, as_python_2(batch))
    assert np.array_equal(found.images_nhwc, pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert np.array_equal(found.labels_n, labels)


def test_the_pickles_of_these_tests_are_what_numpy_itself_reads(as_python_2):
    batch = python_batch(np.arange(12, dtype=np.uint8).reshape(2, 6, order="F"), np.arange(2))
    content = as_python_2(batch)
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in content
    found = pickle.loads(content, encoding="bytes")
    assert np.array_equal(found[b"data"], batch["data"])
    assert found[b"labels"] == [0, 1]


class Calls:
    """Pickles to a call of a function when it is read back."""

    def __init__(self, function, *given):
        self.function, self.given = function, given

    def __reduce__(self):
        return self.function, self.given


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "bomb",
    [
        lambda marker: Calls(os.mkdir, marker),
        lambda marker: Calls(os.system, f"mkdir {marker}"),
        lambda marker: Calls(exec, f"import os; os.mkdir({marker!r})"),
        lambda marker: Calls(np.testing.runstring, f"import os; os.mkdir({marker!r})", {}),
        lambda marker: {b"data": Calls(os.mkdir, marker), b"labels": []},
        lambda marker: np.array([Calls(os.mkdir, marker)]),
    ],
    ids=["mkdir", "system", "exec", "numpy", "in a batch", "in an array"],
)
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path, bomb, protocol):
    marker = tmp_path / "marker"
    content = pickle.dumps(bomb(str(marker)), protocol=protocol)
    with pytest.raises(DataError):
        read_one(tmp_path, content)
    assert not marker.exists()
    pickle.loads(content)  # the test is one only if reading it carelessly does run it
    assert marker.exists()


def test_a_pickle_that_would_run_something_is_named(tmp_path):
    with pytest.raises(DataError, match="data_batch_1"):
        read_one(tmp_path, pickle.dumps(Calls(os.mkdir, "marker")))


def zeros(images, kind=np.uint8):
    return np.zeros((images, 3072), kind)


NOT_BATCHES = {
    "a number": lambda: 5,
    "a list": list,
    "no key": dict,
    "no array": lambda: {"data": 5, "labels": []},
    "a list for an array": lambda: {"data": [[0] * 3072] * 3, "labels": [0] * 3},
    "a type for an array": lambda: {"data": np.dtype("u1"), "labels": [0]},
    "ten images": lambda: {"data": zeros(10), "labels": [0] * 10},
    "wide numbers": lambda: {"data": zeros(10_000, np.uint16), "labels": [0] * 10_000},
    "no labels": lambda: {"data": zeros(10_000)},
    "a label too few": lambda: {"data": zeros(10_000), "labels": [0] * 9_999},
    "words for labels": lambda: {"data": zeros(10_000), "labels": ["a"] * 10_000},
    "an array for labels": lambda: {"data": zeros(10_000), "labels": np.zeros(10_000, int)},
}


@pytest.mark.parametrize("what", NOT_BATCHES)
def test_a_pickle_of_something_else_is_refused(as_python_2, tmp_path, what):
    with pytest.raises(DataError, match="data_batch_1"):
        read_one(tmp_path, as_python_2(NOT_BATCHES[what]()))
