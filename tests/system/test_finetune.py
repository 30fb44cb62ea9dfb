"""The real command on a folder of somebody's images: a trained network goes on learning on them."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from resnets.data import opening, stratified
from resnets.experiment import manifests
from resnets.inference import checkpoints

SHOWN = {"cat": (200, 60, 40), "dog": (40, 180, 70), "owl": (50, 70, 210)}
HERE = ["--device", "cpu", "--compile", "off", "--set", "precision=float32"]


def write_classes(folder, images=10, classes=SHOWN):
    """One folder a class, of pictures in which a colour tells the class."""
    for name, colour in classes.items():
        place = folder / name
        place.mkdir(parents=True)
        for i in range(images):
            grain = np.random.default_rng([*colour, i]).integers(-40, 41, (9, 8, 3))
            coarse = (np.array(colour) + grain).clip(0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((50 + i, 60 - i)).save(place / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Thirty images in three classes and one split; not to be changed."""
    return write_classes(tmp_path_factory.mktemp("data") / "pets")


@pytest.fixture(scope="module")
def tuned(ask, data, finished, tmp_path_factory):
    """A run that began with the run `finished`, and what the command said of it."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    words = ["train", "--data", data, "--weights", finished, "--out", folder, *HERE]
    answer = ask(*words, "--epochs", "6", "--json")
    assert answer.status == 0, answer.err
    return folder, answer


def test_a_folder_and_weights_are_all_that_is_needed(data, tuned, finished):
    folder, answer = tuned
    recipe = checkpoints.newest(folder).recipe
    weights = checkpoints.newest(finished)
    assert manifests.read(folder)["name"] == "folder.finetune"
    assert recipe.model.classes == 3
    assert recipe.data.held_out_share == 0.2
    assert recipe.transfer.weights == f"sha256:{weights.weights_sha256}"
    told = json.loads(answer.out)
    assert (told["split"], told["images"], told["updates"]) == ("validation", 6, 6)
    # Colours are told apart even by a network that learnt something else.
    assert told["top1_error_percent"] == 0
    assert checkpoints.newest(folder).classes == ("cat", "dog", "owl")


def test_the_run_ends_with_a_report_that_needs_no_other_file(tuned):
    folder, answer = tuned
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "0.00" in re.search(r"<title>(.*)</title>", page)[1]
    assert "The data check" in page
    assert "the best of 7 networks that were measured on these same images" in page
    assert "report.html" not in answer.err  # nothing went wrong with it


def test_the_run_is_evaluated_and_predicts_with_nothing_else_named(ask, data, tuned):
    folder, answer = tuned
    measured = json.loads(ask("evaluate", folder, "--split", "validation", "--json").out)
    told = json.loads(answer.out)
    assert measured["top1_error_percent"] == told["top1_error_percent"]
    assert measured["images"] == 6
    predicted = json.loads(ask("predict", folder, data / "owl" / "0.png", "--json").out)
    assert predicted[0]["class"] == "owl"
    other = json.loads(ask("evaluate", folder, "--data", data, "--split", "train", "--json").out)
    assert other["images"] == 24


# The command, saving after every update, until it kills itself after the last one named.
KILLED = """
import os, signal, sys
from resnets.cli.main import main
from resnets.experiment import run

run._SAVE_AFTER_S, run._SAVE_SHARE, updates = 0.0, 1e9, run.updates
last = int(sys.argv.pop(1))

def until_killed(*given, **named):
    for update in updates(*given, **named):
        if update.number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        yield update

