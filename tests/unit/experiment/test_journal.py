import pytest
import torch

from resnets.experiment import journal
from resnets.training.loop import Update


def test_training_time_is_that_of_the_logged_rates():
    records = [
        {"update": 4, "images_per_second": 2.0},  # 4 updates of 10 images: 20 s
        {"update": 4, "validation_top1_error_percent": 50.0},
        {"update": 10, "images_per_second": 6.0},  # 6 updates: 10 s
    ]
    assert journal.training_s(records, 10) == pytest.approx(30.0)
    assert journal.training_s([], 10) == 0.0


def test_a_rate_is_never_0_however_long_an_update_took(tmp_path):
    kept = journal.Journal(tmp_path / "journal.jsonl", 0, {})
    kept.count(Update(1, 0.1, {"loss": torch.tensor(1.0)}))
    kept.leave_out(-10_000)  # asleep for hours
    kept.log(2)
    assert journal.training_s(kept.records, 2) == pytest.approx(10_000, rel=1e-3)


def test_the_split_is_the_one_that_was_measured():
    assert journal.split([{"update": 1, "test_top1_error_percent": 3.0}]) == "test"
    assert journal.split([{"update": 1, "validation_top1_error_percent": 3.0}]) == "validation"
