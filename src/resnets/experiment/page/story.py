"""What a page tells of: a finished run, and what its network answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from resnets.evaluation import answers, calibration
from resnets.evaluation.answers import Confusion, OfClass
from resnets.evaluation.calibration import Calibration
from resnets.experiment.evaluate import Evaluation, Examination
from resnets.inference.checkpoints import AnyCheckpoint, Checkpoint

PERCENT: Final = "\N{NO-BREAK SPACE}%"  # after a number


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the page of any run is made from.

    Args:
        name: The run's.
        checkpoint: Its network, with what is known about it.
        manifest: What the run is.
        records: Its journal.
        check: What a check of the data found, as JSON values; empty where none was made.
    """

    name: str
    checkpoint: AnyCheckpoint
    manifest: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    check: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Story(Told):
    """What the page of a classifier's run is made from.

    Args:
        examination: What the network answered on the split it was measured on.
    """

    checkpoint: Checkpoint
    examination: Examination

    @property
    def evaluation(self) -> Evaluation:
        """The result."""
        return self.examination.evaluation

    @property
    def wrong(self) -> int:
        """How many images were answered wrongly."""
        return int((~self.examination.answers.right_n).sum())

    @cached_property
    def classes(self) -> list[OfClass]:
        """The classes with images in the split, the highest error first."""
        found = [each for each in answers.by_class(self.examination.answers) if each.images]
        return sorted(found, key=lambda each: (-each.wrong / each.images, -each.images, each.label))

    @cached_property
    def confusion(self) -> Confusion:
        """How many images of which class were answered how."""
        return answers.confusion(self.examination.answers)

    @cached_property
    def calibration(self) -> Calibration:
        """How the probabilities fit."""
        given = self.examination.answers
        return calibration.calibration(given.probability_n, given.right_n)

    @cached_property
    def calibration_by_chance(self) -> tuple[float, float] | None:
        """The calibration error that perfect probabilities would show: its mean, its 95 %."""
        return calibration.by_chance(self.examination.answers.probability_n)

    def class_name(self, label: int) -> str:
        """Return what a class is called, and that there was no answer."""
        return "no answer" if label == answers.NO_ANSWER else self.checkpoint.classes[label]


def images(count: int) -> str:
    """Return "1 image" or "12 images"."""
    return f"{count:,} image{'s' * (count != 1)}"


def percent(value: float | None) -> str:
    """Return a number in percent with two decimals below 10, else one; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.2f}{PERCENT}" if 0 < value < 9.995 else f"{value:.1f}{PERCENT}"


def interval(ends: tuple[float, float] | None) -> str:
    """Return both ends of an interval in percent."""
    if ends is None:
        return "–"
    low, high = ends
    digits = 2 if high < 9.995 else 1
    return f"{low:.{digits}f} to {high:.{digits}f}{PERCENT}"