run.updates = until_killed
main()
"""


@pytest.mark.parametrize(("last", "saved"), [(1, None), (5, 4)], ids=["unsaved", "midway"])
def test_a_killed_run_is_resumed_to_the_bits_of_one_that_was_not(
    last, saved, ask, command, data, finished, tmp_path
):
    _, environment, _ = command
    asked = ["folder.finetune", "--data", data, "--weights", finished, "--epochs", "8"]
    asked += ["--set", "precision=float32", "--set", "transfer.fixed_bn=false"]
    asked += ["--set", 'ema={"decay": 0.5}', "--device", "cpu"]
    words = ["train", *asked, "--compile", "off", "--seed", "3", "--out"]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(last), *map(str, [*words, tmp_path / "run"])],
        env={**environment, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    state = checkpoints.newest_state(tmp_path / "run")
    assert (state and state.update) == saved
    assert state is None or state.best
    answer = ask("train", "--resume", tmp_path / "run")
    assert answer.status == 0, answer.err
    assert ask(*words, tmp_path / "whole").status == 0
    ends = [checkpoints.newest(tmp_path / name) for name in ("run", "whole")]
    assert len({end.weights_sha256 for end in ends}) == 1
    assert len({end.update for end in ends}) == 1
    assert (tmp_path / "run" / "report.html").exists()
    # Naming it all again is no other run.
    again = ask("train", *asked, "--resume", tmp_path / "run")
    assert again.status == 0, again.err
    assert "this run is finished" in again.err


def test_bad_training_images_are_set_aside_and_the_run_goes_on(ask, data, finished, tmp_path):
    spoilt = shutil.copytree(data, tmp_path / "pets")
    (files,) = opening.open_data(spoilt).splits.values()
    trained_on, _ = stratified.split(files, 0.2)
    for name in trained_on.names[:3]:
        (spoilt / name).write_bytes(b"no image")
    words = ["train", "--data", spoilt, "--weights", finished, "--out", tmp_path / "run", *HERE]
    answer = ask(*words, "--epochs", "2", "--json")
    assert answer.status == 0, answer.err
    told = json.loads(answer.out)
    assert (told["images"], told["set_aside_images"]) == (6, 3)
    assert f"3 of 24 training images cannot be read ({trained_on.names[0]}: not an" in answer.err


def test_an_image_to_validate_on_that_cannot_be_read_is_said_before_anything_is_written(
    ask, data, finished, tmp_path
):
    spoilt = shutil.copytree(data, tmp_path / "pets")
    (files,) = opening.open_data(spoilt).splits.values()
    _, held = stratified.split(files, 0.2)
    (spoilt / held.names[0]).write_bytes(b"no image")
    out = tmp_path / "run"
    answer = ask("train", "--data", spoilt, "--weights", finished, "--out", out, *HERE)
    assert answer.status == 2
    assert f"1 of 6 images to validate on cannot be read ({held.names[0]}: not an" in answer.err
    assert not out.exists()


def test_two_images_of_each_class_are_enough(ask, finished, tmp_path):
    colours = {f"{i:02d}": (20 * i, 255 - 20 * i, 90) for i in range(12)}
    few = write_classes(tmp_path / "few", images=2, classes=colours)
    words = ["train", "--data", few, "--weights", finished, "--out", tmp_path / "run", *HERE]
    answer = ask(*words, "--epochs", "1", "--json")
    assert answer.status == 0, answer.err
    assert checkpoints.newest(tmp_path / "run").recipe.batch_images == 12
    assert json.loads(answer.out)["images"] == 12


def test_small_images_in_memory_begin_with_weights_too(ask, finished, tmp_path):
    words = ["train", "sample.resnet20", "--weights", finished, "--model", "cifar-resnet8", *HERE]
    words += ["--set", "total_steps=2", "--out", tmp_path / "run", "--json"]
    answer = ask(*words)
    assert answer.status == 0, answer.err
    recipe = checkpoints.newest(tmp_path / "run").recipe
    assert recipe.transfer.head == "linear-probe"
    assert recipe.model.classes == 10


def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(ask, data, finished, tmp_path):
    out, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    lonely = write_classes(tmp_path / "lonely", images=1)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes((finished / "model.safetensors").read_bytes()[:-100])
    at_work = tmp_path / "busy"
    at_work.mkdir()
    (at_work / "notes.txt").write_text("mine")
    tune = ["train", "folder.finetune", "--data", data, "--out", out]
    began = [*tune, "--weights", finished]
    for asked, told in (
        ([*tune, "--weights", tmp_path / "none"], "there is no such file or folder"),
        ([*tune, "--weights", "msra/resnet51"], "msra/resnet51"),
        ([*tune, "--weights", "resnet50"], "a network without weights"),
        ([*tune, "--weights", damaged], "damaged.safetensors"),
        ([*tune, "--weights", empty], "no checkpoint in this folder"),
        ([*began, "--model", "cifar-resnet14"], "weights of cifar-resnet8, not of cifar-resnet14"),
        ([*began, "--set", "transfer.weights=other"], "name the weights with --weights other"),
        ([*began, "--set", "transfer=null"], "null is from scratch"),
        ([*began, "--set", "transfer.frozen_stages=4"], "this network has 3 stages, got 4"),
        ([*began, "--set", "data.held_out_share=0"], "has one split of 30 images"),
        ([*began, "--set", "keep=last", "--set", "true_averages=true"], "BN keeps those"),
        (["train", "folder.finetune", "--data", "synthetic", "--out", out], "has small images"),
        ([*began[:2], "--data", lonely, *began[4:]], "no class of these 3 images has two"),
        ([*began[:2], "--data", empty, *began[4:]], "no data set is recognised here"),
        ([*began[:4], "--out", at_work, *began[6:]], "exists and is not empty"),
        (
            ["train", "sample.resnet20", "--weights", finished, "--out", out],
            "not of cifar-resnet20",
        ),
    ):
        answer = ask(*asked, "--device", "cpu")
        assert answer.status == 2, answer
        (line,) = answer.err.splitlines()
        assert line.startswith("resnets: ")
        assert told in line
        assert not out.exists()


def test_resuming_with_other_weights_or_from_moved_ones_is_refused(ask, data, tuned, finished):
    folder, _ = tuned
    answer = ask("train", "--resume", folder, "--weights", folder)
    assert answer.status == 2
    (line,) = answer.err.splitlines()
    assert "began with another recipe (transfer.weights:" in line
    assert ask("train", "--resume", folder, "--weights", finished).status == 0
