"""What a detector's page tells of: a finished run, and what its detector found."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from resnets.detection import mistakes
from resnets.detection.mistakes import OfClass, Review
from resnets.detection.voc_ap import Curve
from resnets.experiment.evaluate_detectors import DetectorEvaluation, DetectorExamination
from resnets.experiment.page.story import PERCENT, Told
from resnets.inference.checkpoints import DetectorCheckpoint
from resnets.inference.detector import SURE

SHOWN: Final = 24  # mistakes, and missed objects
SURELY: Final = f"{SURE:.0%}".replace("%", PERCENT)  # what `resnets predict` tells has as much


@dataclass(frozen=True, kw_only=True)
class DetectorStory(Told):
    """What the page of a detector's run is made from.

    Args:
        examination: What it found in the split it was measured on.
    """

    checkpoint: DetectorCheckpoint
    examination: DetectorExamination

    @property
    def evaluation(self) -> DetectorEvaluation:
        """The result."""
        return self.examination.evaluation

    @property
    def ap50_percent(self) -> float | None:
        """The average precision at an overlap of 0.5; None where no class has an object."""
        return self.evaluation.values.get("ap50_percent")

    @cached_property
    def review(self) -> Review:
        """What is right and wrong of what `resnets predict` would tell."""
        scoring = self.examination.scoring
        return mistakes.review(
            scoring.found, scoring.objects, scoring.classes, least_score=SURE, most=SHOWN
        )

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """How precision falls as recall rises, in the order of the labels."""
        return self.examination.scoring.curves()

    @cached_property
    def classes(self) -> list[OfClass]:
        """The classes with an object to be found, the lowest average precision first."""
        there = [each for each in self.review.classes if each.objects]
        return sorted(there, key=lambda each: (self.ap_percent(each.label) or 0, each.label))

    @property
    def objects(self) -> int:
        """How many there are to be found."""
        return sum(each.objects for each in self.review.classes)

    @property
    def found(self) -> int:
        """How many of them are found by detections that are sure enough."""
        return sum(each.found for each in self.review.classes)

    def ap_percent(self, label: int) -> float | None:
        """Return a class's average precision, as the protocol has it; None without objects."""
        rows = self.evaluation.classes
        assert rows is not None
        found: float | None = rows[label]["ap_percent"]
        return found

    def class_name(self, label: int) -> str:
        """Return what a class is called."""
        return self.checkpoint.classes[label]
