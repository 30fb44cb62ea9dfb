"""Other people's weights, whole ensembles and folders of images, by the real command."""

import csv
import io
import json
import pickle
import signal
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core import artifacts
from resnets.models import foreign, making
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec

TINY = ResNetSpec(
    stem=StemSpec(kernel=7, width=8, stride=2, pool=True),
    block="basic",
    stages=(StageSpec(blocks=2, width=8, stride=1), StageSpec(blocks=1, width=16, stride=2)),
    shortcut="B",
    classes=4,
)
SMALL = "torchvision,resize=40,crop=32"


class Bomb:
    """Unpickling it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def bomb_of_pixels(path):
    """Write a good PNG of 50,000 x 50,000 black and white pixels: 312 MB in half a megabyte."""
    side = 50_000

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    pack = zlib.compressobj(1)
    rows = bytes(1000 * (1 + side // 8))
    packed = b"".join(pack.compress(rows) for _ in range(side // 1000)) + pack.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, ask):
    """A folder with a network under torchvision's names, ours of it, images, and what is wrong."""
    at = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    good = foreign.to_theirs(making.make(TINY).state_dict(), "torchvision", TINY)
    torch.save({"state_dict": good}, at / "good.pth")
    renamed = dict(good)
    renamed["layer2.0.conv2.kernel"] = renamed.pop("layer2.0.conv2.weight")
    torch.save(renamed, at / "renamed.pth")
    torch.save(good | {"layer1.1.bn1.bias": torch.zeros(9)}, at / "shape.pth")
    content = (at / "good.pth").read_bytes()
    (at / "short.pth").write_bytes(content[: len(content) // 2])
    torch.save({"state_dict": good, "epoch": Bomb()}, at / "bomb.pth")
    (at / "old-bomb.pth").write_bytes(pickle.dumps(Bomb(), protocol=2))
    torch.save({"a": torch.ones(1)}, at / "other.pth")
    bomb_of_pixels(at / "bomb.png")
    draw = np.random.default_rng(0)
    for folder in ("images", "missing", "exploding"):
        (at / folder).mkdir()
        for i in range(3):
            pixels = draw.integers(0, 255, (44, 50, 3), np.uint8)
            Image.fromarray(pixels).save(at / folder / f"{i}.png")
    rows = "file,class_index\n0.png,0\n1.png,1\n2.png,3\n"
    (at / "images" / "labels.csv").write_text(rows)
    (at / "missing" / "labels.csv").write_text(rows + "gone.png,2\n")
    (at / "exploding" / "labels.csv").write_text(rows + "bomb.png,2\n")
    (at / "bomb.png").rename(at / "exploding" / "bomb.png")
    (at / "a-file").write_text("no folder")
    words = ("--preprocess", SMALL, "--to", at / "ours.safetensors")
    assert ask("weights", "convert", at / "good.pth", *words).status == 0
    return at


CONVERT = f"weights convert FILE --preprocess {SMALL} --to new.safetensors"
# Every request and what its one line must name.
WRONG = {
    "a renamed tensor": (
        CONVERT.replace("FILE", "renamed.pth"),
        "the file lacks layer2.0.conv2.weight",
        "no place for layer2.0.conv2.kernel",
    ),
    "another shape": (CONVERT.replace("FILE", "shape.pth"), "layer1.1.bn1.bias 9 for 8"),
    "a file cut short": (CONVERT.replace("FILE", "short.pth"), "short.pth", "cut short"),
    "a pickle that explodes": (CONVERT.replace("FILE", "bomb.pth"), "holds code", "never run"),
    "an old pickle that explodes": (CONVERT.replace("FILE", "old-bomb.pth"), "old-bomb.pth"),
    "tensors of nobody": (CONVERT.replace("FILE", "other.pth"), "1 tensors (a, ...)"),
    "an image as weights": (CONVERT.replace("FILE", "images/0.png"), "no kind of weights"),
    "no file": (CONVERT.replace("FILE", "gone.pth"), "gone.pth", "no such file"),
    "another model": (f"{CONVERT} --model vgg16".replace("FILE", "good.pth"), "not vgg16"),
    "an unknown model": (f"{CONVERT} --model vgg17".replace("FILE", "good.pth"), "list models"),
    "no preprocessing": ("weights convert good.pth --to n.safetensors", "--preprocess"),
    "no place": ("weights convert good.pth --preprocess torchvision", "--to"),
    "a place in a file": (
        CONVERT.replace("FILE", "good.pth").replace("new", "a-file/new"),
        "cannot write a-file/new.safetensors",
    ),
    "class names that are not there": (
        f"{CONVERT} --classes gone.txt".replace("FILE", "good.pth"),
        "--classes gone.txt",
    ),
    "an export of nothing": ("weights export gone --to back.pth", "gone", "no such file"),
    "an export by another name": ("weights export ours.safetensors --to back.h5", ".pth"),
    "weights nobody published": ("weights fetch msra/resnet51", "msra/resnet50", "weights list"),
    "a checkpoint nobody published": ("predict msra/resnet51 images", "msra/resnet50"),
    "an image that explodes": ("predict ours.safetensors exploding/bomb.png", "too many pixels"),
    "a data set that explodes": (
        "evaluate ours.safetensors --data exploding",
        "bomb.png",
        "too many pixels",
    ),
    "a label of a missing file": (
        "evaluate ours.safetensors --data missing",
        "labels.csv: gone.png is missing",
    ),
    "no data": ("evaluate ours.safetensors", "say --data D"),
    "a split of other data": ("evaluate ours.safetensors --data images --split test", "--split"),
    "an unknown protocol": ("evaluate ours.safetensors --data images --protocol 12-crop", "12"),
    "no images to average over": (
        "weights true-average ours.safetensors --to n.safetensors --data images",
        "no training split",
    ),
    "an explanation without a name": (
        "predict ours.safetensors images/0.png --explain out.jpg",
        "--explain out.jpg",
    ),
    "one explanation of many": ("predict ours.safetensors images --explain out.png", "a folder"),
    "no classes as a table": ("predict ours.safetensors images --top 0 --format csv", "--top"),
    "an unknown format": ("predict ours.safetensors images --format xml", "xml"),
}


# These are also asked of the real command, in a process of its own.
REPRESENTATIVE = ("a pickle that explodes", "an image that explodes")


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_costs_one_line_and_writes_nothing(case, place, ask, contents_of):
    words, *named = WRONG[case]
    before = contents_of(place)
    answer = ask(*words.split())
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("resnets: ")
    assert answer.err.count("\n") == 1
    for part in named:
        assert part in answer.err
    assert contents_of(place) == before


def test_the_real_command_says_what_is_said_here(place, ask, ask_process):
    requests = [WRONG[case][0].split() for case in REPRESENTATIVE]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda words: ask_process(*words, cwd=place), requests))
    assert answers == [ask(*words) for words in requests]
    assert not (place / "exploded").exists()


