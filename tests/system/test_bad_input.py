"""What a wrong request costs: one line, exit status 2, and nothing written."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from resnets.data import opening


class Bomb:
    """Unpickling it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def cut_short(source, to):
    content = source.read_bytes()
    to.write_bytes(content[: len(content) // 2])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, finished, stopped):
    """A folder with everything that can be wrong."""
    at = tmp_path_factory.mktemp("shelf")
    shutil.copytree(finished, at / "finished")
    shutil.copytree(stopped, at / "stopped")
    (at / "empty").mkdir()
    (at / "occupied").mkdir()
    (at / "occupied" / "thesis.txt").write_text("years of work")
    (at / "text.txt").write_text("no data set, no checkpoint, no image")
    (at / "holey").mkdir()
    (at / "holey" / "data_batch_1").write_bytes(b"")
    cut_short(finished / "model.safetensors", at / "short.safetensors")
    save_file({"weight": torch.zeros(3)}, at / "foreign.safetensors")
    (at / "bomb.pt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    for name in ("bombs", "torch-bombs"):
        (at / name).mkdir()
    for number in (*range(1, 6), "t"):
        name = "test_batch" if number == "t" else f"data_batch_{number}"
        (at / "bombs" / name).write_bytes(pickle.dumps({b"data": Bomb(), b"labels": [0]}))
    torch.save({"model": Bomb()}, at / "torch-bombs" / "model.safetensors")
    shutil.copytree(finished, at / "headless")
    (at / "headless" / "manifest.json").unlink()
    shutil.copytree(stopped, at / "scribbled")
    (at / "scribbled" / "manifest.json").write_text("[1, 2")
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(at / "photo.png")
    cut_short(at / "photo.png", at / "half.png")
    shutil.copy(at / "text.txt", at / "text.jpg")
    return at


# Every request and what its one line must name.
WRONG = {
    "an unknown recipe": ("train sample.resnet21", "sample.resnet20", "resnets list recipes"),
    "an unknown model to train": ("train --model resnet19", "resnet18", "resnets list models"),
    "an unknown model to inspect": ("inspect resnet19", "resnet18", "resnets list models"),
    "an unknown model to time": ("bench resnet19", "resnet18", "resnets list models"),
    "a depth that is not 6n+2": ("train --model cifar-resnet21", "6n+2", "20 and 26"),
    "the same to inspect": ("inspect cifar-resnet21", "6n+2", "20 and 26"),
    "an image without pixels": ("inspect resnet18 --image-px 0", "image", "positive"),
    "a setting of no field": ("train --set optim.lr=1", "optim.lr", "resnets list recipes"),
    "a setting below no field": ("train --set batch_images.x=1", "batch_images.x"),
    "a setting without a name": ("train --set =1", "--set"),
    "a setting of a bad type": ("train --set optim.momentum=high", "optim.momentum"),
    "a setting out of range": ("train --set optim.momentum=2", "optim.momentum", "[0, 1)"),
    "a setting of a bad choice": ("train --set precision=float8", "precision", "bfloat16"),
    "a setting that breaks a model": ("train --set model.classes=7", "model.classes"),
    "a setting of no updates": ("train --set total_steps=0", "total_steps"),
    "a setting that is not finite": ("train --set optim.learning_rate=NaN", "learning_rate"),
    "a setting without a value": ("train --set optim.momentum", "field=value"),
    "no epochs": ("train --epochs 0", "--epochs", "positive"),
    "an empty batch": ("train --batch-size 0", "batch", "positive"),
    "a negative batch": ("train --batch-size -8", "batch", "positive"),
    "no rate": ("train --lr 0", "learning_rate", "positive"),
    "a device that is not there": (
        "train sample.resnet20 --data synthetic --device cuda:7",
        "cuda:7",
        "cpu",
    ),
    "a device of no kind": ("evaluate finished --device abacus", "abacus", "cpu"),
    "another device to time": ("bench cifar-resnet8 --device cuda:7", "cuda:7", "cpu"),
    "an empty batch to time": ("bench cifar-resnet8 --batch-size 0", "--batch-size", "positive"),
    "an empty folder of data": ("train --data empty", "empty", "CIFAR-10"),
    "a file as data": ("train --data text.txt", "text.txt", "a file"),
    "an unknown name of data": ("train --data cifar11", "cifar10", "resnets data list"),
    "an incomplete folder of data": ("train --data holey", "data_batch_2", "resnets data fetch"),
    "data that explodes": ("data check bombs", "data_batch_1", "touch"),
    "data to check": ("data check nowhere", "nowhere", "resnets data list"),
    "data to fetch": ("data fetch cifar100", "cifar10", "resnets data list"),
    "data of nobody's home": ("train --data ~nobody-here/x", "~nobody-here"),
    "data of too long a name": (f"train --data {'x' * 5000}", "data"),
    "data that no recipe is made for": ("train --data synthetic", "synthetic", "list recipes"),
    "more held out than there is": (
        "train sample.resnet20 --data synthetic --set data.held_out_images=256",
        "held_out_images",
        "255",
    ),
    "a run in the place of a run": ("train --out finished", "--resume finished", "--out"),
    "a run among other files": ("train --out occupied", "occupied", "empty"),
    "a run in the place of a file": ("train --out text.txt", "text.txt"),
    "a run inside a file": ("train --out text.txt/run", "text.txt"),
    "a run of too long a name": (f"train --out {'x' * 300}", "xxx"),
    "a run to resume that is not there": ("train --resume nowhere", "nowhere", "no run"),
    "a folder without a run": ("train --resume empty", "empty", "no run"),
    "a file to resume": ("train --resume text.txt", "text.txt"),
    "a run without its manifest": ("train --resume headless", "manifest.json"),
    "a run with a damaged manifest": ("train --resume scribbled", "manifest.json"),
    "a run with another rate": ("train --resume stopped --lr 0.5", "learning_rate", "-> 0.5"),
    "a run with another recipe": ("train sample.plain20 --resume stopped", "shortcut"),
    "a run with another setting": (
        "train --resume stopped --set optim.momentum=0.5",
        "optim.momentum: 0.9 -> 0.5",
    ),
    "a run with other data": ("train --resume stopped --data cifar10-sample", "other data"),
    "a run with other data and a rate": (
        "train --resume stopped --data cifar10-sample --lr 0.1",
        "stopped",
    ),
    "a run in another folder": ("train --resume stopped --out here", "--out", "leave it out"),
    "a run with another seed": ("train --resume stopped --seed 1", "--seed", "leave it out"),
    "no such checkpoint": ("evaluate nowhere", "nowhere", "no such file"),
    "no such checkpoint to predict": ("predict nowhere photo.png", "nowhere", "no such file"),
    "a folder without a checkpoint": ("evaluate empty", "empty", "resnets train"),
    "a checkpoint cut short": ("evaluate short.safetensors", "short.safetensors", "cut short"),
    "the same to predict": ("predict short.safetensors photo.png", "cut short"),
    "the same to inspect it": ("inspect short.safetensors", "cut short"),
    "somebody else's safetensors": ("evaluate foreign.safetensors", "did not write"),
    "the same foreign file to inspect": ("inspect foreign.safetensors", "did not write"),
    "a pickle as checkpoint": ("evaluate bomb.pt", "bomb.pt", "not a checkpoint"),
    "a pickle to predict with": ("predict bomb.pt photo.png", "not a checkpoint"),
    "a pickle to inspect": ("inspect bomb.pt", "not a checkpoint"),
    "a pickle in a run": ("evaluate torch-bombs", "not a checkpoint"),
    "a text as checkpoint": ("inspect text.txt", "text.txt", "not a checkpoint"),
    "an image as checkpoint": ("predict photo.png photo.png", "not a checkpoint"),
    "a split that was not held out": ("evaluate finished --split validation", "validation"),
    "data of other classes": ("evaluate finished --data cifar10-sample", "10 classes", "4"),
    "an image that is not there": ("predict finished nowhere.png", "nowhere.png", "no such file"),
    "a folder without an image": ("predict finished empty", "empty", "no image in this folder"),
    "a text as image": ("predict finished text.jpg", "text.jpg", "not an image"),
    "half an image": ("predict finished half.png", "half.png", "damaged"),
    "an unknown command": ("trian", "trian"),
    "an unknown command of data": ("data chekc", "chekc"),
    "an unknown flag": ("train --learning-rate 1", "--learning-rate"),
    "a word where a number goes": ("train --epochs ten", "--epochs"),
    "a word too much": ("doctor now", "now"),
    "nothing to predict": ("predict finished", "IMAGE"),
    "an unknown split": ("evaluate finished --split exam", "exam"),
    "an unknown list": ("list everything", "everything"),
    "no value": ("train --data", "--data"),
    "no classes": ("predict finished photo.png --top 0", "--top", "1"),
}

# These are also asked of the real command, in a process of its own.
REPRESENTATIVE = (
    "an unknown recipe",
    "data that explodes",
    "a run among other files",
    "a checkpoint cut short",
    "a pickle as checkpoint",
    "a text as image",
)


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_costs_one_line_and_writes_nothing(case, place, ask, contents_of):
    words, *named = WRONG[case]
    before = contents_of(place)
    answer = ask(*words.split())
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("resnets: ")
    assert answer.err.count("\n") == 1
    assert answer.err.endswith("\n")
    for part in named:
        assert part in answer.err
    assert contents_of(place) == before


def test_resuming_a_finished_run_says_so_and_changes_nothing(place, ask, contents_of):
    before = contents_of(place)
    answer = ask("train", "--resume", "finished")
    assert answer.status == 0
    assert answer.err == "finished: this run is finished; nothing was done\n"
    assert "% test error" in answer.out
    assert contents_of(place) == before


@pytest.mark.parametrize("damaged", ["checkpoint", "data"])
def test_the_pickles_here_would_explode_in_another_reader(damaged, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = {"checkpoint": "bomb.pt", "data": "bombs/data_batch_1"}[damaged]
    pickle.loads((shelf / file).read_bytes())
    assert (tmp_path / "exploded").exists()


def test_the_real_command_says_what_is_said_here(place, ask, ask_process, contents_of):
    before = contents_of(place)
    requests = [WRONG[case][0].split() for case in REPRESENTATIVE]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda words: ask_process(*words, cwd=place), requests))
    assert answers == [ask(*words) for words in requests]
    assert contents_of(place) == before


def test_ctrl_c_costs_one_line_whatever_the_command_is_doing(ask, monkeypatch):
    def interrupted(where):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(opening, "open_data", interrupted)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    answer = ask("data", "check", "synthetic")
    signal.signal(signal.SIGINT, before)
    assert answer == (130, "", "resnets: stopped\n")


def test_debug_shows_the_traceback(place, ask_process):
    answer = ask_process("inspect", "resnet19", "--debug", cwd=place)
    assert answer.status == 1
    assert "Traceback" in answer.err
    assert "ModelError" in answer.err


def test_the_default_folder_is_not_made_for_a_wrong_request(ask, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert ask("train", "--set", "optim.momentum=2").status == 2
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 700 kB: a manifest fits on it, and no state of a network."""
    at = tmp_path / "disk"
    at.mkdir()

    def mount(options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(at)], capture_output=True
        )

    if sys.platform != "linux" or not shutil.which("mount") or mount("size=200k").returncode:
        pytest.skip("a disk can only be mounted by root on Linux")
    yield at, lambda: mount("remount,size=20m")
    subprocess.run(["umount", str(at)], check=True)


def test_a_full_disk_costs_one_line_and_no_training(small_disk, command, ask, finished, tmp_path):
    at, enlarge = small_disk
    _, _, tiny = command
    run = at / "run"
    answer = ask(*tiny(6), "--out", run)
    last = answer.err.splitlines()[-1]
    assert answer.status == 2
    assert last.startswith(f"resnets: cannot write {run}")
    assert "no space left" in last
    assert "Traceback" not in answer.err
    assert not list(at.rglob("*.partial"))
    assert not (run / "model.safetensors").exists()
    enlarge()
    assert ask("train", "--resume", run).status == 0
    same = [
        json.loads(ask("inspect", folder, "--json").out)["weights_sha256"]
        for folder in (run, finished)
    ]
    assert same[0] == same[1]


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
@pytest.mark.parametrize("allowed_bytes", [1000, 100_000])
def test_a_file_that_may_not_grow_costs_one_line(allowed_bytes, command, ask_process, tmp_path):
    import resource

    _, _, tiny = command
    answer = ask_process(
        *tiny(6),
        *("--out", tmp_path / "run"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (allowed_bytes,) * 2),
    )
    last = answer.err.splitlines()[-1]
    assert answer.status == 2
    assert last.startswith(f"resnets: cannot write {tmp_path}")
    assert "File too large" in last
    assert "Traceback" not in answer.err
    assert not list(tmp_path.rglob("*.partial"))


def keys_of(value):
    return set(value[0] if isinstance(value, list) else value)


COST = {"model", "depth", "image_px", "parameters", "multiply_adds", "layers", "stages", "blocks"}
COUNTS = {
    *("data", "train_images", "test_images", "classes", "unreadable_images", "repeated_images"),
    "digest",
}
JSON = {
    "train": (
        "train --json",
        {"run", "split", "images", "top1_error_percent", "updates", "set_aside_images"},
    ),
    "evaluate": (
        "evaluate finished --json",
        {
            *("top1_error_percent", "top1_interval_percent", "images", "split", "protocol"),
            *("top5_error_percent", "top5_interval_percent", "precision", "close_calls"),
            *("images_per_second", "checkpoints", "data", "data_digest"),
        },
    ),
    "predict": (
        "predict finished photo.png photo.png --top 2 --json",
        {"file", "class", "class_index", "probability"},
    ),
    "inspect a network": ("inspect cifar-resnet20 --json", COST),
    "inspect a run": (
        "inspect finished --json",
        {*COST, "weights_sha256", "recipe", "name", "update", "classes", "data", "seed"},
    ),
    "list recipes": (
        "list recipes --json",
        {
            *("recipe", "digest", "data", "epochs", "updates", "batch_images", "source", "fields"),
            *("expected_top1_error_percent", "expected_ap50_percent", "checked", "cost"),
            "expected_localization_error_percent",
        },
    ),
    "list models": (
        "list models --json",
        {"model", "depth", "parameters", "multiply_adds", "image_px"},
    ),
    "data list": ("data list --json", {"data", "here", "what"}),
    "data check": (
        "data check synthetic --json",
        {*COUNTS, *("trainable", "refusal", "findings", "by_class", "sizes", "modes", "formats")},
    ),
    "data fetch": ("data fetch synthetic --json", COUNTS),
    "doctor": (
        "doctor --json",
        {
            *("resnets", "torch", "processor", "cores", "gpus", "bfloat16", "compiling", "npm"),
            *("memory_kept", "cache", "cifar10", "will_use_device", "will_use_precision"),
            *("will_use_threads", "will_compile_short_run", "will_compile_long_run"),
        },
    ),
    "bench": (
        "bench cifar-resnet8 --batch-size 8 --device cpu --json",
        {
            *("model", "batch_images", "image_px", "device", "processor", "cores", "threads"),
            *("bfloat16", "system", "precision"),
            *("training_images_per_second", "inference_images_per_second"),
        },
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_json_is_one_value_with_the_documented_keys(case, place, command, ask, tmp_path):
    words, keys = JSON[case]
    _, _, tiny = command
    asked = words.split()
    if case == "train":
        asked = [*tiny(2), "--out", tmp_path / "run", "--json"]
    answer = ask(*asked)
    assert answer.status == 0, answer.err
    value = json.loads(answer.out)
    assert keys_of(value) == keys
    assert "NaN" not in answer.out
    assert "Infinity" not in answer.out


def test_the_real_command_puts_nothing_but_json_on_standard_output(
    place, command, ask_process, tmp_path
):
    _, _, tiny = command
    requests = [
        [*tiny(2), "--out", tmp_path / "run", "--json"],
        JSON["evaluate"][0].split(),
        JSON["predict"][0].split(),
        JSON["doctor"][0].split(),
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda words: ask_process(*words, cwd=place), requests))
    assert [answer.status for answer in answers] == [0] * len(requests)
    train, evaluate, predict, doctor = (json.loads(answer.out) for answer in answers)
    assert train["updates"] == 2
    assert evaluate["images"] == 64
    assert [row["file"] for row in predict] == ["photo.png"] * 4
    assert doctor["torch"] == torch.__version__


def test_images_that_can_be_read_are_predicted_and_the_others_cost_one_line(place, ask):
    answer = ask("predict", "finished", "photo.png", "text.jpg", "half.png", "photo.png")
    assert answer.status == 2
    assert [line.split("  ")[0] for line in answer.out.splitlines()] == ["photo.png"] * 2
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("resnets: 2 images could not be decoded; the first: text.jpg: ")


def test_predictions_are_ranked_and_their_probabilities_sum_to_one(place, ask):
    rows = json.loads(ask("predict", "finished", "photo.png", "--top", "9", "--json").out)
    given = [row["probability"] for row in rows]
    assert given == sorted(given, reverse=True)
    assert sum(given) == pytest.approx(1, abs=1e-5)
    assert {row["class"] for row in rows} == {"red", "green", "blue", "dark"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_an_answer_that_cannot_be_written_costs_one_line(command):
    resnets, environment, _ = command
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [*resnets, "data", "list"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode != 0
    assert ran.stderr.startswith("resnets: ")
    assert ran.stderr.count("\n") == 1


def test_help_imports_nothing_heavy(command):
    _, environment, _ = command
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "resnets", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: resnets" in ran.stdout
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.stderr.splitlines()}
    assert "resnets" in imported
    heavy = {"torch", "numpy", "pydantic", "matplotlib", "PIL", "safetensors"}
    assert not imported & heavy
