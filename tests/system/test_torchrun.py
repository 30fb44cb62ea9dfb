"""Several processes train what one trains: the same losses, exact errors, one folder, one voice."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import samples
from resnets.core import artifacts
from resnets.core.division import Share
from resnets.data.order import Order
from resnets.experiment import manifests
from resnets.inference import checkpoints

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

HERE = Path(__file__).parent
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
LOG = {"TORCH_CPP_LOG_LEVEL": "FATAL", "LOGLEVEL": "CRITICAL"}

# At this rate a last bit that is rounded otherwise does not grow to anything in so few updates.
UPDATES = 6
CALM = [*("--lr", "0.005"), *("--set", "optim.weight_decay=0.1")]


def records(run):
    lines = artifacts.read_lines(run / "journal.jsonl")
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def values(run, key):
    return [record[key] for record in records(run) if key in record]


def same(run, other, rel=2e-4):
    for name in ("loss", "test_top1_error_percent", "validation_top1_error_percent"):
        assert values(run, name) == pytest.approx(values(other, name), rel=1e-4)
    assert [r["update"] for r in records(run)] == [r["update"] for r in records(other)]
    left, right = (checkpoints.newest(each).model for each in (run, other))
    for name, tensor in left.items():
        error = (tensor.double() - right[name].double()).norm()
        assert error <= 1e-5 + rel * right[name].double().norm(), name


# By 1, 2 and 4 processes: whole batches, whose BN they compute together, and parts of a quarter.
NUMBERS = {
    "whole batches": (1, 2, 4),
    "parts": (1, 2, 4),
    "everything on, whole batches": (1, 2),
    "everything on, parts": (1, 2),
}


@pytest.fixture(scope="module")
def runs(team, command, tmp_path_factory):
    """The same runs by several numbers of processes, by kind and number."""
    _, _, tiny = command
    folder = tmp_path_factory.mktemp("runs")
    photos, cache = samples.write_photos(folder / "photos"), {"XDG_CACHE_HOME": str(folder)}
    words = {
        "whole batches": [*tiny(UPDATES, batch_images=16), *CALM],
        "parts": [*tiny(UPDATES, batch_images=16), *CALM, "--set", "part_images=4"],
        "everything on, whole batches": samples.everything(photos, UPDATES, part_images=None),
        "everything on, parts": samples.everything(photos, UPDATES),
    }
    found = {}
    for number, (kind, numbers) in enumerate(NUMBERS.items()):
        for processes in numbers:
            out = folder / f"{number}-{processes}"
            said = folder / f"{out.name}.txt"
            asked = [*words[kind], "--out", out]
            statuses, told = team(processes, asked, said, environment=cache)
            assert statuses == [0] * processes, told
            found[kind, processes] = out, told
    return found


@pytest.mark.parametrize(
    ("kind", "processes"), [(kind, n) for kind, numbers in NUMBERS.items() for n in numbers[1:]]
)
def test_the_number_of_processes_changes_nothing_but_last_bits(kind, processes, runs):
    same(runs[kind, processes][0], runs[kind, 1][0])


def test_the_parts_of_a_batch_do_change_the_numbers(runs):
    whole, parts = (values(runs[kind, 1][0], "loss") for kind in ("whole batches", "parts"))
    assert whole != pytest.approx(parts, rel=1e-3)


def test_one_process_writes_and_one_speaks(runs):
    alone, of_two = (runs["parts", processes] for processes in (1, 2))
    names = [
        sorted(path.name for path in run.iterdir() if path.name != ".lock")
        for run in (alone[0], of_two[0])
    ]
    assert names[0] == names[1]
    lines = of_two[1].splitlines()
    assert len(lines) == len(set(lines)) == len(alone[1].splitlines())
    assert "1 threads, channels-last, 2 processes" in of_two[1]
    assert manifests.read(of_two[0])["runtime"]["processes"] == 2


def test_errors_are_exact_on_sets_that_no_number_of_processes_divides(team, tmp_path):
    data = samples.write_photos(tmp_path / "photos")
    found = []
    for processes in (1, 2, 3):  # of four groups of images, at most
        out = tmp_path / f"run{processes}"
        words = ["train", "imagenet.resnet18", "--data", data, "--model", "cifar-resnet8"]
        words += ["--batch-size", 6, "--lr", "0.001", "--device", "cpu", "--out", out]
        words += ["--set", "total_steps=4", "--set", "schedule.every_steps=1"]
        words += ["--set", "data.augment.shorter_px=[36,48]", "--set", "data.augment.crop_px=32"]
        words += ["--set", "precision=float32"]
        given = {"XDG_CACHE_HOME": str(tmp_path / f"cache{processes}")}
        statuses, said = team(processes, words, tmp_path / "said.txt", environment=given)
        assert statuses == [0] * processes, said
        keys = [f"validation_{key}" for key in ("images", "top1_error_percent")]
        found.append([values(out, key) for key in keys])
        assert values(out, "validation_images") == [23] * 5
        means = checkpoints.newest(out).mean_hwc
        found[-1].append(means.tolist())
    assert found[0] == found[1] == found[2]
    assert 0 < found[0][1][0] < 100


def read(updates, parts):
    """The images of updates of 8 of 24 photos, in parts of 2 without repeats."""
    order = Order(24, 8, 0)
    each = [order(number, Share(part, 4, part, 4)) for number in updates for part in parts]
    return {index for spans in each for _, index_n in spans for index in index_n.tolist()}


def test_where_one_process_is_told_to_stop_all_stop_and_any_number_goes_on(team, tmp_path):
    photos = samples.write_photos(tmp_path / "photos")
    # One image that the first process has used by the stop, one that the other has, and one that is
    # no more than read ahead by then.
    bad = [max(read((1, 2), (0, 1))), min(read((1, 2), (2, 3))), min(read((3,), range(4)))]
    assert all(index + 1 not in bad for index in bad)  # each is passed over for its own sake alone
    for index in bad:
        sorted((photos / "train").glob("*/*"))[index].write_bytes(b"no image")
    words = [*samples.everything(photos, 12, part_images=2), "--set", "data.repeats=1"]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    whole, run, said = tmp_path / "whole", tmp_path / "run", tmp_path / "said.txt"
    statuses, told = team(1, [*words, "--out", whole], said, environment=cache)
    assert statuses == [0], told
    assert values(whole, "set_aside_images") == [3]
    stop = [1, 1]  # the one that does not lead, whom the others hear an update later
    statuses, told = team(2, [*words, "--out", run], said, terminate_after=stop, environment=cache)
    assert statuses == [143, 143], told
    stopped = re.findall(r"\nresnets: stopped after update (\d+) of 12 and saved", told)
    assert stopped == ["2"]
    state = checkpoints.newest_state(run)
    assert [index for index, _ in state.about["set_aside"]] == sorted(bad[:2])
    for processes in (4, 1):
        copy = shutil.copytree(run, tmp_path / f"by{processes}")
        statuses, told = team(processes, ["train", "--resume", copy], said, environment=cache)
        assert statuses == [0] * processes, told
        assert "note         another number of processes than before: last bits may differ" in told
        same(copy, whole, rel=1e-2)  # after 12 updates by LAMB
        assert records(copy)[-1] == records(whole)[-1]
        continued = manifests.read(copy)["continued"]
        assert [each["processes"] for each in continued] == [processes]


def test_what_processes_cannot_do_is_said_once_in_one_line(team, command, tmp_path):
    _, _, tiny = command
    out = tmp_path / "run"
    words = [*tiny(UPDATES, batch_images=16), "--out", out]
    for processes, asked, told in (
        (3, words, "3 processes cannot share a batch of 16 images evenly; start 1, 2 or 4 of them"),
        (2, words[:-2], "torchrun: name the run's folder, .*: --out"),
        (2, ["doctor"], "torchrun started 2 processes, and only `resnets train` shares its work"),
        (2, ["train", "--resume", out], "no run in this folder"),
    ):
        statuses, said = team(processes, asked, tmp_path / "said.txt")
        assert statuses == [2] * processes, said
        lines = [line for line in said.splitlines() if line.startswith("resnets: ")]
        assert all(re.search(told, line) for line in lines), said
        assert lines
        assert "Traceback" not in said
        assert not out.exists()


def test_a_diverged_run_is_said_by_all_processes_at_the_same_update(team, command, tmp_path):
    _, _, tiny = command
    words = [*tiny(30, batch_images=16), "--lr", "1e30", "--out", tmp_path / "run"]
    statuses, said = team(2, words, tmp_path / "said.txt")
    assert statuses == [1, 1], said
    (line,) = re.findall(r"^resnets: .*", said, re.MULTILINE)
    assert "the loss is nan by update 20" in line
    assert "Traceback" not in said


def children_of(process):
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return sorted(map(int, found.stdout.split()))


def test_torchrun_starts_lost_and_stopped_workers_again_until_it_is_stopped_itself(
    team, command, tmp_path
):
    _, environment, tiny = command
    words = [*map(str, tiny(200, batch_images=16)), *CALM]
    words += ["--set", "part_images=4", "--set", "model.drop_path=0.3"]
    run = tmp_path / "run"
    torchrun = subprocess.Popen(
        [*TORCHRUN, "2", "--max-restarts", "2", HERE / "impatient.py", *words, "--out", run],
        env={**environment, **LOG, "SAVE_AFTER_S": "0.05"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def wait_for_others(found, known):
        while not set(found()) - known:
            assert torchrun.poll() is None
            time.sleep(0.02)

    def workers():
        return set(children_of(torchrun.pid))

    def states():
        return set((run / "checkpoints").glob("update-*"))

    known = set()
    for number in (signal.SIGKILL, signal.SIGTERM, None):
        wait_for_others(workers, known)
        wait_for_others(states, states())
        known = workers()
        if number is None:
            torchrun.terminate()
        else:
            os.kill(max(known), number)
    told, _ = torchrun.communicate(timeout=120)
    assert torchrun.returncode == 1, told
    assert len(re.findall(r"continued after update \d+", told)) == 2
    assert len(re.findall(r"resnets: stopped after update \d+ of 200 and saved", told)) == 2
    said = tmp_path / "said.txt"
    for words_now in ([*words, "--out", tmp_path / "whole"], ["train", "--resume", run]):
        statuses, told = team(2, words_now, said)
        assert statuses == [0, 0], told
    hashes = {checkpoints.newest(tmp_path / name).weights_sha256 for name in ("whole", "run")}
    assert len(hashes) == 1
    assert records(run) == records(tmp_path / "whole")


@pytest.fixture
def machines(tmp_path):
    """A folder in which each of two processes has one of its own, as machines have."""
    for rank in range(2):
        (tmp_path / "machines" / str(rank)).mkdir(parents=True)
    return tmp_path / "machines"


def test_on_several_machines_the_runs_folder_is_on_the_first_alone(
    team, finished, machines, tmp_path
):
    photos = samples.write_photos(tmp_path / "photos")
    words = ["train", "folder.finetune", "--data", photos, "--weights", finished, "--device", "cpu"]
    words += ["--set", "total_steps=2", "--set", "precision=float32"]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    for asked in ([*words, "--out", "run"], [*words, "--resume", "run"]):
        statuses, told = team(
            2, asked, tmp_path / "said.txt", apart=str(machines), environment=cache
        )
        assert statuses == [0, 0], told
        assert (machines / "0" / "run" / "report.html").exists()
        assert [*(machines / "1").iterdir()] == []


def test_processes_that_torchrun_starts_again_go_on_whether_it_counts_a_restart_or_not(
    team, command, machines, tmp_path
):
    _, _, tiny = command
    words, said = [*tiny(30, batch_images=16), *CALM], tmp_path / "said.txt"
    statuses, told = team(1, [*words, "--out", tmp_path / "whole"], said)
    assert statuses == [0], told
    # One machine, which a second joins: torchrun counts no restart. Then a process of that is
    # lost, and it counts one there alone.
    for restarts, stop in (([0], [0, 4]), ([0, 0], [1, 9]), ([0, 1], None)):
        stopping = {} if stop is None else {"terminate_after": stop}
        statuses, told = team(
            len(restarts),
            [*words, "--out", "run"],
            said,
            apart=str(machines),
            restarts=restarts,
            **stopping,
        )
        assert set(statuses) == ({0} if stop is None else {143}), told
        assert ("continued after update" in told) == (restarts != [0])
    same(machines / "0" / "run", tmp_path / "whole", rel=1e-2)


def test_a_run_that_lies_on_another_machine_than_the_first_is_not_begun_anew(
    team, command, machines, tmp_path
):
    _, _, tiny = command
    words = [*tiny(9, batch_images=16), "--out", "run"]
    asked = {"apart": str(machines), "restarts": [0, 0]}
    statuses, told = team(2, words, tmp_path / "said.txt", terminate_after=[0, 2], **asked)
    assert statuses == [143, 143], told
    (machines / "0").rename(machines / "2")
    (machines / "1").rename(machines / "0")
    (machines / "2").rename(machines / "1")
    statuses, told = team(2, words, tmp_path / "said.txt", **asked)
    assert statuses == [2, 2], told
    assert "resnets: --out run: holds a run on another machine than the first process's" in told
    assert [*(machines / "0").iterdir()] == []
