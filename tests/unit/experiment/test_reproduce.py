import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from resnets.core import artifacts
from resnets.core.errors import (
    DataError,
    DivergedError,
    InterruptedRunError,
    RecipeError,
    RunError,
)
from resnets.data import synthetic
from resnets.experiment import run, trainings
from resnets.experiment.reproduce import reproduce
from resnets.inference import checkpoints

SETTINGS = ("total_steps=3", "batch_images=8", "schedule.warmup_steps=1", "precision=float32")


def ask(name, **given):
    return reproduce(name, quick=True, data="synthetic", settings=SETTINGS, **given)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder in which figure-1 was reproduced with two seeds; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        ask("figure-1", seeds=2)
    return folder


def result_of(folder):
    (path,) = (folder / "results").glob("figure-1.quick.changed-??????.json")
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def runs(folder):
    return sorted(path.name for path in (folder / "runs" / "reproduce").iterdir())


def test_what_was_found_is_written_beside_its_figure(made):
    result = result_of(made)
    assert result["study"] == "figure-1"
    assert result["mode"] == "quick"
    assert result["settings"] == list(SETTINGS)
    assert [row["network"] for row in result["rows"]] == ["plain-20", "plain-56"]
    assert result["changed"]
    (figure,) = (made / "results").glob("figure-1.quick.changed-??????.png")
    assert figure.read_bytes()[1:4] == b"PNG"


def test_every_run_behind_a_number_is_told_with_seed_digest_machine_and_commit(made):
    result = result_of(made)
    told = [(each["label"], each["seed"]) for each in result["trainings"]]
    assert told == [("plain-20", 0), ("plain-56", 0), ("plain-20", 1), ("plain-56", 1)]
    for each in result["trainings"]:
        assert each["updates"] == 3
        assert each["recipe_digest"] in " ".join(runs(made))
        assert each["processor"]
        assert "commit" in each
    assert "resnets" in result["provenance"]


def test_a_number_is_the_mean_over_the_runs_own_errors(made):
    result = result_of(made)
    for row, depth in zip(result["rows"], (20, 56), strict=True):
        own = []
        for folder in (made / "runs" / "reproduce").glob(f"quick.cifar-plain{depth}-*"):
            last = (folder / run.JOURNAL).read_text(encoding="utf-8").splitlines()[-1]
            own.append(json.loads(last)["test_top1_error_percent"])
        assert sorted(row["test"]["values"]) == sorted(own)
        assert row["test"]["mean"] == pytest.approx(sum(own) / 2)
        assert row["best"] == min(own)


