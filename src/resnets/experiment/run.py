"""A recipe becomes a run: a folder that can be killed at any point and continued to the same bits.

RUN/manifest.json                     what the run is; written before the first update
RUN/journal.jsonl                     what it measured, a line at a time
RUN/checkpoints/update-N.safetensors  while it runs: the two newest states
RUN/model.safetensors                 when it is finished: the network and all about it
RUN/curves.png                        when it is finished
"""

import contextlib
import math
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from resnets.core import artifacts, hardware, progress
from resnets.core.errors import DivergedError, InterruptedRunError, ResNetsError, RunError
from resnets.data import opening
from resnets.data.sets import DataSet
from resnets.experiment import build, provenance, report
from resnets.experiment.build import Parts
from resnets.inference import checkpoints
from resnets.inference.checkpoints import FINISHED, MANIFEST, STATES, Checkpoint
from resnets.recipes import codec
from resnets.recipes.schema import Recipe
from resnets.training.loop import Update, due, updates

JOURNAL: Final = "journal.jsonl"
CURVES: Final = "curves.png"
STATES_KEPT: Final = 2  # so that one good one survives whatever happens to the newest

_LOG_EVERY: Final = 20
_EVALUATIONS: Final = 12  # over a whole run, the last one included
_SAVE_AFTER_S: Final = 5.0
_SAVE_SHARE: Final = 0.02  # of the time may go into saving
_FORMAT: Final = 1  # of the manifest

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
    data: DataSet,
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
        "format": _FORMAT,
        "name": name,
        "recipe": codec.to_tree(recipe),
        "recipe_digest": codec.digest(recipe),
        "seed": seed,
        "data": {"name": data.name, "where": data.where, "digest": data.digest},
        "classes": list(data.classes),
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
    folder = _new_folder(out, name)
    artifacts.write_json(folder / MANIFEST, manifest)
    with _alone(folder):
        return _train(folder, manifest, recipe, data)


