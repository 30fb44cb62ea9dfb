import json
import shutil
import signal
import threading
from dataclasses import replace
from importlib import metadata
from itertools import pairwise

import pytest
import torch
from PIL import Image

from resnets.core import artifacts
from resnets.core.errors import (
    CheckpointError,
    DivergedError,
    InterruptedRunError,
    RecipeError,
    ResNetsError,
    RunError,
    StorageError,
)
from resnets.data import synthetic
from resnets.data.preprocess import Preprocess
from resnets.data.sets import ImageSet
from resnets.experiment import build, evaluate, manifests, run
from resnets.experiment import states as states_of_runs
from resnets.inference import checkpoints
from resnets.recipes import codec
from resnets.recipes.schedule import StepDecay
from resnets.recipes.schema import AdamWSpec, EmaSpec, LambSpec


@pytest.fixture(autouse=True)
def by_number_and_not_by_the_clock(monkeypatch):
    """A record every 4 updates, so that a stop leaves some not logged; saving when a test says."""
    monkeypatch.setattr(run, "_LOG_EVERY", 4)
    monkeypatch.setattr(run, "_SAVE_AFTER_S", 1e9)


class Killed(BaseException):
    """Stands for the end of the process: nothing after it is run."""


def weights(folder):
    return checkpoints.newest(folder).weights_sha256


