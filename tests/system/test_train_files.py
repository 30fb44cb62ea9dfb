"""The real command on image files: ImageNet's archives, class folders, and what is wrong there."""

import json
import signal
import subprocess
import sys

import pytest

import samples
from resnets.core import artifacts
from resnets.data import imagenet_classes
from resnets.inference import checkpoints

WNIDS = imagenet_classes.wnids()[::125]  # eight of the thousand
TINY = [
    *("--set", "data.augment.shorter_px=[48,64]", "--set", "data.augment.crop_px=48"),
    *("--set", "precision=float32"),
    *("--batch-size", "4", "--device", "cpu", "--compile", "off"),
]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return samples.write_imagenet(tmp_path_factory.mktemp("data") / "ILSVRC2012")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def classes(folder):
    """Write the same kind of images as class folders."""
    for split, count in (("train", 4), ("val", 2)):
        for k, name in enumerate(("cat", "dog", "owl")):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                (place / f"{i}.jpg").write_bytes(samples.jpeg(10 * k + i, 70 + 9 * i, 80))
    return folder


def journal(run):
    records = artifacts.read_lines(run / "journal.jsonl")
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def test_imagenets_archives_are_trained_on_and_the_run_is_evaluated_to_its_last_line(
    ask, archives, tmp_path
):
    run = tmp_path / "run"
    words = ["train", "imagenet.resnet18", "--data", archives, "--out", run, *TINY]
    answer = ask(*words, "--set", "total_steps=3", "--json")
    assert answer.status == 0, answer.err
    found = checkpoints.newest(run)
    assert found.classes == imagenet_classes.names()
    assert found.mean_hwc.shape == (48, 48, 3)
    assert [r["update"] for r in journal(run) if "validation_images" in r] == [3, 3]
    last = journal(run)[-1]
    told = json.loads(answer.out)
    assert (told["split"], told["images"], told["updates"]) == ("validation", 8, 3)
    evaluated = ask("evaluate", run, "--data", archives, "--json")
    assert evaluated.status == 0, evaluated.err
    measured = json.loads(evaluated.out)
    for key in ("top1_error_percent", "top5_error_percent", "images"):
        assert measured[key] == last[f"validation_{key}"]


# The command, saving after every update, until it kills itself after the eighth.
KILLED = """
import os, signal
from resnets.cli.main import main
from resnets.experiment import run

run._SAVE_AFTER_S, run._SAVE_SHARE, updates = 0.0, 1e9, run.updates

def until_killed(*given, **named):
    for update in updates(*given, **named):
        if update.number == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        yield update

run.updates = until_killed
main()
"""


def test_a_killed_process_is_resumed_to_the_bits_of_one_that_was_not(ask, command, tmp_path):
    _, environment, _ = command
    data, run = classes(tmp_path / "pets"), tmp_path / "run"
    words = ["train", "imagenet.resnet18", "--data", data, "--model", "cifar-resnet8", *TINY]
    words += ["--set", "total_steps=12", "--set", "schedule.every_steps=3"]
    words += ["--set", "schedule.patience=1", "--set", "schedule.min_improvement_percent=99"]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, [*words, "--out", run])],
        env={**environment, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert checkpoints.newest(run).update == 7
    assert ask("train", "--resume", run).status == 0
    assert ask(*words, "--out", tmp_path / "whole").status == 0
    shas = {checkpoints.newest(tmp_path / name).weights_sha256 for name in ("run", "whole")}
    assert len(shas) == 1
    assert journal(run) == journal(tmp_path / "whole")
    assert [r["learning_rate"] for r in journal(run) if "loss" in r] == pytest.approx([0.001])


def test_what_is_wrong_with_files_is_said_in_one_line_and_nothing_is_written(
    ask, archives, tmp_path
):
    data, out = classes(tmp_path / "pets"), tmp_path / "run"
    for path in sorted((data / "train").rglob("*.jpg"))[:11]:  # more than the ten set aside
        path.write_bytes(b"no image")
    words = ["train", "imagenet.resnet18", "--data", data, "--out", out]
    for asked, told in (
        ([*words, *TINY], "11 of 12 training images cannot be read (cat/0.jpg: not an image of"),
        ([*words, "--batch-size", "13"], "batch_images: at most the 12 training images, got 13"),
        ([*words, *TINY, "--set", "model.classes=4"], "model.classes: pets has 3 classes, got 4"),
        (["train", "--data", archives, "--out", out], "resnets train imagenet.resnet50 --data"),
        (["train", "imagenet.resnet18", "--out", out], "imagenet: is not fetched"),
    ):
        answer = ask(*asked)
        assert answer.status == 2
        (line,) = answer.err.splitlines()
        assert line.startswith("resnets: ")
        assert told in line
        assert not out.exists()
