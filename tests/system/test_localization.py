"""The real command on ILSVRC's layout: train a localizer, share the work, measure it."""

import json
import shutil

import pytest

import samples
from resnets.core import artifacts
from resnets.inference import checkpoints, origins

SMALL = samples.small_resnet(classes=2)
QUICK = [
    *("--device", "cpu", "--set", "precision=float32", "--set", "total_steps=8"),
    *("--set", "data.augment.shorter_px=[64,72]", "--set", "data.augment.crop_px=64"),
    *("--set", "data.view.resize_px=64", "--set", "data.view.crop_px=64"),
    *("--set", "model.anchors.scales_px=[32]"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return samples.write_clsloc(folder / "ILSVRC", {"train": 6, "val": 4}).parent


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A classifier of circles and squares that learnt nothing of use."""
    found = origins.checkpoint(samples.trained(SMALL))
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    artifacts.save_tensors(path, found.tensors, found.about | {"classes": [*samples.SHAPES]})
    return path


@pytest.fixture(scope="module")
def words(data, weights):
    """What trains a localizer for eight updates."""
    return ["train", "localize.finetune", "--data", data, "--weights", weights, *QUICK]


@pytest.fixture(scope="module")
def trained(ask, words, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "trained"
    answer = ask(*words, "--out", out, "--json")
    assert answer.status == 0, answer.err
    return out, answer


def test_a_folder_in_ilsvrcs_layout_trains_a_localizer_of_its_classes(trained):
    folder, answer = trained
    told = json.loads(answer.out)
    assert (told["split"], told["images"]) == ("validation", 4)
    assert 0 <= told["localization_error_percent"] <= 100
    found = checkpoints.newest(folder)
    assert found.about["name"] == "localize.finetune"
    assert found.classes == ("circle", "square")
    assert found.spec.backbone == SMALL


def test_it_is_evaluated_with_nothing_else_named(ask, trained):
    folder, answer = trained
    measured = ask("evaluate", folder, "--precision", "float32", "--json", "--device", "cpu")
    assert measured.status == 0, measured.err
    told, wanted = json.loads(measured.out), json.loads(answer.out)
    for name in ("localization_error_percent", "images", "split"):
        assert told[name] == wanted[name]
    assert told["top5_localization_error_percent"] == told["localization_error_percent"]
    assert told["top5_error_percent"] == 0
    dense = ask("evaluate", folder, "--protocol", "multi-scale", "--device", "cpu", "--per-class")
    assert dense.status == 0, dense.err
    lines = [line.split()[0] for line in dense.out.splitlines()]
    assert lines[:5] == ["true", "top-1", "top-5", "images", "protocol"]
    assert "shorter sides 64, 73, 110, 137, 183 px" in dense.out


def test_two_processes_learn_what_one_learns(trained, words, team, tmp_path):
    out = tmp_path / "shared"
    statuses, told = team(2, [*words, "--out", out], tmp_path / "said")
    assert statuses == [0, 0], told
    alone, shared = (samples.losses(folder) for folder in (trained[0], out))
    assert shared == pytest.approx(alone, rel=1e-3)


def test_resuming_a_finished_one_gives_its_result(ask, trained):
    folder, answer = trained
    again = ask("train", "--resume", folder, "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out) == json.loads(answer.out)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["evaluate", "RUN", "--protocol", "voc2007"], "a localizer takes single-crop"),
        (["evaluate", "RUN", "--submission", "x.txt"], "--submission: is for detectors"),
        (["evaluate", "WEIGHTS", "RUN"], "as the first of several"),
        (["predict", "RUN", "x.png"], "holds a localizer"),
        (["inspect", "RUN"], "holds a localizer"),
        (["train", "localize.finetune", "--data", "synthetic"], "this needs boxes"),
        (["train", "imagenet.localization-resnet101", "--data", "DATA", "--weights", "WEIGHTS"],
         "not of resnet101"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_one_line(ask, trained, data, weights, asked, told, tmp_path):
    (tmp_path / "x.png").write_bytes(samples.saved(samples.photo(64, 64), "PNG"))
    for_words = {"RUN": trained[0], "WEIGHTS": weights, "DATA": data, "x.png": tmp_path / "x.png"}
    answer = ask(*(for_words.get(word, word) for word in asked))
    assert answer.status == 2
    assert told in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_classification_trains_on_the_same_folder_and_goes_on_there(ask, data, weights, tmp_path):
    """Where the images to validate on are in folders of classes too."""
    asked = ["train", "folder.finetune", "--weights", weights, "--device", "cpu"]
    flat = ask(*asked, "--data", data, "--out", tmp_path / "flat")
    assert (flat.status, "no class folders are here" in flat.err) == (2, True)
    sorted_, out = tmp_path / "shapes", tmp_path / "run"
    shutil.copytree(data, sorted_)
    split = sorted_ / "ILSVRC/Data/CLS-LOC/val"
    for index, image in enumerate(sorted(split.iterdir())):
        place = split / ("circle", "square")[index % 2]
        place.mkdir(exist_ok=True)
        image.rename(place / image.name)
    answer = ask(*asked, "--data", sorted_, "--out", out, "--epochs", "1")
    assert answer.status == 0, answer.err
    assert (out / "report.html").exists(), answer.err
    again = ask("train", "folder.finetune", "--data", sorted_, "--resume", out, "--epochs", "1")
    assert again.status == 0, again.err
    assert "this run is finished" in again.err
