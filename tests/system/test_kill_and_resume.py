"""A run that is killed, stopped or damaged, and continued, ends in the same bits."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import samples
from resnets.inference import checkpoints

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills with POSIX signals")

HERE = Path(__file__).parent
KILLS = 10
PRECISIONS = ("float32", "bfloat16")
UPDATES = 300  # some 3 seconds
SEED = int(os.environ.get("KILL_SEED") or time.time_ns() % 10**9)


@dataclass
class Process:
    """A running command. `announced` is when it said that training begins."""

    popen: subprocess.Popen
    said: str = ""
    announced: float | None = None

    def wait_for_training(self):
        for line in self.popen.stderr:
            self.said += line
            if line.startswith("run "):
                self.announced = time.monotonic()
                return
        self.end()
        raise AssertionError(f"ended before it trained: {self.said}")

    def leave(self, number):
        """Send a signal and wait for the end."""
        self.popen.send_signal(number)
        return self.end()

    def end(self):
        _, rest = self.popen.communicate(timeout=300)
        self.said += rest
        return self.popen.returncode


@pytest.fixture(scope="module")
def launch(command):
    resnets, environment, _ = command

    def launch(*words):
        return Process(
            subprocess.Popen(
                [*resnets, *map(str, words)],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    return launch


@dataclass
class Story:
    """What happened to a run that was killed again and again."""

    undisturbed: Path
    killed: Path
    kills: int = 0
    kills_in_training: int = 0
    continued_after: list[int] = field(default_factory=list)


def newest_update(folder):
    states = (folder / "checkpoints").glob("update-*.safetensors")
    return max((int(path.stem.removeprefix("update-")) for path in states), default=0)


@pytest.fixture(params=PRECISIONS)
def story(launch, team, command, request, tmp_path):
    """What became of a run that the command trained, and of one in forks with ten kills."""
    _, _, tiny = command
    chance = random.Random(f"{SEED} {request.param}")
    words, said = tiny(UPDATES, precision=request.param), tmp_path / "said.txt"
    story = Story(tmp_path / "undisturbed", tmp_path / "killed")
    whole = launch(*words, "--out", story.undisturbed)
    whole.wait_for_training()
    assert whole.end() == 0, whole.said
    training_s = time.monotonic() - whole.announced

    words += ["--out", story.killed]
    while_starting = chance.sample(range(1, KILLS), 3)
    for number in range(KILLS + 1):
        starting = number in while_starting
        # Always a part of what is left, so that the run does not end before it is killed.
        left = 1 - newest_update(story.killed) / UPDATES
        after_s = chance.uniform(0, 0.3 if starting else left * training_s / 5)
        kill = [0, signal.SIGKILL, after_s, "" if starting else "\ncheckpoints "]
        further = {"signal": kill} if number < KILLS else {}
        statuses, told = team(1, words, said, plain=True, save_after_s=0.05, **further)
        killed = statuses == [-signal.SIGKILL]
        assert killed or statuses == [0], told
        story.kills += killed
        story.kills_in_training += killed and not starting
        story.continued_after += map(int, re.findall(r"continued after update (\d+)", told))
        if (story.killed / "manifest.json").exists():
            words = ["train", "--resume", story.killed]
    return story


def journal(folder):
    """Return a run's journal without its times."""
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


