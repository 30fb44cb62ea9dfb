"""The real command packs, is killed wherever it can be, and every command takes what it made."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import samples
from resnets.data import imagenet, packs

HERE = Path(__file__).parent
TINY = [
    *("--set", "data.augment.shorter_px=[48,64]", "--set", "data.augment.crop_px=48"),
    *("--set", "precision=float32", "--set", "total_steps=2"),
    *("--batch-size", "4", "--device", "cpu", "--compile", "off"),
]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return samples.write_imagenet(tmp_path_factory.mktemp("data") / "ILSVRC2012")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def photos(folder, count=8):
    for i in range(count):
        path = folder / ("train", "val")[i % 2] / ("cat", "dog")[i % 4 // 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image" if i == 3 else samples.jpeg(i, 60 + 8 * i, 100))
    return folder


@pytest.mark.skipif(os.name != "posix", reason="kills with POSIX signals")
def test_packing_that_is_killed_before_anything_it_does_continues_to_the_same_bytes(
    tmp_path, command
):
    _, environment, _ = command
    data = photos(tmp_path / "photos", 5)
    words = ["--shorter-px", "75"]  # of some images that is less
    crashing = [
        subprocess.Popen(
            [sys.executable, HERE / "pack_crashes.py", data, tmp_path, str(first), "2", *words],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(2)
    ]
    stories = [
        json.loads(line)
        for each in crashing
        for line in each.communicate(timeout=300)[0].splitlines()
    ]
    assert [each.returncode for each in crashing] == [0, 0]
    deaths = [story for story in stories if story["status"] == -signal.SIGKILL]
    assert len(deaths) == len(stories) - 2 > 15  # each process ended with one that lived
    assert {story["again"] for story in stories} == {0}
    lived = stories[-1]["files"]
    assert len(lived) == 3  # the index and two shards
    assert all(story["files"] == lived for story in stories)


def test_every_command_that_takes_data_takes_a_pack(ask, archives, tmp_path):
    packed, run = tmp_path / "packed", tmp_path / "run"
    answer = ask("data", "pack", archives, packed, "--json")
    assert answer.status == 0, answer.err
    made = json.loads(answer.out)
    assert (made["data"], made["images"], made["left_out_images"]) == ("imagenet", 24, 0)
    checked = [json.loads(ask("data", "check", at, "--json").out) for at in (archives, packed)]
    assert checked[0] == checked[1]
    assert checked[0]["digest"] == made["digest"]

    trained = ask("train", "imagenet.resnet18", "--data", packed, "--out", run, *TINY, "--json")
    assert trained.status == 0, trained.err
    measured = [
        json.loads(ask("evaluate", run, *words, "--json").out)
        for words in ([], ["--data", archives])
    ]
    for each in measured:
        assert each.pop("images_per_second") > 0
    assert measured[0] == measured[1]
    averaged = ask(
        "weights",
        "true-average",
        run,
        "--to",
        tmp_path / "a.safetensors",
        "--data",
        packed,
        "--json",
    )
    assert averaged.status == 0, averaged.err


def test_what_was_written_and_left_out_is_told(ask, tmp_path):
    answer = ask("data", "pack", photos(tmp_path / "photos"), tmp_path / "pack")
    assert answer.status == 0
    lines = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert (lines["images"], lines["left_out_images"], lines["resized_images"]) == ("7", "1", "0")
    size = (tmp_path / "pack" / packs.shard_name(0)).stat().st_size
    assert lines["bytes"] == f"{size:,}"
    first, last = answer.err.splitlines()
    assert first.startswith("dog/3.jpg: not an image")
    assert last == "1 of 8 images cannot be read or decoded and were left out; --json names them"


def test_a_wrong_request_to_pack_costs_one_line_and_writes_nothing(
    ask, archives, tmp_path, contents_of
):
    data = photos(tmp_path / "photos")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    before = contents_of(tmp_path)
    for words, told in (
        ((data, tmp_path / "full"), "not empty, and not a pack"),
        ((data, data / "pack"), "lies inside the data"),
        (("cifar10-sample", tmp_path / "pack"), "lies in memory and needs no packing"),
        ((tmp_path / "nowhere", tmp_path / "pack"), "nor is there a folder of that name"),
        ((data, tmp_path / "pack", "--shorter-px", "0"), "--shorter-px: a number of pixels"),
        ((data, tmp_path / "pack", "--shorter-px", "x"), "--shorter-px"),
        ((data, tmp_path / "pack", "--quality", "80"), "--shorter-px is missing"),
        ((data, tmp_path / "pack", "--shorter-px", "9", "--quality", "101"), "--quality: from 1"),
        ((archives / imagenet.VALIDATION_TAR, archives / imagenet.VALIDATION_TAR), "inside"),
        ((data,), "OUT"),
    ):
        answer = ask("data", "pack", *words)
        assert (answer.status, answer.out) == (2, ""), words
        assert answer.err.startswith("resnets: ")
        assert answer.err.count("\n") == 1
        assert told in answer.err
    assert contents_of(tmp_path) == before


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
def test_a_full_disk_costs_one_line_and_packing_continues_when_there_is_room(ask, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options):
        words = ["mount", "-t", "tmpfs", "-o", options, "none", str(disk)]
        return shutil.which("mount") and not subprocess.run(words, capture_output=True).returncode

    if not mount("size=12k"):
        pytest.skip("a disk can only be mounted by root")
    try:
        data = photos(tmp_path / "photos")
        answer = ask("data", "pack", data, disk / "pack")
        assert answer.status == 2
        assert answer.err.splitlines()[-1].startswith(f"resnets: cannot write {disk / 'pack'}")
        assert "no space left on the disk" in answer.err
        assert mount("remount,size=1m")
        assert ask("data", "pack", data, disk / "pack").status == 0
        assert ask("data", "pack", data, tmp_path / "pack").status == 0
        for name in (packs.INDEX, packs.shard_name(0)):
            assert (disk / "pack" / name).read_bytes() == (tmp_path / "pack" / name).read_bytes()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
