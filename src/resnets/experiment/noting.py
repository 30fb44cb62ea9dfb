"""What is said of a run beside its numbers: when it begins, once its pace is known, at its end."""

import sys
import time
from collections.abc import Sequence
from typing import Final

import torch

from resnets.core import progress
from resnets.core.processes import Team
from resnets.data import checking
from resnets.data.annotated import AnnotatedFiles
from resnets.experiment.build import Parts
from resnets.experiment.journal import Journal

SET_ASIDE: Final = "set_aside_images"  # in a journal's last record, where there were some

_SHOWN: Final = 5  # classes in a line
_MEASURED: Final = 3  # updates, after the first, which takes longer
_LONG_S: Final = 60.0  # only of longer runs is the time said


def beginning(classes: Sequence[str], parts: Parts) -> None:
    """Say which classes have no image to train on, and which boxes were not as they should be."""
    train = parts.train
    labels_n = train.classes_n if isinstance(train, AnnotatedFiles) else train.labels_n
    empty = checking.empty_classes(classes, labels_n)
    if empty:
        more = f", and {len(empty) - _SHOWN:,} more" if len(empty) > _SHOWN else ""
        _say(
            f"no images to train on of {len(empty):,} of {len(classes):,} classes: "
            f"{', '.join(empty[:_SHOWN])}{more}"
        )
    if isinstance(train, AnnotatedFiles) and train.flaw_counts:
        told = ", ".join(f"{count:,} {kind}" for kind, count in train.flaw_counts.items())
        _say(f"annotations put right or left out: {told}; `resnets data check` shows each")


def share(parts: Parts, team: Team) -> None:
    """Let all processes know which images any of them has set aside. Called by every process.

    Raises:
        DataError: More are than training puts up with.
    """
    if parts.aside is not None:
        parts.aside.share(team)


def end(parts: Parts, journal: Journal, number: int, team: Team) -> None:
    """Say which images were set aside, and write down how many. Called by every process."""
    if parts.aside is None:
        return
    parts.aside.share(team)
    told = parts.aside.report()
    if not told.images:
        return
    journal.write(number, {SET_ASIDE: told.images})
    if team.leads:
        _say(str(told))


class Forecast:
    """Says once how long a run will take, where that is longer than a minute.

    Args:
        done: Updates that were done before.
        total: Updates of the whole run.
        device: Where it computes.
        shown: Whether anything is said at all.
    """

    def __init__(self, done: int, total: int, device: torch.device, *, shown: bool) -> None:
        self._from, self._to, self._total = done + 1, done + 1 + _MEASURED, total
        self._device, self._shown = device, shown
        self._began_s = 0.0

    def after(self, number: int) -> None:
        """Take note of an update that was just done."""
        if number == self._from:
            self._began_s = self._now()
        elif number == self._to and self._shown:
            left = self._total - number
            seconds = left * (self._now() - self._began_s) / _MEASURED
            if seconds > _LONG_S:
                sys.stderr.write(
                    f"time         about {progress.duration(seconds)}: {left:,} more updates, "
                    f"measured on {_MEASURED}; evaluating comes on top\n"
                )

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def _say(told: str) -> None:
    sys.stderr.write(f"note         {told}\n")