def weights(ask, folder):
    return json.loads(ask("inspect", folder, "--json").out)["weights_sha256"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_killed_ten_times_ends_in_the_same_bits(story, ask):
    sys.stdout.write(f"KILL_SEED={SEED} makes the same kills again: {story}\n")
    assert weights(ask, story.killed) == weights(ask, story.undisturbed)
    assert journal(story.killed) == journal(story.undisturbed)
    # The kills did fall into the training, and what was trained before a kill was not lost.
    assert story.kills == KILLS
    assert story.kills_in_training >= 5
    assert story.continued_after == sorted(story.continued_after)
    assert len(set(story.continued_after)) >= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("processes", [1, 2])
def test_with_everything_on_any_process_may_be_killed_any_time_and_the_bits_are_the_same(
    processes, team, request, tmp_path
):
    kills, chance = request.config.getoption("--kills"), random.Random(f"{SEED} {processes}")
    updates, said = 20 * (kills + 1), tmp_path / "said.txt"
    words = samples.everything(samples.write_photos(tmp_path / "photos"), updates)
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    begun = time.monotonic()
    statuses, told = team(processes, [*words, "--out", undisturbed], said, environment=cache)
    lasts_s = time.monotonic() - begun
    assert statuses == [0] * processes, told

    words += ["--out", killed]
    done, saved, continued_after = 0, 0, []
    for number in range(kills):
        starting = number == 1 or chance.random() < 0.2
        left = 1 - newest_update(killed) / updates
        after_s = chance.uniform(0, 0.3 if starting else left * lasts_s / (kills + 1))
        kill = [chance.randrange(processes), signal.SIGKILL, after_s]
        kill.append("" if starting else "\ncheckpoints ")
        further = {} if starting else {"once_saved_in": str(killed)}
        saved += not starting
        job = {"save_after_s": 0.02, "signal": kill, "environment": cache, **further}
        statuses, told = team(processes, words, said, **job)
        done += -signal.SIGKILL in statuses
        continued_after += map(int, re.findall(r"continued after update (\d+)", told))
        if (killed / "manifest.json").exists():
            words = ["train", "--resume", killed]
    statuses, told = team(processes, words, said, environment=cache)
    assert statuses == [0] * processes, told
    continued_after += map(int, re.findall(r"continued after update (\d+)", told))
    told = f"{processes} processes, {done} kills, continued after {continued_after}"
    sys.stdout.write(f"KILL_SEED={SEED} makes the same kills again: {told}\n")
    assert done == kills
    # Every kill that waited for a new state was continued from further on than the one before.
    assert len(set(continued_after)) >= saved
    shas = [checkpoints.newest(run).weights_sha256 for run in (undisturbed, killed)]
    sys.stdout.write(f"weights of the undisturbed run and of the killed one: {shas}\n")
    assert shas[0] == shas[1]
    assert journal(killed) == journal(undisturbed)


@dataclass
class Stopped:
    folder: Path
    answers: list[tuple[int, str]]
    continued_after: list[int]


@pytest.fixture(scope="module")
def undisturbed(command, ask, tmp_path_factory):
    _, _, tiny = command
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    assert ask(*tiny(200), "--out", folder).status == 0
    return folder


@pytest.fixture(scope="module")
def stopped_twice(launch, command, tmp_path_factory):
    """A run that SIGTERM stopped, that was continued as it said, and that Ctrl-C stopped."""
    _, _, tiny = command
    found = Stopped(tmp_path_factory.mktemp("runs") / "it's stopped", [], [])
    words = [*tiny(200), "--out", found.folder]
    for number in (signal.SIGTERM, signal.SIGINT):
        process = launch(*words)
        process.wait_for_training()
        time.sleep(0.3)
        found.answers.append((process.leave(number), process.said))
        found.continued_after += map(int, re.findall(r"continued after update (\d+)", process.said))
        told = re.search(r"`resnets (.*)`", process.said)
        words = shlex.split(told[1]) if told else ["train", "--resume", found.folder]
    return found


def test_sigterm_and_ctrl_c_save_the_run_and_say_how_to_continue_it(stopped_twice):
    statuses = [status for status, _ in stopped_twice.answers]
    assert statuses == [143, 130]
    at = shlex.quote(str(stopped_twice.folder))
    stops = []
    for _, said in stopped_twice.answers:
        last = said.splitlines()[-1]
        told = re.fullmatch(
            r"resnets: stopped after update (\d+) of 200 and saved; `resnets train --resume (.+)` "
            r"continues it",
            last,
        )
        assert told, said
        assert told[2] == at
        assert "Traceback" not in said
        stops.append(int(told[1]))
    assert stopped_twice.continued_after == stops[:1]
    assert stops[0] < stops[1]
    names = sorted(path.name for path in (stopped_twice.folder / "checkpoints").iterdir())
    assert names == [f"update-{number:09d}.safetensors" for number in stops]


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize("damaged", [0, 1, 2], ids=["none", "the newest", "both"])
def test_a_stopped_run_ends_in_the_same_bits_even_with_damaged_checkpoints(
    damaged, stopped_twice, undisturbed, ask, tmp_path
):
    folder = shutil.copytree(stopped_twice.folder, tmp_path / "run")
    states = sorted((folder / "checkpoints").iterdir(), reverse=True)
    assert len(states) == 2
    for path in states[:damaged]:
        cut_short(path)
    good = [int(path.stem.removeprefix("update-")) for path in states[damaged:]]
    answer = ask("train", "--resume", folder)
    assert answer.status == 0, answer.err
    continued = re.findall(r"continued after update (\d+)", answer.err)
    assert continued == [str(number) for number in good[:1]]
    assert weights(ask, folder) == weights(ask, undisturbed)
    assert journal(folder) == journal(undisturbed)
    left = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    assert left == ["curves.png", "journal.jsonl", "manifest.json", "model.safetensors"]


def test_a_journal_with_a_torn_last_line_is_mended(stopped_twice, undisturbed, ask, tmp_path):
    folder = shutil.copytree(stopped_twice.folder, tmp_path / "run")
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"update": 1')
    assert ask("train", "--resume", folder).status == 0
    assert journal(folder) == journal(undisturbed)


@pytest.fixture(scope="module")
def crashes(command, tmp_path_factory):
    """The stories of runs that died before each change to their folder, in its order."""
    _, environment, tiny = command
    folder = tmp_path_factory.mktemp("crashes")

    def tell(first):
        return subprocess.run(
            [sys.executable, HERE / "crashes.py", folder, str(first), "2", *tiny(3)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=300,
        ).stdout

    with ThreadPoolExecutor(2) as pool:
        lines = [line for told in pool.map(tell, (0, 1)) for line in told.splitlines()]
    return sorted(map(json.loads, lines), key=lambda story: story["number"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_that_dies_before_any_change_to_its_folder_ends_in_the_same_bits(crashes):
    alive = [story for story in crashes if story["status"] == 0]
    died = [story for story in crashes if story["status"] == -signal.SIGKILL]
    assert len(alive) == 2  # one in each half: no change is left to die before
    assert len(died) == len(crashes) - 2
    before = " ".join(story["before"] for story in died)
    for what in (
        "manifest.json",
        "journal.jsonl",
        "update-000000002",
        "model.safetensors",
        "rmdir",
    ):
        assert what in before
    assert [story for story in died if story.get("status_again", 0) != 0] == []
    assert len({story.get("weights_sha256") for story in crashes}) == 1


def test_a_run_that_died_and_was_continued_leaves_nothing_half_written(crashes):
    continued = [story for story in crashes if story.get("status_again") == 0]
    whole = ["curves.png", "journal.jsonl", "manifest.json", "model.safetensors"]
    assert [story for story in continued if story["left"] != whole] == []
