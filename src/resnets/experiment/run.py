"""A recipe becomes a run: a folder that can be killed at any point and continued to the same bits.

RUN/manifest.json                     what the run is; written before the first update
RUN/journal.jsonl                     what it measured, a line at a time
RUN/checkpoints/update-N.safetensors  while it runs: the two newest states
RUN/model.safetensors                 when it is finished: the network and all about it
RUN/curves.png                        when it is finished
RUN/.lock                             held by the process that is training
"""

import contextlib
import math
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from resnets.core import artifacts, hardware, progress
from resnets.core.errors import DivergedError, InterruptedRunError, ResNetsError, RunError
from resnets.data import opening
from resnets.data.opening import Data
from resnets.experiment import averaging, build, manifests, provenance, report
from resnets.experiment.build import Parts
from resnets.experiment.journal import JOURNAL, Journal
from resnets.inference import checkpoints
from resnets.inference.checkpoints import FINISHED, STATES, Checkpoint
from resnets.recipes import codec
from resnets.recipes.schedule import Plateau
from resnets.recipes.schema import Recipe
from resnets.training.loop import Update, due, updates

CURVES: Final = "curves.png"

_LOG_EVERY: Final = 20
_EVALUATIONS: Final = 12  # over a whole run, the last one included
_SAVE_AFTER_S: Final = 5.0
_SAVE_SHARE: Final = 0.02  # of the time may go into saving

Compile = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run. `top1_error_percent` is on the split its recipe evaluates on."""

    folder: Path
    split: str  # "test" or "validation"
    images: int
    top1_error_percent: float
    updates: int

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets train --json`."""
        return {
            "run": str(self.folder),
            "split": self.split,
            "images": self.images,
            "top1_error_percent": self.top1_error_percent,
            "updates": self.updates,
        }


def start(
    recipe: Recipe,
    data: Data,
    *,
    name: str,
    out: Path | None = None,
    seed: int = 0,
    device: str | None = None,
    compiling: Compile = "auto",
) -> Run:
    """Train a recipe from its beginning in a new folder.

    Args:
        recipe: What to train.
        data: What to train it on; the recipe is fitted to it.
        name: The recipe's name, for the manifest and the default folder.
        out: The run's folder; by default the first free one of runs/NAME, runs/NAME-2, ...
        seed: Of everything random.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.
        compiling: "auto" compiles when the run is long enough to win the time back.

    Raises:
        RunError: `out` holds something already.
        DivergedError: A loss was not finite.
        InterruptedRunError: The run was told to stop; it was saved.
    """
    where = hardware.device(device)
    recipe, why = build.resolved(build.fitted(recipe, data), where)
    compiled = _compilation(recipe, data, where, compiling)
    manifest = {
        "format": manifests.FORMAT,
        "name": name,
        "recipe": codec.to_tree(recipe),
        "recipe_digest": codec.digest(recipe),
        "seed": seed,
        "data": {"name": data.name, "where": data.where, "digest": data.digest},
        "classes": list(build.class_names(data)),
        "runtime": {
            "device": str(where),
            "threads": torch.get_num_threads(),
            "precision": {"value": recipe.precision, "reason": why},
            "compilation": {"value": compiled.value, "reason": compiled.reason},
            "memory_format": "channels-last",
        },
        "hardware": hardware.describe(where),
        "provenance": provenance.collect(),
    }
    parts = build.build(recipe, data, seed=seed, device=where)  # before anything is written
    folder = manifests.new_folder(out, name)
    with artifacts.alone(folder, wait=False):
        manifests.check_empty(folder)
        manifests.write(folder, manifest)
        return _train(folder, manifest, parts, recipe, None)


def resume(
    folder: Path,
    data: Data | None = None,
    recipe: Recipe | None = None,
    device: str | None = None,
) -> Run:
    """Continue a run where its newest good checkpoint stands, to the same bits.

    A finished run is left as it is, and its result returned.

    Args:
        folder: The run's folder.
        data: Where to read the data now; by default where the manifest says.
        recipe: What the caller believes the run's recipe to be; by default the manifest's.
        device: Where to compute now; by default where the run began. Another kind of device
            rounds differently.

    Raises:
        RunError: The recipe or the data are not those it began with, or another process is
            training it.
        CheckpointError: The manifest is missing or damaged.
    """
    folder = folder.expanduser()
    manifest = manifests.read(folder)
    own = codec.from_tree(manifest["recipe"])
    if recipe is not None and codec.digest(recipe) != codec.digest(own):
        raise RunError(
            f"{folder}: began with another recipe ({codec.difference(own, recipe)}); resume it "
            "without naming one, or train the new one in a new folder"
        )
    if (folder / FINISHED).exists():
        return _already_finished(folder)
    if data is None:
        data = opening.open_data(manifest["data"]["where"])
    digest = data.digest
    if digest != manifest["data"]["digest"]:
        raise RunError(
            f"{folder}: began with other data ({manifest['data']['name']} "
            f"{manifest['data']['digest'][:12]}, here {data.name} {digest[:12]})"
        )
    where = _device_now(folder, manifest, device)
    with artifacts.alone(folder, wait=False):
        if (folder / FINISHED).exists():  # the process that trained it has come to the end
            return _already_finished(folder)
        state = checkpoints.newest_state(folder)
        parts = build.build(
            own,
            data,
            seed=manifest["seed"],
            device=where,
            mean_hwc=None if state is None else state.mean_hwc,
        )
        return _train(folder, manifest, parts, own, state)