def journal(folder):
    """The journal's records without what depends on the clock."""
    records = artifacts.read_lines(folder / "journal.jsonl")
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def states(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


def test_a_run_leaves_its_manifest_its_journal_its_network_and_its_curves(finished):
    folder = finished.folder
    names = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    assert names == ["curves.png", "journal.jsonl", "manifest.json", "model.safetensors"]
    with Image.open(folder / "curves.png") as picture:
        assert picture.format == "PNG"


def test_a_finished_run_says_what_it_measured_last(finished):
    last = [r for r in journal(finished.folder) if "test_images" in r][-1]
    assert finished.updates == last["update"] == 10
    assert finished.top1_error_percent == last["test_top1_error_percent"]
    assert (finished.split, finished.images) == ("test", 64)
    assert finished.to_dict() == {
        "run": str(finished.folder),
        "split": "test",
        "images": 64,
        "top1_error_percent": finished.top1_error_percent,
        "updates": 10,
        "set_aside_images": 0,
    }


def test_the_journal_has_the_loss_now_and_then_and_the_error_a_dozen_times(finished):
    records = artifacts.read_lines(finished.folder / "journal.jsonl")
    logged = [r for r in records if "loss" in r]
    assert [r["update"] for r in logged] == [4, 8, 10]
    assert set(logged[0]) == {
        "update",
        "learning_rate",
        "loss",
        "train_error_percent",
        "images_per_second",
    }
    evaluated = [r["update"] for r in records if "test_top1_error_percent" in r]
    assert evaluated == list(range(1, 11))
    numbers = [r["update"] for r in records]
    assert numbers == sorted(numbers)


def test_a_record_holds_the_means_since_the_last(tiny, train, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_LOG_EVERY", 1)
    train(tiny, tmp_path / "run")
    single = [r for r in journal(tmp_path / "run") if "loss" in r]
    logged = [r for r in journal(finished.folder) if "loss" in r]
    for (first, last), record in zip(pairwise([0, 4, 8, 10]), logged, strict=True):
        for key in ("loss", "train_error_percent"):
            values = [r[key] for r in single[first:last]]
            assert record[key] == pytest.approx(sum(values) / len(values), rel=1e-15)
        assert record["learning_rate"] == single[last - 1]["learning_rate"]
    assert weights(tmp_path / "run") == weights(finished.folder)


def test_the_manifest_is_complete_before_the_first_update(tiny, train, loop, tmp_path):
    def killed(*given, **named):
        raise Killed

    loop.monkeypatch.setattr(run, "updates", killed)
    with pytest.raises(Killed):
        train(tiny, tmp_path / "run", seed=7)
    told = manifests.read(tmp_path / "run")
    assert codec.from_tree(told["recipe"]) == tiny
    assert told["recipe_digest"] == codec.digest(tiny)
    assert (told["name"], told["seed"]) == ("tiny", 7)
    data = synthetic.make()
    assert told["data"] == {"name": "synthetic", "where": "synthetic", "digest": data.digest}
    assert told["classes"] == list(data.classes)
    assert told["runtime"]["device"] == "cpu"
    assert told["runtime"]["threads"] == torch.get_num_threads()
    assert told["runtime"]["compilation"] == {"value": "eager", "reason": "set by hand"}
    assert told["runtime"]["precision"] == {"value": "float32", "reason": "set by hand"}
    assert {"processor", "cores", "threads", "system"} <= set(told["hardware"])
    assert {"resnets", "commit", "python", "packages", "command", "started"} <= set(
        told["provenance"]
    )
    assert told["provenance"]["packages"]["torch"] == metadata.version("torch")


def test_a_precision_left_to_the_machine_is_decided_and_written_down(tiny, train, loop, tmp_path):
    loop.terminate_after(1)
    with pytest.raises(InterruptedRunError):
        train(replace(tiny, precision="auto"), tmp_path / "run")
    told = manifests.read(tmp_path / "run")
    assert told["recipe"]["precision"] in ("float32", "bfloat16")
    assert told["runtime"]["precision"]["value"] == told["recipe"]["precision"]
    assert told["runtime"]["precision"]["reason"] != "set by hand"


def test_the_finished_network_carries_all_that_is_needed_to_use_it(finished, tiny):
    checkpoint = checkpoints.newest(finished.folder)
    about = checkpoint.about
    told = manifests.read(finished.folder)
    assert checkpoint.recipe == tiny
    for key in ("name", "recipe_digest", "seed", "data", "classes", "hardware", "provenance"):
        assert about[key] == told[key]
    assert about["update"] == 10
    assert about["kind"] == "classifier"
    assert checkpoint.preprocess == Preprocess(
        resize_px=32, crop_px=32, interpolation="bicubic", mean=None, std=(1.0, 1.0, 1.0)
    )
    assert checkpoint.mean_hwc.shape == (32, 32, 3)
    assert checkpoint.optimizer == {}


def test_the_same_recipe_and_seed_give_the_same_bits_and_another_seed_others(
    tiny, train, finished, tmp_path
):
    train(tiny, tmp_path / "again")
    assert weights(tmp_path / "again") == weights(finished.folder)
    assert journal(tmp_path / "again") == journal(finished.folder)
    train(tiny, tmp_path / "other", seed=1)
    assert weights(tmp_path / "other") != weights(finished.folder)


# Stopping, resuming.


@pytest.mark.parametrize("stops", [(1,), (9,), (3, 7)])
def test_stopping_and_resuming_changes_no_bit(tiny, train, loop, finished, tmp_path, stops):
    first, *others = stops
    loop.terminate_after(first)
    with pytest.raises(InterruptedRunError):
        train(tiny, tmp_path / "run")
    for stop in others:
        loop.terminate_after(stop)
        with pytest.raises(InterruptedRunError):
            run.resume(tmp_path / "run")
    loop.undisturbed()
    ended = run.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(finished.folder)
    assert journal(tmp_path / "run") == journal(finished.folder)
    assert replace(ended, folder=finished.folder) == finished
    assert not (tmp_path / "run" / "checkpoints").exists()


def resumed_like_whole(recipe, stop, train, loop, folder):
    train(recipe, folder / "whole")
    loop.terminate_after(stop)
    with pytest.raises(InterruptedRunError):
        train(recipe, folder / "run")
    loop.undisturbed()
    run.resume(folder / "run")
    return weights(folder / "run") == weights(folder / "whole")


def test_stopping_and_resuming_in_bfloat16_changes_no_bit(tiny, train, loop, tmp_path):
    recipe = replace(tiny, precision="bfloat16")
    assert resumed_like_whole(recipe, 5, train, loop, tmp_path)


def test_stopping_and_resuming_in_float16_changes_no_bit(tiny, train, loop, tmp_path):
    # One image a batch: the gradients of updates 3 and 4 overflow at the scaler's first scale.
    optim = replace(tiny.optim, learning_rate=0.1)
    recipe = replace(tiny, precision="float16", optim=optim, batch_images=1, total_steps=4)
    assert resumed_like_whole(recipe, 3, train, loop, tmp_path)


@pytest.mark.parametrize("optim", [LambSpec(learning_rate=0.01), AdamWSpec(learning_rate=0.01)])
def test_stopping_and_resuming_with_another_optimizer_changes_no_bit(
    tiny, train, loop, tmp_path, optim
):
    assert resumed_like_whole(replace(tiny, optim=optim), 5, train, loop, tmp_path)


def test_a_run_that_was_told_to_stop_says_how_to_continue_it(tiny, train, loop, tmp_path):
    folder = tmp_path / "my run"
    loop.terminate_after(6)
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRunError) as caught:
        train(tiny, folder)
    assert f"stopped after update 6 of 10 and saved; `resnets train --resume '{folder}'`" in str(
        caught.value
    )
    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    assert states(folder) == ["update-000000006.safetensors"]
    assert not (folder / "model.safetensors").exists()


def test_being_told_to_stop_at_the_last_update_finishes_the_run(
    tiny, train, loop, finished, tmp_path
):
    loop.terminate_after(10)
    train(tiny, tmp_path / "run")
    assert weights(tmp_path / "run") == weights(finished.folder)


def killed(loop, number, *, saved=()):
    """Let runs save after some updates and end, without a word, after another."""
    loop.save_after(*saved)
    saving = run.updates

    def watched(*given, **named):
        for update in saving(*given, **named):
            yield update
            if update.number == number:
                raise Killed

    loop.monkeypatch.setattr(run, "updates", watched)


@pytest.mark.parametrize("saved", [(), (2,), (1, 5)])
def test_a_kill_at_any_point_loses_what_came_after_the_last_save_and_changes_no_bit(
    tiny, train, loop, finished, tmp_path, saved
):
    killed(loop, 9, saved=saved)
    with pytest.raises(Killed):
        train(tiny, tmp_path / "run")
    assert [int(name[7:16]) for name in states(tmp_path / "run")] == list(saved)
    assert journal(tmp_path / "run")[-1]["update"] > 8  # ahead of what was saved
    loop.undisturbed()
    run.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(finished.folder)
    assert journal(tmp_path / "run") == journal(finished.folder)


def test_a_journal_that_a_kill_cut_short_is_mended(interrupted, finished):
    file = interrupted / "journal.jsonl"
    file.write_bytes(file.read_bytes() + b'{"update": 7, "lo')
    run.resume(interrupted)
    assert journal(interrupted) == journal(finished.folder)


def test_where_the_newest_state_is_damaged_the_one_before_is_taken(
    tiny, train, loop, finished, tmp_path
):
    killed(loop, 8, saved=(3, 6))
    with pytest.raises(Killed):
        train(tiny, tmp_path / "run")
    newest = tmp_path / "run" / "checkpoints" / "update-000000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert checkpoints.newest(tmp_path / "run").about["update"] == 3
    loop.undisturbed()
    run.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(finished.folder)
    assert journal(tmp_path / "run") == journal(finished.folder)


def test_at_most_two_states_are_kept_and_they_are_the_newest(tiny, train, loop, tmp_path):
    seen = []
    loop.save_after(*range(1, 10))
    saving = run.updates

    def watched(*given, **named):
        for update in saving(*given, **named):
            seen.append([int(name[7:16]) for name in states(tmp_path / "run")])
            yield update

    loop.monkeypatch.setattr(run, "updates", watched)
    train(tiny, tmp_path / "run")
    assert seen == [[], [1], *([n, n + 1] for n in range(1, 9))]
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_momentum_comes_back_in_the_memory_format_of_its_parameter(interrupted, tiny):
    # The fused SGD walks through both in the order of their memory.
    state = checkpoints.newest_state(interrupted)
    parts = build.build(tiny, synthetic.make(), seed=0, device=torch.device("cpu"))
    done, window, _ = states_of_runs.restore(parts, state)
    assert done == 6
    assert [len(values) for values in window.values()] == [2, 2]  # of updates 5 and 6
    parameters = list(parts.model.parameters())
    assert len(parts.optimizer.state) == len(parameters) == len(state.optimizer)
    for number, parameter in enumerate(parameters):
        momentum = parts.optimizer.state[parameter]["momentum_buffer"]
        assert momentum.stride() == parameter.stride()
        assert torch.equal(momentum, state.optimizer[f"{number}.momentum_buffer"])
    weight = parts.model.stages["conv2_x"][0].body.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()


def test_a_run_without_its_momentum_would_end_in_other_bits(interrupted, finished):
    path = next((interrupted / "checkpoints").iterdir())
    tensors, about = artifacts.load_tensors(path)
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            tensor.zero_()
    artifacts.save_tensors(path, tensors, about)
    run.resume(interrupted)
    assert weights(interrupted) != weights(finished.folder)


@pytest.mark.parametrize(("said", "threads"), [(None, 1), ("2", 2)])
def test_resuming_computes_with_the_threads_the_run_began_with_unless_others_are_said(
    interrupted, loop, monkeypatch, said, threads
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    seen = []
    loop.after_each(lambda number: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)  # as torch does at its start where nothing or 2 is said
    try:
        run.resume(interrupted)
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {threads}


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({"commit": "0" * 40}, "another commit than before"),
        ({"commit": "0" * 40, "resnets": "0.0"}, "another version and another commit than before"),
        ({}, None),
    ],
)
def test_what_is_not_as_when_the_run_began_is_named(interrupted, capsys, differs, told):
    manifest = manifests.read(interrupted)
    manifest["provenance"] |= differs
    manifests.write(interrupted, manifest)
    capsys.readouterr()
    run.resume(interrupted)
    said = [line for line in capsys.readouterr().err.splitlines() if "last bits" in line]
    assert said == ([f"note         {told}: last bits may differ"] if told else [])


