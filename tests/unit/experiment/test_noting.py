import pytest
import torch

import samples
from resnets.core import artifacts
from resnets.core.errors import InterruptedRunError
from resnets.data import opening
from resnets.experiment import asking, noting, run
from resnets.experiment.asking import Changes
from resnets.experiment.noting import Forecast
from resnets.inference import checkpoints
from resnets.recipes import catalogue

CPU = torch.device("cpu")


def said(monkeypatch, capsys, seconds, total=643, done=0, shown=True):
    """What is said of a run whose first update takes a minute and each other so many seconds."""
    forecast = Forecast(done, total, CPU, shown=shown)
    now = 0.0
    monkeypatch.setattr(noting.time, "perf_counter", lambda: now)
    for number in range(done + 1, min(total, done + 20) + 1):
        now += 60 if number == done + 1 else seconds
        forecast.after(number)
    return capsys.readouterr().err


def test_the_time_of_a_long_run_is_said_once(monkeypatch, capsys):
    told = said(monkeypatch, capsys, seconds=1.0)
    assert told == (
        "time         about 10 min 39 s: 639 more updates, measured on 3; evaluating comes on top\n"
    )


def test_the_first_update_is_not_measured_and_what_was_done_is_not_counted(monkeypatch, capsys):
    told = said(monkeypatch, capsys, seconds=2.0, total=1_004, done=900)
    assert "about 3 min 20 s: 100 more updates" in told


def test_a_run_of_a_minute_or_of_four_updates_needs_no_such_line(monkeypatch, capsys):
    assert said(monkeypatch, capsys, seconds=0.09) == ""
    assert said(monkeypatch, capsys, seconds=100.0, total=4) == ""
    assert said(monkeypatch, capsys, seconds=100.0, total=3) == ""


def test_only_the_process_that_leads_says_it(monkeypatch, capsys):
    assert said(monkeypatch, capsys, seconds=1.0, shown=False) == ""


SETTINGS = (
    "data.augment.shorter_px=[36,48]",
    "data.augment.crop_px=32",
    "precision=float32",
    "total_steps=8",
    "schedule.every_steps=4",
    "true_averages=false",
)


@pytest.fixture(autouse=True)
def by_number_and_not_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "_LOG_EVERY", 1)
    monkeypatch.setattr(run, "_SAVE_AFTER_S", 1e9)


@pytest.fixture
def folder(tmp_path):
    """Twelve, eight and four images to train on of three classes, and two of each to validate."""
    for k, (name, images) in enumerate({"cat": 12, "dog": 8, "owl": 4}.items()):
        for split, count in (("train", images), ("val", 2)):
            place = tmp_path / "pets" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i:02d}.jpg").write_bytes(samples.jpeg(20 * k + i))
    return tmp_path / "pets"


def changes(*settings):
    return Changes(model="cifar-resnet8", batch_images=6, settings=(*SETTINGS, *settings))


def train(folder, out, *settings):
    named = {"out": out, "device": "cpu", "compiling": "off"}
    return asking.start("imagenet.resnet18", folder, changes(*settings), **named)


def spoil(folder):
    """Three training images that cannot be read."""
    for number in range(3):
        (folder / "train" / "cat" / f"{number:02d}.jpg").write_bytes(b"no image")


def journal(folder):
    records = artifacts.read_lines(folder / "journal.jsonl")
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def test_classes_without_training_images_are_named_when_a_run_begins(folder, tmp_path, capsys):
    for path in (folder / "train" / "dog").iterdir():
        path.unlink()
    train(folder, tmp_path / "run", "class_weights=balanced")
    assert "note         no images to train on of 1 of 3 classes: dog\n" in capsys.readouterr().err
    assert checkpoints.newest(tmp_path / "run").recipe.class_weights[1] == 1.0


def test_balanced_weights_give_every_class_an_equal_part_of_what_is_trained_on(folder):
    data = opening.open_data(folder)
    recipe = changes("class_weights=balanced").apply(catalogue.named("imagenet.resnet18"), data)
    assert recipe.class_weights == pytest.approx((8 / 12, 8 / 8, 8 / 4))
    held_out = changes("class_weights=balanced", "data.held_out_share=0.25")
    recipe = held_out.apply(catalogue.named("imagenet.resnet18"), data)
    assert recipe.class_weights == pytest.approx((6 / 9, 6 / 6, 6 / 3))


def test_how_many_images_were_set_aside_is_the_last_that_is_said_of_a_run(folder, tmp_path, capsys):
    spoil(folder)
    ended = train(folder, tmp_path / "run")
    assert ended.set_aside_images == ended.to_dict()["set_aside_images"] == 3
    assert journal(tmp_path / "run")[-1] == {"update": 8, "set_aside_images": 3}
    assert "note         3 of 24 training images cannot be read (cat/00" in capsys.readouterr().err
    assert run.resume(tmp_path / "run") == ended


def test_nothing_is_said_of_a_run_that_could_read_all(folder, tmp_path, capsys):
    assert train(folder, tmp_path / "run").set_aside_images == 0
    assert "set_aside_images" not in journal(tmp_path / "run")[-1]
    assert "note" not in capsys.readouterr().err


def test_what_was_set_aside_before_a_stop_is_counted_after_it(folder, tmp_path, loop):
    spoil(folder)
    train(folder, tmp_path / "whole")
    loop.terminate_after(6)
    with pytest.raises(InterruptedRunError):
        train(folder, tmp_path / "run")
    loop.undisturbed()
    assert len(checkpoints.newest_state(tmp_path / "run").about["set_aside"]) == 3
    assert run.resume(tmp_path / "run").set_aside_images == 3
    assert journal(tmp_path / "run") == journal(tmp_path / "whole")
