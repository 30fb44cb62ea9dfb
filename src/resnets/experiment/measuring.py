"""Measure whatever a checkpoint holds: a classifier, a detector, a localizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from resnets.core.errors import ResNetsError
from resnets.detection import scoring
from resnets.evaluation import views
from resnets.experiment import evaluate, evaluate_detectors, evaluate_localizers
from resnets.experiment.evaluate import Evaluation, Precision, Split
from resnets.experiment.evaluate_detectors import DetectorEvaluation
from resnets.experiment.evaluate_localizers import LocalizerEvaluation
from resnets.inference import checkpoints, detector, opening
from resnets.inference.checkpoints import Checkpoint, LocalizerCheckpoint


def measure(
    where: Sequence[str | Path],
    data: Any = None,
    *,
    split: str | None = None,
    protocol: str | None = None,
    precision: Precision = "auto",
    settings: Sequence[str] = (),
    submission: Path | None = None,
    per_class: bool = False,
    device: str | None = None,
) -> Evaluation | DetectorEvaluation | LocalizerEvaluation:
    """Measure checkpoints on a split.

    See `evaluate.evaluate`, `evaluate_detectors.evaluate`, and `evaluate_localizers.evaluate`,
    whose localizer comes first and the classifiers after it.

    Raises:
        ResNetsError: Something was asked for that does not go with what the checkpoint holds.
    """
    found = [opening.any_checkpoint(each) for each in where]
    if isinstance(found[0], Checkpoint):
        _refuse(protocol, get_args(views.Protocol), "a classifier")
        _refuse_testing(settings, submission, f"{where[0]} is a classifier")
        if split not in (None, *get_args(Split)):
            raise ResNetsError(f"--split {split}: takes {', '.join(get_args(Split))}")
        return evaluate.evaluate(
            [checkpoints.classifier(each) for each in found],
            data,
            split=split,  # type: ignore[arg-type]
            protocol=protocol or "single-crop",  # type: ignore[arg-type]
            precision=precision,
            per_class=per_class,
            device=device,
        )
    if isinstance(found[0], LocalizerCheckpoint):
        _refuse(protocol, evaluate_localizers.PROTOCOLS, "a localizer")
        _refuse_testing(settings, submission, f"{where[0]} is a localizer")
        return evaluate_localizers.evaluate(
            found[0],
            [checkpoints.classifier(each) for each in found[1:]],
            data,
            split=split,
            protocol=protocol or "single-crop",  # type: ignore[arg-type]
            precision=None if precision == "auto" else precision,
            per_class=per_class,
            device=device,
        )
    _refuse(protocol, scoring.PROTOCOLS, "a detector")
    return evaluate_detectors.evaluate(
        [detector.of(each) for each in found],
        data,
        split=split,
        protocol=protocol,  # type: ignore[arg-type]
        settings=settings,
        precision=None if precision == "auto" else precision,
        per_class=per_class,
        submission=submission,
        device=device,
    )


def _refuse(protocol: str | None, known: Sequence[str], what: str) -> None:
    if protocol is not None and protocol not in known:
        raise ResNetsError(f"--protocol {protocol}: {what} takes {', '.join(known)}")


def _refuse_testing(settings: Sequence[str], submission: Path | None, why: str) -> None:
    if settings or submission is not None:
        what = "--set" if settings else "--submission"
        raise ResNetsError(f"{what}: is for detectors, and {why}")