def test_a_run_outside_the_main_thread_trains_to_the_same_bits(tiny, train, finished, tmp_path):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(train(tiny, tmp_path / "run")))
    thread.start()
    thread.join()
    assert ended[0].updates == 10
    assert weights(tmp_path / "run") == weights(finished.folder)


# What is refused.


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def refused(folder, error, match, *given):
    before = content(folder)
    with pytest.raises(error, match=match) as caught:
        run.resume(folder, *given)
    assert "\n" not in str(caught.value)
    assert content(folder) == before


def test_resuming_another_recipe_is_refused_with_the_difference(interrupted, tiny):
    other = codec.override(tiny, ["optim.momentum=0.8", "total_steps=20"])
    difference = r"optim\.momentum: 0\.9 -> 0\.8; total_steps: 10 -> 20"
    refused(interrupted, RunError, rf"began with another recipe \({difference}\)", None, other)


def test_resuming_the_same_recipe_with_another_source_goes_on(interrupted, tiny, finished):
    run.resume(interrupted, None, replace(tiny, source="elsewhere"))
    assert weights(interrupted) == weights(finished.folder)


def test_resuming_on_other_data_is_refused_with_both_digests(interrupted):
    data = synthetic.make()
    pixels = data.train.images_nhwc.clone()
    pixels[0, 0, 0, 0] ^= 1
    other = replace(data, train=ImageSet(pixels, data.train.labels_n))
    both = rf"\(synthetic {data.digest[:12]}, here synthetic {other.digest[:12]}\)"
    refused(interrupted, RunError, rf"began with other data {both}", other)


