"""What a run measured, on its way to its journal."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from resnets.core import artifacts
from resnets.core.processes import ALONE, Team
from resnets.experiment.events import Events
from resnets.training.loop import Update

JOURNAL: Final = "journal.jsonl"  # in a run's folder

# What an evaluation measures above all, by its split: the error of a classifier, the average
# precision of a detector, the error of a localizer's boxes.
ERROR: Final = "top1_error_percent"
PRECISION: Final = "ap50_percent"
LOCALIZATION: Final = "localization_error_percent"
_ABOVE_ALL: Final = tuple(f"_{name}" for name in (ERROR, PRECISION, LOCALIZATION))


class Journal:
    """The records of a run, in memory and in its file; those after a resumed update are dropped.

    Args:
        path: The file, one JSON object a line.
        done: The update after which the run goes on.
        window: The scalars counted since the last log when the run was saved.
        team: Who trains; the file is the leader's, the records are in the memory of all.
        events: Whether TensorBoard's are written too, beside the file.

    `errors_percent` has the error of every evaluation up to now, in their order: the top-1 error,
    of a detector what its average precision lacks of 100 %, of a localizer that of its boxes.
    """

    def __init__(
        self,
        path: Path,
        done: int,
        window: Mapping[str, list[float]],
        team: Team = ALONE,
        *,
        events: bool = False,
    ) -> None:
        self.path = path
        self.note = ""
        self.records = team.led(lambda: _taken_up(path, done))
        self.errors_percent = errors(self.records)
        self._team = team
        self._events: Events | None = None
        if events and team.leads:
            self._events = Events(path.parent, self.records)
        self._window: dict[str, list[Tensor | float]] = {k: list(v) for k, v in window.items()}
        self._last: Update | None = None
        self._since_s = time.perf_counter()
        self._since_number = done

    def count(self, update: Update) -> None:
        """Keep an update's scalars, unread, until they are logged."""
        self._last = update
        for name, value in update.measured.items():
            self._window.setdefault(name, []).append(value)

    def since_log(self) -> dict[str, list[float]]:
        """Return the scalars not logged yet, so that a resumed run logs the same means."""
        return {name: _read(values) for name, values in self._window.items()}

    def log(self, batch_images: int) -> float:
        """Write the means since the last time; return the mean loss."""
        assert self._last is not None
        means = {n: math.fsum(v) / len(v) for n, v in self.since_log().items()}
        number = self._last.number
        now = time.perf_counter()
        rate = (number - self._since_number) * batch_images / (now - self._since_s)
        measured = {
            "learning_rate": self._last.learning_rate,
            **means,
            "images_per_second": float(f"{rate:.4g}"),  # never 0, however slow: time is told by it
        }
        self.write(number, measured)
        self._since_s, self._since_number = now, number
        self._window.clear()
        self.note = f"loss {means['loss']:.3f}"
        if "train_error_percent" in means:
            self.note += f", training error {means['train_error_percent']:.1f} %"
        return means["loss"]

    def leave_out(self, seconds: float) -> None:
        """Leave time that was spent on something else out of the rate of training."""
        self._since_s += seconds

    def write(self, number: int, measured: Mapping[str, float]) -> None:
        """Append one record."""
        finite = {k: v if math.isfinite(v) else str(v) for k, v in measured.items()}
        record = {"update": number, **finite}
        self.records.append(record)
        self.errors_percent += _errors(record)
        self._team.led(self._store_last)

    def keep(self) -> None:
        """Write the file again where somebody removed it."""
        if not self.path.exists():
            artifacts.write_lines(self.path, self.records)

    def sync(self) -> None:
        """Put it on the disk, so that no state is there that knows of more than it."""
        self.keep()
        artifacts.sync(self.path)

    def _store_last(self) -> None:
        if self.path.exists():
            artifacts.append_line(self.path, self.records[-1])
        self.keep()
        if self._events is not None:
            self._events.add(self.records[-1])


def curve(records: Iterable[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Return updates and values of everything that was journalled under a key as a number."""
    points = [(r["update"], r[key]) for r in records if isinstance(r.get(key), int | float)]
    return [x for x, _ in points], [y for _, y in points]


def errors(records: Iterable[Mapping[str, Any]]) -> list[float]:
    """Return the error of every evaluation, in percent, in their order."""
    return [error for record in records for error in _errors(record)]


def split(records: Iterable[Mapping[str, Any]]) -> str:
    """Return which split a run was evaluated on."""
    for record in records:
        if (key := measure(record)) is not None:
            return next(key.removesuffix(end) for end in _ABOVE_ALL if key.endswith(end))
    return "validation"


def measure(record: Mapping[str, Any]) -> str | None:
    """Return the key of what was measured above all; None where nothing was evaluated."""
    return next((key for key in record if key.endswith(_ABOVE_ALL)), None)


def training_s(records: Iterable[Mapping[str, Any]], batch_images: int) -> float:
    """Return the seconds that were spent in updates; evaluations and saving are left out."""
    last, seconds = 0, 0.0
    for update, rate in zip(*curve(records, "images_per_second"), strict=True):
        seconds += (update - last) * batch_images / rate
        last = update
    return seconds


def _read(values: Sequence[Tensor | float]) -> list[float]:
    """Return scalars as numbers, waiting once for the device that the newest may be on."""
    known = [each for each in values if not isinstance(each, Tensor)]
    on_device = [each for each in values if isinstance(each, Tensor)]
    return known + (torch.stack(on_device).tolist() if on_device else [])


def _taken_up(path: Path, done: int) -> list[dict[str, Any]]:
    """Return the records up to an update, and leave only these in the file."""
    records = [record for record in artifacts.read_lines(path) if _up_to(done, record)]
    artifacts.write_lines(path, records)
    return records


def _errors(record: Mapping[str, Any]) -> list[float]:
    key = measure(record)
    if key is None:
        return []
    value = record[key]
    if isinstance(value, str):  # no class has a box to find
        return [math.nan]
    return [100 - value if key.endswith(PRECISION) else value]


def _up_to(done: int, record: Mapping[str, object]) -> bool:
    update = record.get("update")
    return isinstance(update, int) and update <= done