def resume(folder: Path, data: DataSet | None = None, recipe: Recipe | None = None) -> Run:
    """Continue a run where its newest good checkpoint stands, to the same bits.

    Args:
        folder: The run's folder.
        data: Where to read the data now; by default where the manifest says.
        recipe: What the caller believes the run's recipe to be; by default the manifest's.

    Raises:
        RunError: The run is finished, or the recipe or the data are not those it began with.
        CheckpointError: The manifest is missing or damaged.
    """
    manifest = read_manifest(folder)
    own = codec.from_tree(manifest["recipe"])
    if (folder / FINISHED).exists():
        raise RunError(
            f"{folder}: this run is finished; `resnets evaluate {folder}` measures it again"
        )
    if recipe is not None and codec.digest(recipe) != codec.digest(own):
        raise RunError(
            f"{folder}: began with another recipe ({codec.difference(own, recipe)}); resume it "
            "without naming one, or train the new one in a new folder"
        )
    data = opening.open_data(manifest["data"]["where"]) if data is None else data
    if data.digest != manifest["data"]["digest"]:
        raise RunError(
            f"{folder}: began with other data ({manifest['data']['name']} "
            f"{manifest['data']['digest'][:12]}, here {data.name} {data.digest[:12]})"
        )
    with _alone(folder):
        return _train(folder, manifest, own, data)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a run's manifest.

    Raises:
        RunError: The folder holds no run, or one that cannot be understood.
    """
    if not (folder / MANIFEST).exists():
        raise RunError(f"{folder}: no run in this folder ({MANIFEST} is missing)")
    manifest = artifacts.read_json(folder / MANIFEST)
    try:
        newer = int(manifest["format"]) > _FORMAT
        codec.from_tree(manifest["recipe"])
        texts = [manifest["name"], *manifest["classes"], *manifest["data"].values()]
        runtime = manifest["runtime"]
        texts += [runtime["device"], runtime["compilation"]["value"]]
        sound = all(isinstance(t, str) for t in texts)
        sound = sound and isinstance(manifest["seed"], int) and int(runtime["threads"]) > 0
        sound = sound and {"name", "where", "digest"} <= set(manifest["data"])
    except (KeyError, TypeError, ValueError, AttributeError, ResNetsError) as err:
        raise RunError(f"{folder / MANIFEST}: damaged ({type(err).__name__}: {err})") from err
    if newer:
        raise RunError(f"{folder / MANIFEST}: written by a newer resnets; upgrade resnets")
    if not sound:
        raise RunError(f"{folder / MANIFEST}: damaged: a value is not what it should be")
    return manifest


@dataclass(slots=True)
class _Saver:
    """Saves often enough that a kill costs seconds, and seldom enough that saving costs little."""

    folder: Path
    description: Mapping[str, Any]
    mean_hwc: Tensor
    last_s: float = field(default_factory=time.monotonic)
    cost_s: float = 0.0

    def due(self) -> bool:
        wait_s = max(_SAVE_AFTER_S, self.cost_s / _SAVE_SHARE)
        return time.monotonic() - self.last_s >= wait_s

    def save(self, parts: Parts, number: int, since_log: dict[str, list[float]]) -> None:
        """Write the state after update `number`, then drop all but the newest states."""
        begun = time.monotonic()
        tensors = _model_tensors(parts.model, self.mean_hwc)
        tensors |= _optimizer_tensors(parts.optimizer)
        states = self.folder / STATES
        path = states / f"update-{number:09d}.safetensors"
        about = {
            **self.description,
            "update": number,
            "since_log": since_log,
            "scaler": parts.precision.scaler.state_dict(),
        }
        artifacts.save_tensors(path, tensors, about)
        for old in sorted(states.glob("update-*.safetensors"))[:-STATES_KEPT]:
            old.unlink()
        self.last_s = time.monotonic()
        self.cost_s = self.last_s - begun

    def finish(self, parts: Parts, number: int) -> None:
        """Write the finished network, then drop the states it makes useless."""
        tensors = _model_tensors(parts.model, self.mean_hwc)
        about = {**self.description, "update": number}
        artifacts.save_tensors(self.folder / FINISHED, tensors, about)
        for old in (self.folder / STATES).glob("*"):
            old.unlink()
        with contextlib.suppress(OSError):
            (self.folder / STATES).rmdir()


def _train(
    folder: Path,
    manifest: Mapping[str, Any],
    recipe: Recipe,
    data: DataSet,
) -> Run:
    hardware.keep_memory()
    for unfinished in folder.rglob(".*.partial"):  # what a kill left of a file being written
        unfinished.unlink()
    runtime = manifest["runtime"]
    torch.set_num_threads(runtime["threads"])
    device = hardware.device(runtime["device"])
    parts = build.build(recipe, data, seed=manifest["seed"], device=device)
    done, window = _restore(parts, checkpoints.newest_state(folder))
    saver = _Saver(folder, _description(manifest), parts.mean_hwc)
    journal = _Journal(folder / JOURNAL, done, window)
    _announce(folder, manifest, recipe, done)
    compiled = runtime["compilation"]["value"] == "compiled"
    model: nn.Module = torch.compile(parts.model) if compiled else parts.model  # type: ignore[assignment]
    total, images = recipe.total_steps, recipe.batch_images
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
            parts.rate_of,
            parts.precision,
            first=done + 1,
            last=total,
        ):
            journal.count(update)
            if due(update.number, _LOG_EVERY, total):
                _check(journal.log(images), update, folder)
            if due(update.number, max(1, total // _EVALUATIONS), total):
                journal.write(update.number, dict(parts.evaluator.run(parts.model)))
            if (saver.due() or stop) and update.number < total:
                _check_finite(parts.model, update, folder)
                saver.save(parts, update.number, journal.since_log())
            bar.advance(images, journal.note)
            if stop and update.number < total:
                raise _interrupted(folder, update.number, total, stop[0])
    _check_finite(parts.model, update, folder)
    saver.finish(parts, total)
    return _finished(folder, parts, journal)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Refuse to train in a folder in which another process is training."""
    try:
        with artifacts.alone(folder, wait=False):
            yield
    except TimeoutError as err:
        raise RunError(f"{folder}: another process is training this run; wait for it") from err


