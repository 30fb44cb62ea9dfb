"""A recipe becomes a run: a folder that can be killed at any point and continued to the same bits.

RUN/manifest.json                     what the run is; written before the first update
RUN/journal.jsonl                     what it measured, a line at a time
RUN/checkpoints/update-N.safetensors  while it runs: the two newest states
RUN/model.safetensors                 when it is finished: the network and all about it
RUN/curves.png                        when it is finished
RUN/tensorboard                       where it is asked for: the journal for TensorBoard
RUN/.lock                             held by the process that is training

Of several processes only the one that leads reads or writes any of these.
"""

import contextlib
import math
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from resnets.core import artifacts, hardware, launcher, processes, progress
from resnets.core.errors import ResNetsError, RunError
from resnets.core.processes import Poll, Team
from resnets.data import opening
from resnets.data.box_crops import BoxCropBatches
from resnets.data.opening import Data
from resnets.data.scenes import SceneBatches
from resnets.experiment import (
    averaging,
    build,
    diverging,
    events,
    machine,
    manifests,
    noting,
    outcome,
    provenance,
    report,
    states,
    stopping,
    tasks,
    transfer,
)
from resnets.experiment.build import Parts
from resnets.experiment.choosing import Best
from resnets.experiment.journal import JOURNAL, Journal
from resnets.experiment.machine import Compile
from resnets.experiment.outcome import Run
from resnets.experiment.transfer import Weights
from resnets.inference.checkpoints import FINISHED, MANIFEST, STATES, AnyCheckpoint
from resnets.recipes import codec
from resnets.recipes.detector import AnyRecipe
from resnets.recipes.schedule import Plateau
from resnets.training import synchronised
from resnets.training.loop import due, updates

CURVES: Final = "curves.png"

_LOG_EVERY: Final = 20
_SAVE_AFTER_S: Final = 5.0
_SAVE_SHARE: Final = 0.02  # of the time may go into saving


