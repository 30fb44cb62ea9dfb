"""A folder with everything that can be wrong, and data sets that lack one thing."""

import io
import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.data import checking, opening
from resnets.data.files import FileData, ImageFiles
from resnets.data.sets import DataSet, ImageSet


def photo(seed, width=300, height=250):
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height))


def saved(image, kind="JPEG", **options):
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def exif(orientation):
    made = Image.Exif()
    made[0x0112] = orientation
    return made


def write(folder):
    """Two splits of three classes and an empty one; what is wrong stands beside good images."""
    seeds = iter(range(10_000))
    for split, images in (("train", 22), ("val", 3)):
        for name in ("cat", "dog", "owl"):
            (folder / split / name).mkdir(parents=True)
            for i in range(images):
                (folder / split / name / f"{i}.jpg").write_bytes(saved(photo(next(seeds))))
        (folder / split / "empty").mkdir()
    whole, png = saved(photo(9000)), saved(photo(9001), "PNG")
    wrong = {
        "train/cat/cut.jpg": whole[:-300],
        "train/cat/page.jpg": b"<html>404</html>",
        "train/dog/nothing.jpg": b"",
        "train/dog/scratched.png": png[:300] + bytes(50) + png[350:],
        "val/owl/ribbon.png": saved(Image.new("RGB", (500, 4)), "PNG"),
        "train/owl/grey.png": saved(photo(9002).convert("L"), "PNG"),
        "train/owl/print.jpg": saved(photo(9003).convert("CMYK")),
        "train/owl/palette.png": saved(photo(9004).convert("P"), "PNG"),
        "train/owl/glass.png": saved(photo(9005).convert("RGBA"), "PNG"),
        "train/owl/xray.png": saved(
            Image.fromarray(np.arange(62_500, dtype=np.uint16).reshape(250, 250)), "PNG"
        ),
        "train/owl/icon.png": saved(photo(9006, 20, 24), "PNG"),
        "train/owl/small.png": saved(photo(9007, 120, 90), "PNG"),
        "train/owl/banner.jpg": saved(photo(9008, 1500, 300)),
        "train/owl/turned.jpg": saved(photo(9009), exif=exif(6)),
        "train/owl/named.jpg": saved(photo(9010), "PNG"),
        "train/owl/moving.webp": saved(
            photo(9011), "WEBP", save_all=True, append_images=[photo(9012)]
        ),
    }
    for name, content in wrong.items():
        (folder / name).write_bytes(content)
    for i in range(3):
        shutil.copy(folder / f"train/cat/{i}.jpg", folder / f"val/cat/again-{i}.jpg")
    shutil.copy(folder / "train/dog/3.jpg", folder / "train/owl/dog.jpg")
    shutil.copy(folder / "train/dog/4.jpg", folder / "train/dog/twice.jpg")
    smaller = Image.open(folder / "train/dog/5.jpg").resize((240, 200))
    (folder / "val/dog/smaller.jpg").write_bytes(saved(smaller, quality=60))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write(tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="module")
def report(photos):
    return opening.open_data(photos).check()


def places(report, code):
    return [[f"{at.split}/{at.name}" for at in case.images] for case in report.cases(code)]


def test_counts_are_those_of_all_files_and_of_those_that_cannot_be_read(report):
    assert report.summary() == {
        "data": "photos",
        "train_images": 66 + 4 + 11 + 2,
        "validation_images": 9 + 1 + 3 + 1,
        "classes": 3,
        "unreadable_images": 5,
        "repeated_images": 5,
        "digest": report.digest,
    }
    by_class = {each.name: each for each in report.by_class}
    assert list(by_class) == ["cat", "dog", "empty", "owl"]
    assert by_class["dog"].counts == {"train": 25, "validation": 4}
    assert by_class["dog"].unreadable == {"train": 2, "validation": 0}
    assert by_class["empty"].counts == {"train": 0, "validation": 0}