def test_resuming_a_finished_run_gives_its_result_and_changes_nothing(finished, capsys):
    before = content(finished.folder)
    assert run.resume(finished.folder) == finished
    assert content(finished.folder) == before
    assert "this run is finished; nothing was done" in capsys.readouterr().err


def test_resuming_a_finished_run_with_another_recipe_is_refused(finished, tiny):
    other = replace(tiny, total_steps=20)
    refused(finished.folder, RunError, "total_steps: 10 -> 20", None, other)


def test_resuming_finishes_what_a_kill_at_the_very_end_left_undone(
    interrupted, finished, monkeypatch
):
    def killed(*given, **named):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run.report, "curves", killed)
        with pytest.raises(Killed):
            run.resume(interrupted)
    assert not (interrupted / "curves.png").exists()
    (interrupted / "checkpoints").mkdir()
    assert replace(run.resume(interrupted), folder=finished.folder) == finished
    assert (interrupted / "curves.png").exists()
    assert not (interrupted / "checkpoints").exists()


def test_resuming_where_there_is_no_run_is_refused(tmp_path):
    refused(tmp_path, RunError, r"no run in this folder \(manifest\.json is missing\)")


@pytest.mark.parametrize(
    "damage",
    [
        lambda told: b"",
        lambda told: b"{",
        lambda told: b"[]",
        lambda told: json.dumps({**told, "format": 99}).encode(),
        lambda told: json.dumps({**told, "format": "x"}).encode(),
        lambda told: json.dumps({k: v for k, v in told.items() if k != "recipe"}).encode(),
        lambda told: json.dumps({**told, "data": {"name": "synthetic"}}).encode(),
        lambda told: json.dumps({**told, "data": 5}).encode(),
        lambda told: json.dumps({**told, "seed": "0"}).encode(),
        lambda told: json.dumps({**told, "runtime": {}}).encode(),
        lambda told: json.dumps({**told, "classes": [1, 2]}).encode(),
    ],
    ids=[
        *("empty", "not json", "a list", "newer", "no format", "no recipe", "half of data"),
        *("no data", "text for a seed", "no runtime", "numbers for classes"),
    ],
)
def test_a_damaged_manifest_is_refused_naming_it(tmp_path, finished, damage):
    told = json.loads((finished.folder / "manifest.json").read_bytes())
    (tmp_path / "manifest.json").write_bytes(damage(told))
    refused(tmp_path, (RunError, CheckpointError), r"manifest\.json: ")


