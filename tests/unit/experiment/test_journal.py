import pytest

from resnets.experiment import journal


def test_training_time_is_that_of_the_logged_rates():
    records = [
        {"update": 4, "images_per_second": 2.0},  # 4 updates of 10 images: 20 s
        {"update": 4, "validation_top1_error_percent": 50.0},
        {"update": 10, "images_per_second": 6.0},  # 6 updates: 10 s
    ]
    assert journal.training_s(records, 10) == pytest.approx(30.0)
    assert journal.training_s([], 10) == 0.0


def test_the_split_is_the_one_that_was_measured():
    assert journal.split([{"update": 1, "test_top1_error_percent": 3.0}]) == "test"
    assert journal.split([{"update": 1, "validation_top1_error_percent": 3.0}]) == "validation"