EXPECTED = {
    "leaked": [[f"train/cat/{i}.jpg", f"validation/cat/again-{i}.jpg"] for i in range(3)],
    "conflicting": [["train/dog/3.jpg", "train/owl/dog.jpg"]],
    "truncated": [["train/cat/cut.jpg"]],
    "not-an-image": [["train/cat/page.jpg"]],
    "empty-file": [["train/dog/nothing.jpg"]],
    "damaged": [["train/dog/scratched.png"]],
    "refused": [["validation/owl/ribbon.png"]],
    "alike-in-splits": [["train/dog/5.jpg", "validation/dog/smaller.jpg"]],
    "repeated": [["train/dog/4.jpg", "train/dog/twice.jpg"]],
    "deep": [["train/owl/xray.png"]],
    "turned": [["train/owl/turned.jpg"]],
    "tiny": [["train/owl/icon.png"]],
    "small": [["train/owl/small.png"], ["validation/dog/smaller.jpg"]],
    "long": [["train/owl/banner.jpg"]],
    "grey": [["train/owl/grey.png"]],
    "alpha": [["train/owl/glass.png"]],
    "palette": [["train/owl/palette.png"]],
    "other-colours": [["train/owl/print.jpg"]],
    "moving": [["train/owl/moving.webp"]],
    "wrong-extension": [["train/owl/named.jpg"]],
}


@pytest.mark.parametrize("code", EXPECTED)
def test_each_kind_is_found_where_it_is_and_nowhere_else(report, code):
    assert places(report, code) == EXPECTED[code]


def test_nothing_else_is_found(report):
    found = [each.kind.code for each in report.findings]
    assert set(found) == {*EXPECTED, "empty-class"}
    assert report.cases("empty-class")[0].class_name == "empty"
    severities = [each.kind.severity for each in report.findings]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert found[0] == "leaked"


def test_an_image_that_cannot_be_read_comes_with_what_was_wrong(report):
    (case,) = report.cases("refused")
    assert case.why == "500 x 4 pixels; at most 100 times as long as wide, so cut it first"
    (case,) = report.cases("tiny")
    assert case.why == "20 x 24 px"


def test_sizes_modes_and_formats_are_of_what_can_be_read(report):
    assert report.sizes["width_px"].least == 20
    assert report.sizes["width_px"].median == 300
    assert report.sizes["width_px"].greatest == 1500
    assert report.sizes["height_px"].least == 24
    assert report.sizes["shorter_px"].least == 20
    assert report.modes == {"RGB": 87, "CMYK": 1, "I;16": 1, "L": 1, "P": 1, "RGBA": 1}
    assert sum(report.formats.values()) == 97 - 5
    assert list(report.formats) == ["JPEG", "PNG", "WEBP"]


@pytest.mark.parametrize("threads", [1, 7])
def test_the_number_of_threads_and_of_images_together_changes_nothing(
    photos, report, monkeypatch, threads
):
    monkeypatch.setattr(os, "cpu_count", lambda: threads)
    monkeypatch.setattr(checking, "_AT_ONCE", 10 * threads)
    assert opening.open_data(photos).check() == report


def test_a_set_with_errors_can_be_trained_on(report):
    assert report.refusal is None
    assert report.to_dict()["trainable"] is True


def data(**splits):
    """Give each split as a list of (content, label)."""
    made = {}
    for name, rows in splits.items():
        names = tuple(f"{i}.jpg" for i in range(len(rows)))
        labels_n = torch.tensor([label for _, label in rows])
        made[name] = ImageFiles(names, labels_n, lambda i, rows=rows: rows[i][0])
    return FileData("a", "/a", ("x", "y", "z"), made)


def some(count, label, seed=0):
    return [(saved(photo(100 * seed + i, 240, 230)), label) for i in range(count)]


def codes(report):
    return [each.kind.code for each in report.findings]


def test_a_set_in_which_nothing_is_wrong_has_no_findings():
    rows = some(20, 0) + some(20, 1, 1) + some(20, 2, 2)
    report = data(train=rows, validation=[*some(1, 0, 3), *some(1, 1, 4), *some(1, 2, 5)]).check()
    assert report.findings == ()
    assert report.next_step() == "Nothing is wrong with it; next: resnets train --data /a"


def test_classes_that_a_split_lacks_are_said_and_bad_images_do_not_count():
    rows = [*some(20, 0), (b"", 2)]
    report = data(train=rows, validation=[*some(1, 1, 3), *some(1, 2, 4)]).check()
    assert [case.class_name for case in report.cases("untrained-class")] == ["y", "z"]
    (case,) = report.cases("unmeasured-class")
    assert (case.class_name, case.why) == ("x", "none in validation")