def test_the_pickles_here_would_explode_in_another_reader(shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bomb.pth", "old-bomb.pth"):
        if name == "bomb.pth":
            torch.load(shelf / name, weights_only=False)
        else:
            pickle.loads((shelf / name).read_bytes())
        (tmp_path / "exploded").unlink()


def test_ctrl_c_while_it_writes_costs_one_line_and_leaves_nothing(place, ask, monkeypatch):
    write = artifacts.write_bytes

    def interrupted(path, content):
        monkeypatch.setattr(artifacts.os, "fsync", lambda file: signal.raise_signal(signal.SIGINT))
        write(path, content)

    monkeypatch.setattr(artifacts, "write_bytes", interrupted)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    answer = ask(*CONVERT.replace("FILE", "good.pth").split())
    signal.signal(signal.SIGINT, before)
    assert answer == (130, "", "resnets: stopped\n")
    assert not [path.name for path in place.iterdir() if "new" in path.name]


CHECKPOINT = {
    *("checkpoint", "model", "preprocessing", "classes", "class_names", "weights_sha256", "source"),
}
JSON = {
    "list": (
        "weights list",
        {
            *("weights", "model", "reported_top1_error_percent", "at", "preprocessing", "licence"),
            *("published", "url", "note", "reported"),
        },
    ),
    "convert": (f"weights convert good.pth --preprocess {SMALL} --to TO/o.safetensors", CHECKPOINT),
    "export": (
        "weights export ours.safetensors --to TO/back.pth",
        {"file", "names", "model", "tensors", "preprocessing"},
    ),
    "true-average": (
        "weights true-average FINISHED --to TO/a.safetensors --device cpu",
        CHECKPOINT,
    ),
    "evaluate": (
        "evaluate ours.safetensors ours.safetensors --data images --per-class --protocol ten-crop",
        {
            *("top1_error_percent", "top1_interval_percent", "images", "split", "protocol"),
            *("top5_error_percent", "top5_interval_percent", "precision", "close_calls"),
            *("images_per_second", "checkpoints", "data", "data_digest", "classes"),
        },
    ),
}


@pytest.mark.parametrize("case", JSON)
def test_json_is_one_value_with_the_documented_keys(case, place, finished, ask, tmp_path):
    words, keys = JSON[case]
    words = words.replace("TO", str(tmp_path)).replace("FINISHED", str(finished))
    answer = ask(*words.split(), "--json")
    assert (answer.status, answer.err) == (0, "") or case in ("true-average", "evaluate")
    value = json.loads(answer.out)
    assert set(value[0] if isinstance(value, list) else value) == keys
    readable = ask(*words.split())
    assert readable.status == 0
    assert len(readable.out.splitlines()) >= 5


def test_an_ensemble_by_the_command_has_a_line_for_each_of_its_classes(place, ask):
    answer = ask("evaluate", *["ours.safetensors"] * 2, "--data", "images", "--per-class")
    *first, head, zero, one, three = answer.out.splitlines()
    assert [line.split("  ")[0] for line in first] == [
        *("top-1 error", "top-5 error", "images", "protocol"),
    ]
    assert "ensemble of 2, mean of softmax, images validation, single-crop" in first[-1]
    assert head.split()[:3] == ["class", "class_index", "images"]
    assert [row.split("  ")[0] for row in (zero, one, three)] == ["class 0", "class 1", "class 3"]


def test_an_exported_network_is_the_one_that_was_converted(place, ask, tmp_path):
    assert ask("weights", "export", "ours.safetensors", "--to", tmp_path / "b.pth").status == 0
    back = torch.load(tmp_path / "b.pth", weights_only=True)
    given = torch.load(place / "good.pth", weights_only=True)["state_dict"]
    assert back.keys() == given.keys()
    assert all(torch.equal(back[name], given[name]) for name in given)


# --- Predicting.


def test_every_layout_has_the_same_predictions(place, ask):
    asked = ("predict", "ours.safetensors", "images", "images/0.png", "--top", "2")
    rows = json.loads(ask(*asked, "--json").out)
    files = [f"images/{name}.png" for name in (0, 0, 1, 1, 2, 2, 0, 0)]
    assert [row["file"] for row in rows] == files
    lines = ask(*asked, "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == rows
    table = list(csv.DictReader(io.StringIO(ask(*asked, "--format", "csv").out)))
    told = [{name: str(value) for name, value in row.items()} for row in rows]
    assert table == told
    plain = [line.split("  ")[:2] for line in ask(*asked).out.splitlines()]
    assert plain == [[row["file"], row["class"]] for row in rows]


@pytest.mark.parametrize("what", ["an image", "names"])
def test_standard_input_is_an_image_or_names(what, place, ask, monkeypatch):
    image = (place / "images" / "1.png").read_bytes()
    content = image if what == "an image" else b"images/1.png\n\nimages/2.png\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    rows = json.loads(ask("predict", "ours.safetensors", "-", "--json").out)
    names = {"an image": ["standard input"], "names": ["images/1.png", "images/2.png"]}
    assert [row["file"] for row in rows] == names[what]


def test_images_that_can_be_read_are_explained_and_the_others_cost_one_line(place, ask, tmp_path):
    asked = ("predict", "ours.safetensors", "images/0.png", "a-file", "images/2.png")
    answer = ask(*asked, "--explain", tmp_path / "out", "--format", "jsonl")
    assert answer.status == 2
    assert [json.loads(line)["file"] for line in answer.out.splitlines()] == [
        *("images/0.png", "images/2.png")
    ]
    *drawn, refused = answer.err.splitlines()
    assert refused.startswith("resnets: a-file: not an image")
    assert len(drawn) == 2
    assert all("class activation map, exact" in line for line in drawn)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "2.png"]
    with Image.open(tmp_path / "out" / "0.png") as picture:
        assert picture.size[0] > 400


def test_one_explanation_goes_to_the_file_that_is_named(place, ask, tmp_path):
    to = tmp_path / "why.png"
    answer = ask("predict", "ours.safetensors", "images/0.png", "--explain", to, "--json")
    assert answer.status == 0
    assert len(json.loads(answer.out)) == 1
    assert answer.err.startswith(f"{to}: class ")
    assert [path.name for path in tmp_path.iterdir()] == ["why.png"]
