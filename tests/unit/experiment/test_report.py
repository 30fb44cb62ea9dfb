import numpy as np
from PIL import Image

from resnets.core import artifacts
from resnets.experiment import report


def pixels(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def records(error_percent=30.0):
    return [
        {"update": 1, "test_top1_error_percent": 90.0, "test_images": 10},
        {"update": 20, "loss": 2.0, "train_error_percent": 80.0},
        {"update": 40, "loss": 1.0, "train_error_percent": 40.0},
        {"update": 40, "test_top1_error_percent": error_percent, "test_images": 10},
    ]


def test_curves_are_a_picture_of_768_by_528_pixels(tmp_path):
    report.curves(records(), tmp_path / "curves.png", title="tiny")
    assert pixels(tmp_path / "curves.png").shape == (528, 768, 3)


def test_the_picture_of_a_run_is_that_of_its_journal(finished, tmp_path):
    lines = artifacts.read_lines(finished.folder / "journal.jsonl")
    report.curves(lines, tmp_path / "again.png", title=finished.folder.name)
    expected = pixels(finished.folder / "curves.png")
    assert np.array_equal(pixels(tmp_path / "again.png"), expected)


def test_another_error_is_another_picture(tmp_path):
    for name, error_percent in (("a", 30.0), ("b", 30.0), ("c", 35.0)):
        report.curves(records(error_percent), tmp_path / name, title="tiny")
    a, b, c = (pixels(tmp_path / name) for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_journal_of_a_diverged_run_or_an_empty_one_can_be_drawn(tmp_path):
    diverged = [*records(), {"update": 60, "loss": "nan", "train_error_percent": "nan"}]
    report.curves(diverged, tmp_path / "diverged", title="tiny")
    assert pixels(tmp_path / "diverged").shape == (528, 768, 3)
    report.curves([], tmp_path / "empty", title="tiny")
    assert pixels(tmp_path / "empty").shape == (528, 768, 3)
