import importlib.util
import math

import pytest

from resnets.core import artifacts
from resnets.core.errors import InterruptedRunError, RunError
from resnets.experiment import events, manifests, run


@pytest.fixture
def shown():
    """What TensorBoard shows of a run: its numbers by name, as (update, value)."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from tensorboard.util import tensor_util

    def read(folder):
        found = reading.EventAccumulator(str(folder / events.FOLDER)).Reload()
        return {
            name: [
                (e.step, float(tensor_util.make_ndarray(e.tensor_proto)))
                for e in found.Tensors(name)
            ]
            for name in found.Tags()["tensors"]
        }

    return read


def journalled(folder):
    found = {}
    for record in artifacts.read_lines(folder / "journal.jsonl"):
        for name, value in record.items():
            if name != "update":
                found.setdefault(name, []).append((record["update"], pytest.approx(value, 1e-6)))
    return found


def test_a_runs_events_are_its_journal(tiny, train, tmp_path, shown):
    train(tiny, tmp_path / "run", tensorboard=True)
    assert shown(tmp_path / "run") == journalled(tmp_path / "run")
    assert len(journalled(tmp_path / "run")["loss"]) == 1


def test_a_run_that_goes_on_shows_every_update_once(tiny, train, loop, tmp_path, shown):
    loop.monkeypatch.setattr(run, "_LOG_EVERY", 1)
    loop.terminate_after(6)
    with pytest.raises(InterruptedRunError):
        train(tiny, tmp_path / "run", tensorboard=True)
    assert [update for update, _ in shown(tmp_path / "run")["loss"]] == [1, 2, 3, 4, 5, 6]
    loop.undisturbed()
    run.resume(tmp_path / "run")
    assert shown(tmp_path / "run") == journalled(tmp_path / "run")
    assert [update for update, _ in shown(tmp_path / "run")["loss"]] == list(range(1, 11))


def test_without_being_asked_no_events_are_written(finished):
    assert not (finished.folder / events.FOLDER).exists()
    assert manifests.read(finished.folder)["runtime"]["tensorboard"] is False


def test_what_is_no_number_is_left_out(tmp_path, shown):
    made = events.Events(tmp_path, [{"update": 1, "loss": "nan", "error": 2}])
    made.add({"update": 2, "loss": math.pi})
    assert shown(tmp_path) == {"loss": [(2, pytest.approx(math.pi))], "error": [(1, 2)]}


def test_where_tensorboard_is_not_installed_nothing_is_begun(tiny, train, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"--tensorboard: .*pip install 'resnets\[tensorboard\]'"):
        train(tiny, tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()
