"""Writing: whole or not at all, and an operating system's refusal in one clear line."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from resnets.core import artifacts
from resnets.core.errors import StorageError

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /dev/full")
on_posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits and signals")


@contextlib.contextmanager
def largest_file(size_bytes):
    """Let the kernel refuse every file of this process that grows past a size."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def interrupt_at_fsync(monkeypatch, kind):
    """Raise where a real interruption hurts most: the new content written, nothing renamed."""

    def interrupted(handle):
        raise kind

    monkeypatch.setattr(artifacts.os, "fsync", interrupted)


def test_what_is_written_stands_there_and_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "a.json"
    artifacts.write_json(path, {"a": [1, None]})
    assert path.read_text() == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'
    artifacts.write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert names_in(path.parent) == ["a.json"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_the_old_content_and_no_partial_file(tmp_path, monkeypatch, kind):
    path = tmp_path / "last.safetensors"
    artifacts.write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        interrupt_at_fsync(patch, kind)
        with pytest.raises(kind):
            artifacts.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["last.safetensors"]


def test_an_interruption_of_a_new_file_leaves_nothing(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at_fsync(patch, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            artifacts.write_bytes(tmp_path / "a", b"new")
    assert names_in(tmp_path) == []


@on_posix
def test_a_process_killed_while_writing_leaves_the_old_content(tmp_path):
    path = tmp_path / "last.safetensors"
    artifacts.write_bytes(path, b"old")
    program = (
        "import os, pathlib, signal, sys\n"
        "from resnets.core import artifacts\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "artifacts.write_bytes(pathlib.Path(sys.argv[1]), b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    artifacts.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["last.safetensors"]  # the killed one's remains are gone


@on_linux
def test_a_full_disk_is_one_line_that_says_what_to_do():
    def fill():
        with artifacts.storing(Path("runs/a/last")), Path("/dev/full").open("wb") as file:
            file.write(b"x")

    with pytest.raises(StorageError) as caught:
        fill()
    assert str(caught.value) == (
        "cannot write runs/a/last: no space left on the disk; make room, "
        "then run the same command again"
    )


@on_linux
def test_a_journal_on_a_full_disk_is_a_storage_error():
    with pytest.raises(StorageError, match="cannot write /dev/full: no space left on the disk"):
        artifacts.append_line(Path("/dev/full"), {"update": 1})


@on_posix
def test_a_file_that_may_grow_no_further_leaves_the_old_content_and_no_partial_file(tmp_path):
    path = tmp_path / "last.safetensors"
    old = {"weight": torch.zeros(4)}
    artifacts.save_tensors(path, old, {"update": 1})
    with (
        largest_file(2**20),
        pytest.raises(StorageError, match=r"cannot write .*last\.safetensors"),
    ):
        artifacts.save_tensors(path, {"weight": torch.ones(2**19)}, {"update": 2})
    assert names_in(tmp_path) == ["last.safetensors"]
    found, about = artifacts.load_tensors(path)
    assert torch.equal(found["weight"], old["weight"])
    assert about["update"] == 1
    artifacts.save_tensors(path, {"weight": torch.ones(2**19)}, {"update": 2})
    assert artifacts.load_tensors(path)[1]["update"] == 2


def test_a_path_below_a_file_is_refused_naming_the_path_and_what_to_do(tmp_path):
    (tmp_path / "file").write_bytes(b"kept")
    path = tmp_path / "file" / "run" / "a.json"
    with pytest.raises(StorageError) as caught:
        artifacts.write_json(path, {})
    message = str(caught.value)
    assert message.startswith(f"cannot write {path}: ")
    assert message.endswith("choose a folder that can be written, then run the same command again")
    assert "\n" not in message
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_folder_in_the_place_of_the_file_is_refused_and_kept(tmp_path):
    path = tmp_path / "a"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot write"):
        artifacts.write_bytes(path, b"new")
    assert names_in(tmp_path) == ["a"]
    assert names_in(path) == ["inside"]


def test_a_journal_in_a_missing_folder_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="choose a folder that can be written"):
        artifacts.append_line(tmp_path / "none" / "journal.jsonl", {})


def test_a_journal_grows_by_one_line_a_record(tmp_path):
    path = tmp_path / "journal.jsonl"
    for update in (1, 2, 3):
        artifacts.append_line(path, {"update": update, "note": "a\nb"})
    assert path.read_bytes().count(b"\n") == 3
    assert [record["update"] for record in artifacts.read_lines(path)] == [1, 2, 3]


def test_tensors_are_copied_off_nothing_else_so_saving_changes_none(tmp_path):
    weight = torch.randn(2, 3, 4, 4, requires_grad=True)
    last = weight.detach().to(memory_format=torch.channels_last)
    before = last.clone()
    artifacts.save_tensors(tmp_path / "a", {"weight": weight, "last": last}, {})
    assert torch.equal(last, before)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert weight.requires_grad


def test_two_names_for_one_tensor_can_be_saved(tmp_path):
    weight = torch.randn(3)
    artifacts.save_tensors(tmp_path / "a", {"weight": weight, "average": weight}, {})
    found, _ = artifacts.load_tensors(tmp_path / "a")
    assert torch.equal(found["average"], weight)
