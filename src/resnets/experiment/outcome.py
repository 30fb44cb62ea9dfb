"""What a finished run measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.core.errors import RunError
from resnets.experiment import choosing, journal, noting
from resnets.experiment.journal import JOURNAL


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run, and what it measured on the split that its recipe evaluates on.

    Args:
        folder: Where it is.
        split: "test", "validation".
        images: In that split.
        measure: What was measured: "top1_error_percent", of a detector "ap50_percent", of a
            localizer "localization_error_percent".
        value: How much it was.
        updates: That were done.
        set_aside_images: Of those to train on, how many could not be read.
    """

    folder: Path
    split: str
    images: int
    measure: str
    value: float
    updates: int
    set_aside_images: int = 0

    @property
    def top1_error_percent(self) -> float:
        """The top-1 error of a classifier."""
        assert self.measure == journal.ERROR
        return self.value

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets train --json`."""
        return {
            "run": str(self.folder),
            "split": self.split,
            "images": self.images,
            self.measure: self.value,
            "updates": self.updates,
            "set_aside_images": self.set_aside_images,
        }


def of(folder: Path, records: Sequence[Mapping[str, Any]], keep: str) -> Run:
    """Return what a finished run measured.

    Args:
        folder: Of the run.
        records: Its journal.
        keep: Which network it ended with; see `Recipe`.

    Raises:
        RunError: Nothing was measured.
    """
    split = journal.split(records)
    kept = kept_record(folder, records, keep)
    key = journal.measure(kept)
    assert key is not None
    return Run(
        folder=folder,
        split=split,
        images=kept.get(f"{split}_images", 0),
        measure=key.removeprefix(f"{split}_"),
        value=kept[key],
        updates=_measured(folder, records)[-1].get("update", 0),
        set_aside_images=records[-1].get(noting.SET_ASIDE, 0),
    )


def kept_record(folder: Path, records: Sequence[Mapping[str, Any]], keep: str) -> Mapping[str, Any]:
    """Return all that was measured of the network that a run ended with; arguments as of `of`.

    Raises:
        RunError: Nothing was measured.
    """
    measured = _measured(folder, records)
    return choosing.best_record(measured) if keep == "best" else measured[-1]


def _measured(folder: Path, records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found = [record for record in records if journal.measure(record) is not None]
    if not found:
        raise RunError(
            f"{folder / JOURNAL}: holds no result; `resnets evaluate {folder}` measures it"
        )
    return found