def test_studies_share_runs_and_nothing_is_trained_twice(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    before = {path: path.stat().st_mtime_ns for path in made.glob("runs/reproduce/*/*")}
    found = ask("construction", seeds=2)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(runs(made)) == 4
    assert "training" not in capsys.readouterr().err
    assert found.figure is None
    with pytest.raises(RecipeError, match="no figure"):
        found.plot()


def test_identity_layers_leave_the_training_error_as_it_was(made, monkeypatch):
    monkeypatch.chdir(made)
    rows = ask("construction", seeds=2).result["rows"]
    assert [row["layers"] for row in rows] == [20, 32, 44, 56, 56]
    assert all(row["train"]["values"] == rows[0]["train"]["values"] for row in rows[:4])
    assert all(row["test"]["values"] == rows[0]["test"]["values"] for row in rows[:4])


def test_a_reproduction_that_is_stopped_goes_on_where_it_was(made, here, monkeypatch):
    updates, trained = run.updates, []

    def stopping(*given, **named):
        for update in updates(*given, **named):
            trained.append(update.number)
            if len(trained) == 5:  # the second update of the second network
                os.kill(os.getpid(), signal.SIGTERM)
            yield update

    monkeypatch.setattr(run, "updates", stopping)
    with pytest.raises(InterruptedRunError, match="the same command continues") as stopped:
        ask("figure-1")
    assert stopped.value.exit_status == 128 + signal.SIGTERM
    assert not (here / "results").exists()
    ask("figure-1")
    assert trained == [1, 2, 3, 1, 2, 3]
    for name in runs(here):
        again = checkpoints.newest(here / "runs" / "reproduce" / name)
        undisturbed = checkpoints.newest(made / "runs" / "reproduce" / name)
        assert again.weights_sha256 == undisturbed.weights_sha256


def test_a_study_shows_as_a_table(made, monkeypatch):
    monkeypatch.chdir(made)
    found = ask("figure-1", seeds=2)
    text = str(found)
    assert "plain-56" in text
    assert "changed: on synthetic, total_steps=3" in text
    assert found.result["says"] in text
    assert found._repr_html_().count("<tr>") == 3
    assert len(found.plot().axes) == 1


def test_counting_needs_no_run(here):
    found = reproduce("table-1")
    assert (here / "results" / "table-1.json").exists()
    assert not (here / "runs").exists()
    assert found.result["mode"] == "exact"


@pytest.mark.parametrize(
    "given", [{"quick": True}, {"data": "synthetic"}, {"settings": ("a=1",)}, {"seeds": 2}]
)
def test_counting_takes_no_other_argument(here, given):
    with pytest.raises(RecipeError, match="counts and trains nothing"):
        reproduce("parameters", **given)


@pytest.mark.parametrize(
    ("name", "given", "error", "words"),
    [
        ("figure-8", {}, RecipeError, "did you mean"),
        ("detection", {}, DataError, "needs PASCAL VOC or COCO"),
        ("figure-1", {"quick": True, "seeds": 0}, RecipeError, "--seeds: must be positive"),
        ("table-3", {"quick": True}, RecipeError, "no quick form"),
        ("figure-4", {}, DataError, "needs ImageNet"),
        ("figure-4", {"data": "synthetic"}, DataError, "trains on image files"),
        ("figure-1", {"quick": True, "settings": ("a=1",)}, RecipeError, "--set"),
        (
            "gates",
            {"settings": ("model.shortcut=none",)},
            RecipeError,
            "model.shortcut: gates names",
        ),
        ("table-6", {"settings": ("data.name=x",)}, RecipeError, "data.name: table-6 names"),
        ("figure-1", {"settings": ("data.held_out_images=9",)}, RecipeError, "held_out_images"),
    ],
)
def test_a_wrong_request_is_one_line_and_writes_nothing(here, name, given, error, words):
    with pytest.raises(error, match=words) as refused:
        reproduce(name, **given)
    assert "\n" not in str(refused.value)
    assert list(here.iterdir()) == []


def test_runs_of_other_data_are_other_runs(here):
    ask("figure-1")
    first = runs(here)
    data = synthetic.make()
    other = replace(data, train=data.train.take(torch.arange(100)))
    reproduce("figure-1", quick=True, data=other, settings=SETTINGS)
    assert len(runs(here)) == 2 * len(first)


def test_what_another_command_is_training_comes_last_and_is_waited_for(
    made, here, monkeypatch, capsys
):
    first = next(name for name in runs(made) if "plain20" in name and name.endswith("seed0"))
    held, let_go = threading.Event(), threading.Event()

    def work_elsewhere():
        with artifacts.alone(here / trainings.FOLDER / first, wait=False):
            held.set()
            let_go.wait(60)

    def alone(folder, *, wait):
        if wait:
            let_go.set()
        return own(folder, wait=wait)

    own = artifacts.alone
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(work_elsewhere)
        assert held.wait(60)
        monkeypatch.setattr(trainings.artifacts, "alone", alone)
        ask("figure-1")
        other.result()
    said = capsys.readouterr().err
    assert said.index("plain-56, seed 0") < said.index("waiting for the other process")
    assert len(runs(here)) == 2
    assert all(
        (here / trainings.FOLDER / name / "model.safetensors").exists() for name in runs(here)
    )


def test_data_that_is_not_the_studys_own_is_no_result_of_the_paper(made, here):
    result = result_of(made)
    assert (result["data"], result["changed"]) == ("synthetic", True)
    assert result["provenance"]["command"].startswith(
        "resnets reproduce figure-1 --quick --seeds 2 --data synthetic --set total_steps=3"
    )


def test_other_settings_are_another_file(made, here):
    ask("figure-1")
    reproduce("figure-1", quick=True, data="synthetic", settings=(*SETTINGS, "label_smoothing=0.1"))
    assert len(list((here / "results").glob("*.json"))) == 2


def test_fewer_seeds_stand_beside_more_and_do_not_replace_them(made, monkeypatch):
    monkeypatch.chdir(made)
    found = ask("figure-1", seeds=1)
    assert found.path.name.endswith(".n1.json")
    assert found.result["rows"][0]["n"] == 1
    assert result_of(made)["rows"][0]["n"] == 2


def test_a_run_that_another_command_begins_meanwhile_is_continued(made, here, monkeypatch):
    begin = run.start

    def late(*given, **named):
        if "plain20" in named["name"]:
            begin(*given, **named)  # the other command, in the moment after ours looked
        return begin(*given, **named)

    monkeypatch.setattr(run, "start", late)
    ask("figure-1")
    assert len(runs(here)) == 2


def test_what_diverges_is_told_after_the_others_are_trained(here):
    with pytest.raises(DivergedError, match=r"plain-20, seed 0.*optim\.learning_rate") as told:
        reproduce(
            "figure-1",
            quick=True,
            data="synthetic",
            settings=(*SETTINGS, "optim.learning_rate=1e30"),
        )
    assert "plain-56, seed 0" in str(told.value)
    assert not (here / "results").exists()


def test_a_run_without_its_journal_is_one_clear_line(here):
    ask("figure-1")
    for journal in here.glob("runs/reproduce/*/journal.jsonl"):
        journal.unlink()
    with pytest.raises(RunError, match="holds no result"):
        ask("figure-1")