@pytest.mark.parametrize("momentum", [2, 0.8])
def test_a_manifest_that_was_edited_is_refused_naming_it(tmp_path, finished, momentum):
    told = json.loads((finished.folder / "manifest.json").read_bytes())
    told["recipe"]["optim"]["momentum"] = momentum
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    refused(tmp_path, (RunError, CheckpointError), r"manifest\.json: ")


def test_a_run_that_another_process_is_training_is_refused(interrupted, loop, finished):
    seen = []

    def resume_again(number):
        if number == 8:
            with pytest.raises(RunError, match=f"^{interrupted}: another process") as caught:
                run.resume(interrupted)
            seen.append(str(caught.value))

    loop.after_each(resume_again)
    run.resume(interrupted)
    assert len(seen) == 1
    assert weights(interrupted) == weights(finished.folder)
    assert journal(interrupted) == journal(finished.folder)


def occupied(tiny, train, out, match):
    before = content(out) if out.is_dir() else out.read_bytes()
    with pytest.raises(RunError, match=match):
        train(tiny, out)
    assert (content(out) if out.is_dir() else out.read_bytes()) == before


def test_a_folder_that_holds_a_run_is_not_used_for_another(tiny, train, finished):
    occupied(tiny, train, finished.folder, r"holds a run already; .*`resnets train --resume")