def start(
    recipe: AnyRecipe,
    data: Data,
    *,
    name: str,
    out: Path | None = None,
    seed: int = 0,
    device: str | None = None,
    compiling: Compile = "auto",
    weights: Weights | None = None,
    workers: int | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train a recipe from its beginning in a new folder.

    Args:
        recipe: What to train.
        data: What to train it on; the recipe is fitted to it.
        name: The recipe's name, for the manifest and the default folder.
        out: The run's folder; by default the first free one of runs/NAME, runs/NAME-2, ... What
            torchrun started has to name it, and continues the run that lies there already.
        seed: Of everything random.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.
        compiling: "auto" compiles when the run is long enough to win the time back.
        weights: What `recipe.transfer` names.
        workers: How many threads read image files; by default one a processor.
        tensorboard: Whether TensorBoard's events are written too.

    Raises:
        RunError: `out` holds something already, or, under torchrun, another run.
        DivergedError: A loss was not finite.
        InterruptedRunError: The run was told to stop; it was saved.
    """
    assert (weights is None) == (recipe.transfer is None)
    if out is None and launcher.place() is not None:
        raise RunError("torchrun: name the run's folder, where restarted processes find it: --out")
    if tensorboard:
        events.check()
    data = tasks.suited(recipe, data)
    with processes.joined() as team:
        where = processes.device(device)
        recipe, why = build.resolved(tasks.fitted(recipe, data), where)
        if launcher.place() is not None and out is not None and _begun_before(out, team):
            return _resume(out.expanduser(), data, recipe, device, workers, team, seed)
        if out is not None:  # said before minutes are spent on looking at images
            team.led(lambda: manifests.check_free(out))
        compiled = machine.compilation(recipe, data, where, compiling)
        manifest = {
            "format": manifests.FORMAT,
            "name": name,
            "recipe": codec.to_tree(recipe),
            "recipe_digest": codec.digest(recipe),
            "seed": seed,
            "data": {"name": data.name, "where": data.where, "digest": data.digest},
            "classes": list(tasks.class_names(data)),
            "runtime": {
                "device": str(where),
                "processes": team.size,
                "threads": torch.get_num_threads(),
                "precision": {"value": recipe.precision, "reason": why},
                "compilation": {"value": compiled.value, "reason": compiled.reason},
                "memory_format": "channels-last",
                "tensorboard": tensorboard,
            },
            "hardware": hardware.describe(where),
            "provenance": provenance.collect(),
        }
        if weights is not None:
            manifest["weights"] = weights.describe()
        # Before anything is written.
        parts = tasks.built(recipe, data, seed=seed, device=where, team=team, workers=workers)
        if weights is not None:
            tasks.start(parts, recipe, lambda: weights.checkpoint, data, team)
        folder = Path(team.led(lambda: str(manifests.new_folder(out, name))))
        with _alone(folder, team):
            manifest = team.led(lambda: _begin(folder, manifest, weights))
            return _train(folder, manifest, parts, recipe, None, team)


def resume(
    folder: Path,
    data: Data | None = None,
    recipe: AnyRecipe | None = None,
    device: str | None = None,
    workers: int | None = None,
) -> Run:
    """Continue a run where its newest good checkpoint stands, to the same bits.

    A finished run is left as it is, and its result returned.

    Args:
        folder: The run's folder.
        data: Where to read the data now; by default where the manifest says.
        recipe: What the caller believes the run's recipe to be; by default the manifest's.
        device: Where to compute now; by default where the run began. Another kind of device
            rounds differently, and so does another number of processes.
        workers: How many threads read image files; by default one a processor.

    Raises:
        RunError: The recipe or the data are not those it began with, or another process is
            training it.
        CheckpointError: The manifest is missing or damaged.
    """
    with processes.joined() as team:
        return _resume(folder.expanduser(), data, recipe, device, workers, team)


def _resume(
    folder: Path,
    data: Data | None,
    recipe: AnyRecipe | None,
    device: str | None,
    workers: int | None,
    team: Team,
    seed: int | None = None,
) -> Run:
    manifest = team.led(lambda: manifests.read(folder))
    own = codec.from_tree(manifest["recipe"])
    if recipe is not None and codec.digest(recipe) != codec.digest(own):
        raise RunError(
            f"{folder}: began with another recipe ({codec.difference(own, recipe)}); resume it "
            "without naming one, or train the new one in a new folder"
        )
    if seed is not None and seed != manifest["seed"]:
        raise RunError(f"{folder}: began with seed {manifest['seed']}, not {seed}")
    if team.led((folder / FINISHED).exists):
        return _already_finished(folder, team, own.keep)
    if data is None:
        data = opening.open_data(manifest["data"]["where"])
    data = tasks.suited(own, data)
    digest = data.digest
    if digest != manifest["data"]["digest"]:
        raise RunError(
            f"{folder}: began with other data ({manifest['data']['name']} "
            f"{manifest['data']['digest'][:12]}, here {data.name} {digest[:12]})"
        )
    where = machine.device_now(folder, manifest, device, team)
    torch.set_num_threads(machine.threads_now(manifest))
    if manifest["runtime"].get("tensorboard", False):
        events.check()
    with _alone(folder, team):
        if team.led((folder / FINISHED).exists):  # who trained it has come to the end
            return _already_finished(folder, team, own.keep)
        state = states.newest(folder, team)
        parts = tasks.built(
            own,
            data,
            seed=manifest["seed"],
            device=where,
            mean_hwc=None if state is None else state.mean_hwc,
            team=team,
            workers=workers,
        )
        if own.transfer is not None and state is None:  # killed before it was first saved
            lying = transfer.place(folder, manifest)
            found = partial(transfer.opened, lying, own.transfer.weights)
            tasks.start(parts, own, found, data, team)
        return _train(folder, manifest, parts, own, state, team)


def _begun_before(out: Path, team: Team) -> bool:
    """Tell whether processes that torchrun started before these have begun the run.

    torchrun itself does not tell: that a machine has joined counts as no restart.

    Raises:
        RunError: They have, and the first process was on another machine then.
    """
    here = (out.expanduser() / MANIFEST).exists()
    (places,) = team.sum_integers([here])
    if team.led(lambda: here):
        return True
    if places:
        raise RunError(
            f"--out {out}: holds a run on another machine than the first process's; put it where "
            "all machines see it, or name a new folder"
        )
    return False


def _begin(folder: Path, manifest: dict[str, Any], weights: Weights | None) -> dict[str, Any]:
    manifests.check_empty(folder)
    if weights is not None:
        weights.keep(folder)
    manifests.write(folder, manifest)
    return manifest


@contextlib.contextmanager
def _alone(folder: Path, team: Team) -> Iterator[None]:
    """Let the team be the only one that works in a folder."""
    with contextlib.ExitStack() as held:
        team.led(lambda: held.enter_context(artifacts.alone(folder, wait=False)))
        yield


@dataclass(slots=True)
class _Saver:
    """Saves often enough that a kill costs seconds, and seldom enough that saving costs little."""

    folder: Path
    manifest: Mapping[str, Any]
    description: Mapping[str, Any]
    journal: Journal
    best: Best
    last_s: float = field(default_factory=time.perf_counter)
    cost_s: float = 0.0
    asked: bool = False

    def due(self) -> bool:
        """Return whether it is time to save; true once for each time."""
        wait_s = max(_SAVE_AFTER_S, self.cost_s / _SAVE_SHARE)
        now_due = not self.asked and time.perf_counter() - self.last_s >= wait_s
        self.asked |= now_due
        return now_due

    def save(self, parts: Parts, number: int) -> None:
        """Write the state after update `number`, then drop all but the newest states."""
        begun = time.perf_counter()
        self._mend()
        about = {
            **self.description,
            "update": number,
            "since_log": self.journal.since_log(),
            "scaler": parts.precision.scaler.state_dict(),
            "best": self.best.about(),
            "set_aside": [] if parts.aside is None else [*parts.aside.found().items()],
        }
        tensors = states.of_run(parts, self.best)
        artifacts.save_tensors(states.path_of(self.folder, number), tensors, about)
        for old in states.paths(self.folder)[: -manifests.STATES_KEPT]:
            old.unlink(missing_ok=True)
        self.last_s = time.perf_counter()
        self.cost_s = self.last_s - begun
        self.asked = False

    def finish(self, parts: Parts, number: int) -> None:
        """Write the finished network, then drop the states it makes useless."""
        self._mend()
        about = {**self.description, "update": number, "finished": True}
        artifacts.save_tensors(self.folder / FINISHED, states.of_kept(parts), about)
        shutil.rmtree(self.folder / STATES, ignore_errors=True)
        report.curves(self.journal.records, self.folder / CURVES, title=self.folder.name)

    def _mend(self) -> None:
        """Put all before it on the disk; what somebody removed is written again, from memory."""
        if not (self.folder / MANIFEST).exists():
            sys.stderr.write(f"note         {self.folder} was removed, and is written again\n")
            manifests.write(self.folder, self.manifest)
        self.journal.sync()


def _train(
    folder: Path,
    manifest: dict[str, Any],
    parts: Parts,
    recipe: AnyRecipe,
    state: AnyCheckpoint | None,
    team: Team,
) -> Run:
    hardware.keep_memory()
    done, window, best = states.restore(parts, state)
    total, images = recipe.total_steps, recipe.batch_images
    every = _evaluate_every(recipe)
    compiled = manifest["runtime"]["compilation"]["value"] == "compiled"
    model: nn.Module = _compiled(parts.model) if compiled else parts.model
    with (
        _resumable(folder),
        _own_randomness(parts.batch_of.device),
        stopping.listening(team) as stop,
        progress.reporting(
            "training", total=total * images, unit="images", done=done * images, shown=team.leads
        ) as bar,
    ):
        team.led(lambda: _open(folder, manifest, recipe, done, parts, team))
        shown = manifest["runtime"].get("tensorboard", False)
        journal = Journal(folder / JOURNAL, done, window, team, events=shown)
        about = manifests.description(manifest, parts.preprocess)
        saver, poll = _Saver(folder, manifest, about, journal, best), Poll(team)
        forecast = noting.Forecast(done, total, parts.batch_of.device, shown=team.leads)
        if done == 0 and recipe.transfer is not None and recipe.keep == "best":
            _evaluate(parts, recipe, journal, best, 0)  # what learning has to be better than
        for update in updates(
            model,
            parts.loss_of,
            parts.batch_of,
            parts.optimizer,
            lambda number: parts.rate_of(number, journal.errors_percent),
            parts.precision,
            first=done + 1,
            last=total,
            seed=manifest["seed"],
            clip_norm=recipe.clip_norm,
            division=parts.division,
            replayed=machine.replays(parts),
        ):
            journal.count(update)
            forecast.after(update.number)
            if parts.ema is not None:
                parts.ema.update(update.number)
            if due(update.number, _LOG_EVERY, total):
                diverging.check(journal.log(images), update, folder, team)
                noting.share(parts, team)
            if due(update.number, every, total):
                total = _evaluate(parts, recipe, journal, best, update.number)
                if update.number == total and journal.since_log():  # patience has ended it
                    diverging.check(journal.log(images), update, folder, team)
            told, save = poll(stop[0] if stop else 0, team.leads and saver.due())
            if (told or save) and update.number < total:
                diverging.check_state(parts, update, folder, team)
                noting.share(parts, team)
                team.led(lambda: saver.save(parts, update.number))  # noqa: B023 - called at once
            bar.advance(images, journal.note)
            if told and update.number < total:
                raise stopping.interrupted(folder, update.number, total, told)
            if update.number == total:
                break
        diverging.check_state(parts, update, folder, team)
        kept = _end(parts, recipe, journal, best, total)
        noting.end(parts, journal, total, team)
        team.led(lambda: saver.finish(parts, kept))
    return outcome.of(folder, journal.records, recipe.keep)


def _evaluate(parts: Parts, recipe: AnyRecipe, journal: Journal, best: Best, number: int) -> int:
    """Evaluate after an update; return the last update to do, which may be this one."""
    begun = time.perf_counter()
    measured = dict(parts.evaluator.run(parts.kept))
    if number or not journal.records:  # a run killed before its first save begins again
        journal.write(number, measured)
    journal.leave_out(time.perf_counter() - begun)
    if recipe.keep == "best" or recipe.patience is not None:
        best.offer(parts.kept, number, journal.errors_percent[-1])
    return number if best.waited == recipe.patience else recipe.total_steps


def _end(parts: Parts, recipe: AnyRecipe, journal: Journal, best: Best, total: int) -> int:
    """Make the network that is kept what the recipe ends with; return the update it is of."""
    if recipe.true_averages:
        assert not isinstance(parts.batch_of, SceneBatches | BoxCropBatches)
        averaging.of_run(parts.kept, parts.batch_of, parts.division)
        journal.write(total, dict(parts.evaluator.run(parts.kept)))
    if recipe.keep != "best" or not best.tensors:  # none where no error was a number
        return total
    parts.kept.load_state_dict(best.tensors)
    return best.update


def _compiled(model: nn.Module) -> nn.Module:
    synchronised.keep_from_compiling(model)
    return torch.compile(model)  # type: ignore[return-value]


def _open(
    folder: Path, manifest: dict[str, Any], recipe: AnyRecipe, done: int, parts: Parts, team: Team
) -> None:
    """Tidy a run's folder up, and say what begins or goes on there."""
    states.clear(folder, done)
    manifests.announce(folder, manifest, recipe, done, parts.batch_of.device, team)
    noting.beginning(manifest["classes"], parts)


@contextlib.contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Say of a run that could not be written how it goes on, which is not as it began.

    In every process: all others than the one that writes raise what `Team.led` tells them.
    """
    try:
        yield
    except ResNetsError as err:
        resume_it = f"`resnets train --resume {shlex.quote(str(folder))}` continues it"
        err.args = (str(err).replace(artifacts.AGAIN, resume_it),)
        raise


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave torch's generators as they were: every part of a batch seeds them."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _evaluate_every(recipe: AnyRecipe) -> int:
    """Return after how many updates to evaluate: as the task does, or as a plateau needs it."""
    if isinstance(recipe.schedule, Plateau):
        return recipe.schedule.every_steps
    return math.ceil(recipe.total_steps / tasks.evaluations(recipe))


def _already_finished(folder: Path, team: Team, keep: str) -> Run:
    """Return a finished run's result, and finish what a kill at its very end left undone."""

    def finish() -> list[dict[str, Any]]:
        sys.stderr.write(f"{folder}: this run is finished; nothing was done\n")
        records = artifacts.read_lines(folder / JOURNAL)
        if not (folder / CURVES).exists():
            report.curves(records, folder / CURVES, title=folder.name)
        shutil.rmtree(folder / STATES, ignore_errors=True)
        return records

    return outcome.of(folder, team.led(finish), keep)