class _Journal:
    """What was measured, on its way to the journal file."""

    def __init__(self, path: Path, done: int, window: Mapping[str, list[float]]) -> None:
        self.path = path
        self.note = ""
        self.records = [r for r in artifacts.read_lines(path) if r.get("update", 0) <= done]
        artifacts.write_lines(path, self.records)
        self._window: dict[str, list[Tensor | float]] = {k: list(v) for k, v in window.items()}
        self._last: Update | None = None
        self._since_s = time.monotonic()
        self._since_number = done

    def count(self, update: Update) -> None:
        """Keep an update's scalars, unread, until they are logged."""
        self._last = update
        for name, value in update.measured.items():
            self._window.setdefault(name, []).append(value)

    def since_log(self) -> dict[str, list[float]]:
        """Return the scalars not logged yet, so that a resumed run logs the same means."""
        return {name: [float(v) for v in values] for name, values in self._window.items()}

    def log(self, batch_images: int) -> float:
        """Write the means since the last time; return the mean loss."""
        assert self._last is not None
        means = {n: math.fsum(v) / len(v) for n, v in self.since_log().items()}
        number = self._last.number
        now = time.monotonic()
        rate = (number - self._since_number) * batch_images / (now - self._since_s)
        measured = {
            "learning_rate": self._last.learning_rate,
            **means,
            "images_per_second": round(rate, 1),
        }
        self.write(number, measured)
        self._since_s, self._since_number = now, number
        self._window.clear()
        self.note = f"loss {means['loss']:.3f}, training error {means['train_error_percent']:.1f} %"
        return means["loss"]

    def write(self, number: int, measured: Mapping[str, float]) -> None:
        """Append one record."""
        finite = {k: v if math.isfinite(v) else str(v) for k, v in measured.items()}
        record = {"update": number, **finite}
        artifacts.append_line(self.path, record)
        self.records.append(record)


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
    return tensors | {"preprocess.mean": mean_hwc}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"optimizer.{index}.{key}": value
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def _description(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint says of itself: enough to evaluate, predict, export and serve."""
    kept = ("name", "recipe", "recipe_digest", "seed", "data", "classes", "hardware", "provenance")
    about = {key: manifest[key] for key in kept}
    about["kind"] = "classifier"
    about["preprocessing"] = {
        "color": "RGB",
        "resize": "the central square to the side of preprocess.mean, bicubic with antialiasing",
        "scale": "0 to 1",
        "subtract": "preprocess.mean, per pixel",
    }
    return about


def _compilation(
    recipe: Recipe, data: DataSet, device: torch.device, asked: Compile
) -> hardware.Choice:
    if asked != "auto":
        return hardware.Choice("compiled" if asked == "on" else "eager", "set by hand")
    return hardware.compilation(device, build.multiply_adds(recipe, data))


def _new_folder(out: Path | None, name: str) -> Path:
    """Make and return the run's folder, which must hold nothing yet."""
    if out is None:
        names = (f"{name}-{n}" if n > 1 else name for n in range(1, sys.maxsize))
        out = next(p for p in (Path("runs") / n for n in names) if not p.exists())
    if (out / MANIFEST).exists():
        raise RunError(
            f"--out {out}: holds a run already; continue it with `resnets train --resume {out}`, "
            "or name another folder"
        )
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise RunError(f"--out {out}: exists and is not empty; name a new folder")
    with artifacts.storing(out):
        out.mkdir(parents=True, exist_ok=True)
    return out


def _announce(folder: Path, manifest: Mapping[str, Any], recipe: Recipe, done: int) -> None:
    runtime = manifest["runtime"]
    lines = [
        f"run          {folder}" + (f", continued after update {done:,}" if done else ""),
        f"recipe       {manifest['name']} {codec.digest(recipe)}, seed {manifest['seed']}, "
        f"{recipe.total_steps:,} updates of {recipe.batch_images} images",
        f"data         {manifest['data']['name']} {manifest['data']['digest'][:12]}",
        f"device       {runtime['device']}, {manifest['hardware']['processor']}, "
        f"{runtime['threads']} threads, channels-last",
        *(
            f"{what:<12} {runtime[what]['value']}: {runtime[what]['reason']}"
            for what in ("precision", "compilation")
        ),
    ]
    lines.append(f"checkpoints  the {STATES_KEPT} newest while it runs, then {FINISHED} alone")
    now = hardware.describe(hardware.device(runtime["device"]))
    if done and now != manifest["hardware"]:
        lines.append("note         another machine than it began on: the last bits may differ")
    sys.stderr.write("\n".join(lines) + "\n")


def _check(loss: float, update: Update, folder: Path) -> None:
    if math.isfinite(loss):
        return
    states = sorted((folder / STATES).glob("update-*.safetensors"))
    last = f"the last good checkpoint is {states[-1]}" if states else "there is no checkpoint yet"
    raise DivergedError(
        f"the loss is {loss} by update {update.number:,} at rate {update.learning_rate:g}; {last}; "
        "train again with a lower rate: --lr"
    )


def _check_finite(model: nn.Module, update: Update, folder: Path) -> None:
    """Refuse to save a diverged network: a checkpoint is always a good one."""
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
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
        asked.append(number)
        restore()

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


def _finished(folder: Path, parts: Parts, journal: _Journal) -> Run:
    split = parts.evaluator.split
    last = next(r for r in reversed(journal.records) if f"{split}_images" in r)
    report.curves(journal.records, folder / CURVES, title=folder.name)
    return Run(
        folder=folder,
        split=split,
        images=last[f"{split}_images"],
        top1_error_percent=last[f"{split}_top1_error_percent"],
        updates=last["update"],
    )