@dataclass(slots=True)
class _Saver:
    """Saves often enough that a kill costs seconds, and seldom enough that saving costs little."""

    folder: Path
    description: Mapping[str, Any]
    mean_hwc: Tensor
    last_s: float = field(default_factory=time.perf_counter)
    cost_s: float = 0.0

    def due(self) -> bool:
        wait_s = max(_SAVE_AFTER_S, self.cost_s / _SAVE_SHARE)
        return time.perf_counter() - self.last_s >= wait_s

    def save(self, parts: Parts, number: int, since_log: dict[str, list[float]]) -> None:
        """Write the state after update `number`, then drop all but the newest states."""
        begun = time.perf_counter()
        tensors = _model_tensors(parts.model, self.mean_hwc)
        tensors |= _optimizer_tensors(parts.optimizer)
        states = self.folder / STATES
        path = states / _state_name(number)
        about = {
            **self.description,
            "update": number,
            "since_log": since_log,
            "scaler": parts.precision.scaler.state_dict(),
        }
        artifacts.save_tensors(path, tensors, about)
        for old in sorted(states.glob("update-*.safetensors"))[: -manifests.STATES_KEPT]:
            old.unlink()
        self.last_s = time.perf_counter()
        self.cost_s = self.last_s - begun

    def finish(self, parts: Parts, number: int) -> None:
        """Write the finished network, then drop the states it makes useless."""
        tensors = _model_tensors(parts.model, self.mean_hwc)
        about = {**self.description, "update": number}
        artifacts.save_tensors(self.folder / FINISHED, tensors, about)
        shutil.rmtree(self.folder / STATES, ignore_errors=True)


def _train(
    folder: Path,
    manifest: dict[str, Any],
    parts: Parts,
    recipe: Recipe,
    state: Checkpoint | None,
) -> Run:
    hardware.keep_memory()
    runtime = manifest["runtime"]
    torch.set_num_threads(min(runtime["threads"], torch.get_num_threads()))
    done, window = _restore(parts, state)
    _clear(folder, done)
    manifests.announce(folder, manifest, recipe, done, parts.batch_of.device)
    saver = _Saver(folder, manifests.description(manifest, parts.preprocess), parts.mean_hwc)
    journal = Journal(folder / JOURNAL, done, window)
    compiled = runtime["compilation"]["value"] == "compiled"
    model: nn.Module = torch.compile(parts.model) if compiled else parts.model  # type: ignore[assignment]
    total, images = recipe.total_steps, recipe.batch_images
    every = _evaluate_every(recipe)
    with (
        _stopping() as stop,
        progress.reporting(
            "training", total=total * images, unit="images", done=done * images
        ) as bar,
    ):
        for update in updates(
            model,
            parts.loss_of,
            parts.batch_of,
            parts.optimizer,
            lambda number: parts.rate_of(number, journal.errors_percent),
            parts.precision,
            first=done + 1,
            last=total,
        ):
            journal.count(update)
            if due(update.number, _LOG_EVERY, total):
                _check(journal.log(images), update, folder)
            if due(update.number, every, total):
                begun = time.perf_counter()
                journal.write(update.number, dict(parts.evaluator.run(parts.model)))
                journal.leave_out(time.perf_counter() - begun)
            told = stop[0] if stop and update.number < total else None
            if told or (saver.due() and update.number < total):
                _check_finite(parts, update, folder)
                saver.save(parts, update.number, journal.since_log())
            bar.advance(images, journal.note)
            if told:
                raise _interrupted(folder, update.number, total, told)
    _check_finite(parts, update, folder)
    if recipe.true_averages:
        averaging.of_run(parts.model, parts.batch_of)
        journal.write(total, dict(parts.evaluator.run(parts.model)))
    saver.finish(parts, total)
    report.curves(journal.records, folder / CURVES, title=folder.name)
    return _result(folder, journal.records)


def _evaluate_every(recipe: Recipe) -> int:
    """Return after how many updates to evaluate: a dozen times, or as a plateau needs it."""
    if isinstance(recipe.schedule, Plateau):
        return recipe.schedule.every_steps
    return math.ceil(recipe.total_steps / _EVALUATIONS)


def _clear(folder: Path, done: int) -> None:
    """Remove what a kill left half-written, and states that proved unreadable.

    Those would be newer than every state still to come, which would be dropped in their favour.
    """
    for unfinished in folder.rglob(".*.partial"):
        unfinished.unlink()
    for state in sorted((folder / STATES).glob("update-*.safetensors")):
        if state.name > _state_name(done):
            sys.stderr.write(f"note         {state.name} is damaged and was removed\n")
            state.unlink()