def test_a_folder_that_holds_anything_else_is_not_used_either(tiny, train, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    occupied(tiny, train, tmp_path, "exists and is not empty; name a new folder")
    occupied(tiny, train, tmp_path / "notes.txt", "exists and is not empty")


def stopped_at_once(train, loop, recipe, out):
    loop.terminate_after(1)
    with pytest.raises(InterruptedRunError) as caught:
        train(recipe, out)
    return str(caught.value)


def test_an_empty_folder_and_one_to_be_made_are_used(tiny, train, loop, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
        stopped_at_once(train, loop, tiny, out)
        assert (out / "manifest.json").exists()


def test_without_a_folder_the_first_free_one_of_that_name_is_made(
    tiny, train, loop, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "tiny-2", "tiny-3"):
        message = stopped_at_once(train, loop, tiny, None)
        assert message.endswith(f"`resnets train --resume runs/{name}` continues it")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        *("tiny", "tiny-2", "tiny-3"),
    ]


def test_a_recipe_of_other_classes_than_its_data_is_refused_before_anything_is_written(
    tiny, train, tmp_path
):
    wrong = replace(tiny, model=replace(tiny.model, classes=7))
    with pytest.raises(RecipeError, match=r"model\.classes: synthetic has 4 classes, got 7"):
        train(wrong, tmp_path / "run")
    with pytest.raises(ResNetsError, match="--device"):
        run.start(tiny, synthetic.make(), name="tiny", out=tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()


# Divergence.


def test_a_run_that_diverges_says_when_at_what_rate_and_what_is_left(tiny, train, loop, tmp_path):
    schedule = StepDecay(milestones=(4,), factor=1e30)
    loop.save_after(*range(1, 10))
    with pytest.raises(DivergedError) as caught:
        train(replace(tiny, schedule=schedule), tmp_path / "run")
    message = str(caught.value)
    newest = tmp_path / "run" / "checkpoints" / states(tmp_path / "run")[-1]
    assert "by update " in message
    assert "at rate 1e+28" in message
    assert f"the last good checkpoint is {newest}" in message
    assert "--lr" in message
    assert "\n" not in message
    assert caught.value.exit_status == 1
    for name in states(tmp_path / "run"):
        checkpoint = checkpoints.read(tmp_path / "run" / "checkpoints" / name)
        tensors = [*checkpoint.model.values(), *checkpoint.optimizer.values()]
        assert all(bool(tensor.isfinite().all()) for tensor in tensors)
        assert 1 <= checkpoint.about["update"] <= 5
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_run_that_diverges_at_once_leaves_no_checkpoint_and_a_journal_that_can_be_read(
    tiny, train, tmp_path
):
    wild = replace(tiny, optim=replace(tiny.optim, learning_rate=1e30))
    with pytest.raises(DivergedError, match=r"update 4 at rate 8\.75e\+29; there is no checkpoint"):
        train(wild, tmp_path / "run")
    logged = [r for r in journal(tmp_path / "run") if "loss" in r]
    assert logged[-1]["loss"] == "nan"
    evaluated = [r for r in journal(tmp_path / "run") if "test_top1_error_percent" in r]
    assert evaluated[-1]["test_top1_error_percent"] == 100  # NaN is never a hit
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_network_that_diverges_between_two_records_is_not_saved(tiny, train, loop, tmp_path):
    wild = replace(tiny, optim=replace(tiny.optim, learning_rate=1e30))
    loop.save_after(3)  # before the first record, at 4
    with pytest.raises(DivergedError, match="by update 3 "):
        train(wild, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_diverged_run_can_be_copied_and_resumed_from_its_last_good_state(
    tiny, train, loop, tmp_path
):
    schedule = StepDecay(milestones=(4,), factor=1e30)
    loop.save_after(2)
    with pytest.raises(DivergedError):
        train(replace(tiny, schedule=schedule), tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    loop.undisturbed()
    with pytest.raises(DivergedError, match=r"copy.*update-000000002"):
        run.resume(tmp_path / "copy")


# The best network.


# Where the rate is high the error goes up and down.
def restless(tiny, **changes):
    optim = replace(tiny.optim, learning_rate=0.1)
    return replace(tiny, optim=optim, keep="best", total_steps=24, **changes)


def errors(folder):
    key = "test_top1_error_percent"
    return {r["update"]: r[key] for r in journal(folder) if key in r}


def test_a_run_that_keeps_the_best_ends_with_the_network_of_its_least_error(train, tiny, tmp_path):
    growing = StepDecay(milestones=(), warmup="linear", warmup_steps=24)  # too high in the end
    optim = replace(tiny.optim, learning_rate=4.0)
    ended = train(replace(restless(tiny), optim=optim, schedule=growing), tmp_path / "run")
    found = errors(tmp_path / "run")
    least = min(found.values())
    latest = max(update for update, error in found.items() if error == least)
    assert latest < 24  # else the test shows nothing
    kept = checkpoints.newest(tmp_path / "run")
    assert (kept.update, kept.finished) == (latest, True)
    assert (ended.top1_error_percent, ended.updates) == (least, 24)
    assert evaluate.evaluate(tmp_path / "run", device="cpu").top1_error_percent == least
    assert run.resume(tmp_path / "run") == ended  # it is finished, whatever its update


def test_patience_ends_a_run_after_so_many_evaluations_that_were_no_better(train, tiny, tmp_path):
    ended = train(restless(tiny, patience=2), tmp_path / "run")
    whole = list(errors(tmp_path / "run").values())
    assert ended.updates < 24
    assert min(whole[-2:]) >= min(whole[:-2])
    waits = [min(whole[i : i + 2]) < min(whole[:i]) for i in range(1, len(whole) - 2)]
    assert all(waits)  # nowhere before was it to end
    assert checkpoints.newest(tmp_path / "run").finished


def test_a_run_that_ends_by_patience_has_logged_its_last_updates_too(
    train, tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "_LOG_EVERY", 7)
    ended = train(restless(tiny, patience=1), tmp_path / "run")
    assert ended.updates % 7  # else the test shows nothing
    logged = [record["update"] for record in journal(tmp_path / "run") if "loss" in record]
    assert logged == [*range(7, ended.updates, 7), ended.updates]


def test_on_a_full_disk_every_process_says_the_same_line(tmp_path):
    def told(err):
        with pytest.raises(ResNetsError) as caught, run._resumable(tmp_path):
            raise err
        return str(caught.value), caught.value.everywhere

    line = f"cannot write {tmp_path}: no space left on the disk; make room, then {artifacts.AGAIN}"
    led = StorageError(line)
    led.everywhere = True
    others = ResNetsError(line)  # what `Team.led` raises in them
    others.everywhere = True
    assert told(led) == told(others)
    assert f"make room, then `resnets train --resume {tmp_path}` continues it" in told(others)[0]


@pytest.mark.parametrize("ema", [None, EmaSpec(decay=0.5)], ids=["", "average"])
def test_the_best_network_survives_a_stop(train, tiny, tmp_path, loop, ema):
    recipe = restless(tiny, ema=ema, patience=20)
    whole = train(recipe, tmp_path / "whole")
    stop = min(23, checkpoints.newest(tmp_path / "whole").update + 1)
    loop.terminate_after(stop)
    with pytest.raises(InterruptedRunError):
        train(recipe, tmp_path / "run")
    loop.undisturbed()
    assert checkpoints.newest_state(tmp_path / "run").best
    resumed = run.resume(tmp_path / "run")
    assert replace(resumed, folder=whole.folder) == whole
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert journal(tmp_path / "run") == journal(tmp_path / "whole")


def test_a_folder_that_is_not_free_is_refused_before_any_image_is_looked_at(
    train, tiny, tmp_path, monkeypatch
):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(build, "build", lambda *given, **named: pytest.fail("it was built"))
    with pytest.raises(RunError, match="exists and is not empty"):
        train(tiny, tmp_path)