def test_small_classes_and_classes_much_smaller_than_the_largest_are_said():
    report = data(train=some(41, 0) + some(4, 1, 1) + some(20, 2, 2)).check()
    (case,) = report.cases("few-images")
    assert (case.class_name, case.why) == ("y", "4 images")  # more than a slip of the pen
    (case,) = report.cases("imbalance")
    assert (case.class_name, case.why) == ("y", "4 images; x has 41")
    assert codes(data(train=some(40, 0) + some(4, 1, 1) + some(20, 2, 2)).check()) == ["few-images"]


def test_of_one_split_whatever_its_name_the_classes_are_those_to_train_on():
    report = data(validation=some(4, 0) + some(20, 1, 1) + some(20, 2, 2)).check()
    assert codes(report) == ["few-images"]


def test_bad_files_are_not_the_same_image():
    report = data(train=[(b"", 0), (b"", 1)], validation=[(b"", 0), *some(1, 0)]).check()
    assert report.repeated_images == 0
    assert {"leaked", "conflicting", "repeated"} & set(codes(report)) == set()


def test_the_worst_is_said_of_a_file_that_is_in_many_places():
    same = saved(photo(0))
    report = data(train=[(same, 0), (same, 1)], validation=[(same, 0)]).check()
    assert places(report, "leaked") == [["train/0.jpg", "train/1.jpg", "validation/0.jpg"]]
    assert report.cases("conflicting") == report.cases("repeated") == ()
    assert report.repeated_images == 2


def test_a_copy_of_a_file_is_not_nearly_the_same_as_well():
    image = photo(0)
    report = data(train=[(saved(image), 0), (saved(image), 0), (saved(image, "PNG"), 0)]).check()
    assert places(report, "repeated") == [["train/0.jpg", "train/1.jpg"]]
    assert places(report, "alike") == [["train/0.jpg", "train/2.jpg"]]
    report = data(train=[(saved(image), 0), (saved(image, "PNG"), 1)]).check()
    assert places(report, "alike-in-classes") == [["train/0.jpg", "train/1.jpg"]]


@pytest.mark.parametrize(("bad", "trainable"), [(10, True), (11, False)])
def test_more_bad_images_than_training_puts_up_with_are_a_refusal(bad, trainable):
    report = data(train=some(30, 0) + [(b"", 0)] * bad, validation=some(1, 0, 1)).check()
    assert report.to_dict()["trainable"] is trainable
    if not trainable:
        assert report.refusal == (
            "11 of 41 train images cannot be read, and training puts up with 10"
        )
        assert report.next_step().startswith(f"It cannot be trained on: {report.refusal}; ")


def test_a_split_in_which_nothing_can_be_read_is_a_refusal():
    report = data(train=some(3, 0), validation=[(b"", 0)]).check()
    assert report.refusal == "none of the 1 validation images can be read"
    assert data(train=[(b"", 0)]).check().sizes == {}


def test_images_in_memory_are_called_by_their_index_and_are_not_small():
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 32, 32, 3), generator=draw).to(torch.uint8)
    train = ImageSet(pixels[[0, 1, 2, 1]], torch.tensor([0, 1, 2, 1]))
    test = ImageSet(pixels[[2, 4]], torch.tensor([2, 1]))
    report = DataSet("a", "b", ("x", "y", "z"), train, test).check()
    assert places(report, "leaked") == [["train/2", "test/0"]]
    assert places(report, "repeated") == [["train/1", "train/3"]]
    assert [case.why for case in report.cases("unmeasured-class")] == ["none in test"]
    assert codes(report) == ["leaked", "unmeasured-class", "few-images", "repeated"]
    assert (report.modes, report.formats) == ({"RGB": 6}, {})


def test_the_classes_that_no_image_has_are_named():
    assert checking.empty_classes(("a", "b", "c"), torch.tensor([1, 1])) == ("a", "c")
    assert checking.empty_classes(("a",), torch.tensor([0])) == ()


def test_names_of_any_bytes_are_checked_and_shown(tmp_path):
    (tmp_path / "cat").mkdir()
    odd = os.fsdecode(b"\xff\n.jpg")
    (tmp_path / "cat" / odd).write_bytes(b"")
    (tmp_path / "cat" / "good.jpg").write_bytes(saved(photo(0)))
    report = opening.open_data(tmp_path).check()
    text = str(report)
    assert "cat/\\udcff\\n.jpg" in text
    text.encode()
    json.dumps(report.to_dict()).encode()