def _state_name(number: int) -> str:
    return f"update-{number:09d}.safetensors"


def _restore(parts: Parts, state: Checkpoint | None) -> tuple[int, dict[str, list[float]]]:
    """Put a saved state into the parts; return how many updates it had done, and its window."""
    if state is None:
        return 0, {}
    state.network()  # refuses tensors that do not fit
    parts.model.load_state_dict(state.model)
    parameters = [p for group in parts.optimizer.param_groups for p in group["params"]]
    saved = parts.optimizer.state_dict()
    for name, tensor in state.optimizer.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        # In the parameter's own memory format: the fused SGD walks through both in memory order
        # and would silently pair the wrong elements.
        alike = torch.empty_like(parameter) if tensor.shape == parameter.shape else tensor
        saved["state"].setdefault(int(index), {})[key] = alike.copy_(tensor)
    parts.optimizer.load_state_dict(saved)
    if parts.precision.scaler.is_enabled():
        parts.precision.scaler.load_state_dict(state.about["scaler"])
    return int(state.about["update"]), state.about["since_log"]


def _model_tensors(model: nn.Module, mean_hwc: Tensor) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return tensors | {checkpoints.MEAN: mean_hwc}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"optimizer.{index}.{key}": value
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def _compilation(
    recipe: Recipe, data: Data, device: torch.device, asked: Compile
) -> hardware.Choice:
    if asked == "off":
        return hardware.Choice("eager", "set by hand")
    if asked == "on":
        missing = hardware.missing_for_compiling(device.type)
        if missing:
            raise RunError(f"--compile on: compiling does not work here: {missing}")
        return hardware.Choice("compiled", "set by hand")
    return hardware.compilation(device, build.multiply_adds(recipe, data))


def _device_now(folder: Path, manifest: Mapping[str, Any], asked: str | None) -> torch.device:
    """Return the device to continue on, if the run can go on there as it began."""
    runtime = manifest["runtime"]
    try:
        where = hardware.device(asked or runtime["device"])
    except ResNetsError as err:
        if asked is not None:
            raise
        raise RunError(f"{folder}: began on {runtime['device']}; {err}") from err
    if runtime["compilation"]["value"] == "compiled":
        missing = hardware.missing_for_compiling(where.type)
        if missing:
            raise RunError(f"{folder}: began compiled, which does not work here: {missing}")
    return where


def _check(loss: float, update: Update, folder: Path) -> None:
    if math.isfinite(loss):
        return
    states = sorted((folder / STATES).glob("update-*.safetensors"))
    last = f"the last good checkpoint is {states[-1]}" if states else "there is no checkpoint yet"
    raise DivergedError(
        f"the loss is {loss} by update {update.number:,} at rate {update.learning_rate:g}; {last}; "
        "train again with a lower rate: --lr"
    )


def _check_finite(parts: Parts, update: Update, folder: Path) -> None:
    """Refuse to save a diverged network: a checkpoint is always a good one."""
    tensors = [*parts.model.state_dict().values(), *_optimizer_tensors(parts.optimizer).values()]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        _check(math.nan, update, folder)


@contextlib.contextmanager
def _stopping() -> Iterator[list[int]]:
    """Yield a list that Ctrl-C or SIGTERM appends its number to; a second one acts at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread can catch signals
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for each, handler in before.items():
            signal.signal(each, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        restore()
        asked.append(number)
        # Not through sys.stderr, which may be in the middle of writing when a signal comes.
        os.write(2, b"\nstopping after this update; once more to stop at once, unsaved\n")

    for each in before:
        signal.signal(each, ask)
    try:
        yield asked
    finally:
        restore()


def _interrupted(folder: Path, number: int, total: int, signal_number: int) -> InterruptedRunError:
    at = shlex.quote(str(folder))
    return InterruptedRunError(
        f"stopped after update {number:,} of {total:,} and saved; `resnets train --resume {at}` "
        "continues it",
        signal_number,
    )


def _already_finished(folder: Path) -> Run:
    """Return a finished run's result, and finish what a kill at its very end left undone."""
    sys.stderr.write(f"{folder}: this run is finished; nothing was done\n")
    records = artifacts.read_lines(folder / JOURNAL)
    if not (folder / CURVES).exists():
        report.curves(records, folder / CURVES, title=folder.name)
    shutil.rmtree(folder / STATES, ignore_errors=True)
    return _result(folder, records)


def _result(folder: Path, records: Sequence[Mapping[str, Any]]) -> Run:
    for record in reversed(records):
        for split in ("test", "validation"):
            if f"{split}_top1_error_percent" in record:
                return Run(
                    folder=folder,
                    split=split,
                    images=record.get(f"{split}_images", 0),
                    top1_error_percent=record[f"{split}_top1_error_percent"],
                    updates=record.get("update", 0),
                )
    raise RunError(f"{folder / JOURNAL}: holds no result; `resnets evaluate {folder}` measures it")
