"""The command `resnets`, in a process of its own or in this one, and tiny runs to try it on."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from resnets.cli.main import main
from resnets.experiment import run

RESNETS = (sys.executable, "-m", "resnets")
# One thread: two that share a core with other work wait for each other most of the time.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "NO_COLOR": "1"}


class Answer(NamedTuple):
    status: int
    out: str
    err: str


def tiny(updates, batch_images=8, precision="float32"):
    """Return the words that train a network of 8 layers on made-up images."""
    return [
        *("train", "sample.resnet20", "--data", "synthetic", "--model", "cifar-resnet8"),
        *("--set", f"total_steps={updates}", "--set", f"batch_images={batch_images}"),
        *("--set", f"precision={precision}", "--device", "cpu"),
    ]


def ask_here(*words):
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    status = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["resnets", *map(str, words)])
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as left:
                status = left.code
    return Answer(status, out.getvalue(), err.getvalue())


def ask_a_process(*words, **options):
    """Run the command in a process of its own."""
    ran = subprocess.run(
        [*RESNETS, *map(str, words)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        **options,
    )
    return Answer(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture(scope="session")
def ask():
    return ask_here


@pytest.fixture(scope="session")
def ask_process():
    return ask_a_process


@pytest.fixture(scope="session")
def command():
    return RESNETS, ENVIRONMENT, tiny


@pytest.fixture(scope="session")
def team():
    """Run the command in several processes; return their statuses and what they said."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).parent / "teams.py"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:

        def run(processes, words, said, **job):
            job |= {"processes": processes, "words": [*map(str, words)], "out": str(said)}
            server.stdin.write(json.dumps(job) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())["statuses"], said.read_text()

        yield run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of four classes; copy it to change it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert ask_here(*tiny(6), "--out", folder).status == 0
    return folder


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    """A run of 3 updates that was stopped after the last, with states 1 and 2; copy it."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"

    def stop(self, parts, number):
        raise SystemExit(77)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_SAVE_AFTER_S", 0.0)
        patch.setattr(run, "_SAVE_SHARE", 1e9)
        patch.setattr(run._Saver, "finish", stop)
        assert ask_here(*tiny(3), "--out", folder).status == 77
    assert [path.name for path in sorted((folder / run.STATES).iterdir())] == [
        "update-000000001.safetensors",
        "update-000000002.safetensors",
    ]
    return folder


@pytest.fixture
def place(shelf, monkeypatch, tmp_path):
    """The module's own folder `shelf` as the current one, with an empty cache."""
    monkeypatch.chdir(shelf)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return shelf


@pytest.fixture
def contents_of():
    """What stands in a folder: every path, with its bytes where it is a file."""

    def contents(folder):
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in Path(folder).rglob("*")
        }

    return contents
