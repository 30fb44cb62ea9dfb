"""What a run does when its files are taken away, or there is no more room for them."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from resnets.core import artifacts
from resnets.core.errors import StorageError
from resnets.experiment import run
from resnets.inference import checkpoints


@pytest.fixture(autouse=True)
def by_number_and_not_by_the_clock(monkeypatch):
    monkeypatch.setattr(run, "_LOG_EVERY", 4)
    monkeypatch.setattr(run, "_SAVE_AFTER_S", 1e9)


def weights(folder):
    return checkpoints.newest(folder).weights_sha256


def journal(folder):
    records = artifacts.read_lines(folder / "journal.jsonl")
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def after(loop, saved, acts):
    """Save after some updates, and do something after others, before anything is logged."""
    loop.save_after(*saved)
    saving = run.updates

    def watched(*given, **named):
        for update in saving(*given, **named):
            if update.number in acts:
                acts[update.number]()
            yield update

    loop.monkeypatch.setattr(run, "updates", watched)


def test_checkpoints_that_vanish_are_saved_again_and_the_run_ends_in_the_same_bits(
    tiny, train, loop, finished, tmp_path
):
    folder = tmp_path / "run"
    seen = []
    after(
        loop,
        (2, 5, 7),
        {
            4: lambda: shutil.rmtree(folder / "checkpoints"),
            6: lambda: seen.append(checkpoints.newest(folder).update),
        },
    )
    train(tiny, folder)
    assert seen == [5]
    assert weights(folder) == weights(finished.folder)


@pytest.mark.parametrize("vanishes_after", [3, 4, 9])
def test_a_whole_run_that_vanishes_is_written_again_from_memory(
    tiny, train, loop, finished, tmp_path, capsys, vanishes_after
):
    folder = tmp_path / "run"
    after(loop, (2, 5), {vanishes_after: lambda: shutil.rmtree(folder)})
    train(tiny, folder)
    assert f"note         {folder} was removed, and is written again" in capsys.readouterr().err
    assert weights(folder) == weights(finished.folder)
    assert journal(folder) == journal(finished.folder)
    before = checkpoints.read(folder / "model.safetensors").about
    assert before["recipe"] == checkpoints.newest(finished.folder).about["recipe"]
    assert run.resume(folder).updates == 10  # it has its manifest again


def test_a_run_that_vanishes_and_is_then_killed_goes_on_where_it_was_saved_again(
    tiny, train, loop, finished, tmp_path
):
    folder = tmp_path / "run"

    def kill():
        raise KeyboardInterrupt

    after(loop, (5, 7), {6: lambda: shutil.rmtree(folder), 9: kill})
    with pytest.raises(KeyboardInterrupt):
        train(tiny, folder)
    assert checkpoints.newest(folder).update == 7
    loop.undisturbed()
    run.resume(folder)
    assert weights(folder) == weights(finished.folder)
    assert journal(folder) == journal(finished.folder)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux of which file a handle is")
def test_the_journal_is_on_the_disk_as_it_stands_before_each_state_and_the_finished_network(
    tiny, train, loop, tmp_path, monkeypatch
):
    folder, synced = tmp_path / "run", []

    def watched(handle, fsync=os.fsync):
        fsync(handle)
        lines = folder / "journal.jsonl"
        told = lines.read_text() if lines.exists() else ""
        synced.append((Path(f"/proc/self/fd/{handle}").readlink().name, told))

    loop.save_after(2, 6)
    monkeypatch.setattr(os, "fsync", watched)
    train(tiny, folder)
    states = [at for at, (name, _) in enumerate(synced) if name.endswith(".safetensors.partial")]
    assert len(states) == 3
    for at in states:
        assert synced[at - 1] == ("journal.jsonl", synced[at][1])
    assert len({told for _, told in synced}) > 3


# A full disk.


@pytest.fixture
def disk(tmp_path):
    """A disk of its own, of 2.5 MB; states of the run take 0.6 MB each."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounts a file system, which takes root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", place],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("may not mount a file system here")
    yield place
    subprocess.run(["umount", place], check=True)


def test_on_a_full_disk_the_run_stops_and_its_last_good_state_goes_on_once_there_is_room(
    tiny, train, loop, finished, tmp_path, disk
):
    folder = disk / "run"
    after(loop, (2, 5), {4: lambda: (disk / "others").write_bytes(bytes(1_600_000))})
    with pytest.raises(StorageError) as caught:
        train(tiny, folder)
    message = str(caught.value)
    assert message == (
        f"cannot write {folder}/checkpoints/update-000000005.safetensors: no space left on the "
        f"disk; make room, then `resnets train --resume {folder}` continues it"
    )
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [
        "update-000000002.safetensors"
    ]
    assert checkpoints.newest(folder).update == 2
    (disk / "others").unlink()
    loop.undisturbed()
    run.resume(folder)
    assert weights(folder) == weights(finished.folder)
    assert journal(folder) == journal(finished.folder)


def test_a_disk_that_fills_up_in_the_middle_of_a_line_of_the_journal_is_no_harm(
    tiny, train, loop, finished, tmp_path, disk
):
    folder = disk / "run"

    def fill():
        with contextlib.suppress(OSError), (disk / "others").open("wb", buffering=0) as file:
            while file.write(bytes(512)):
                pass

    after(loop, (2,), {7: fill})
    with pytest.raises(StorageError, match=r"no space left on the disk.*--resume"):
        train(tiny, folder)
    (disk / "others").unlink()
    loop.undisturbed()
    run.resume(folder)
    assert weights(folder) == weights(finished.folder)
    assert journal(folder) == journal(finished.folder)


def test_without_room_for_a_state_the_message_is_the_commands_only_line(ask_for_room):
    status, said = ask_for_room
    assert status == 2
    last = said.splitlines()[-1]
    assert last.startswith("resnets: cannot write ")
    assert "update-" in last
    assert "--resume" in last
    assert "Traceback" not in said


@pytest.fixture
def ask_for_room(tmp_path):
    """The command, allowed files of 300 kB, which ends for a quota as for a full disk."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "from resnets.experiment import run; run._SAVE_AFTER_S = 0.0;"
        "from resnets.cli.main import main; main()"
    )
    words = ["train", "sample.resnet20", "--data", "synthetic", "--model", "cifar-resnet8"]
    words += ["--set", "total_steps=9", "--set", "batch_images=8", "--device", "cpu"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *words, "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return ran.returncode, ran.stderr
