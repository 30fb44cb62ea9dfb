"""A detector's average precision on a split, or several detectors' together."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resnets.core import hardware, progress
from resnets.core.errors import DataError, ResNetsError
from resnets.data.annotated import AnnotatedFiles, DetectionData
from resnets.detection import submissions
from resnets.detection.detecting import Testing
from resnets.detection.scoring import Protocol, Scores, Scoring
from resnets.experiment import detectors
from resnets.experiment.measured import Measured, unfinished
from resnets.inference import opening
from resnets.inference.checkpoints import DetectorCheckpoint, LocalizerCheckpoint, Saved
from resnets.inference.detector import Detector
from resnets.recipes import codec
from resnets.recipes.detector import BoxRecipe

_TESTING: Final = "testing."  # the settings that are taken


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorEvaluation(Measured):
    """An average precision over every image of a split.

    `values` has it in percent, by its name: "ap50_percent", of COCO's protocol more. `classes` has
    each class's, where it was asked for; `left_out` the names of those that no image of the split
    shows, which are in no mean.
    """

    values: dict[str, float]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DetectorExamination:
    """An evaluation with everything that was found.

    Args:
        evaluation: The average precision.
        scoring: What was found in each image, and what is there.
        files: The images of the split.
    """

    evaluation: DetectorEvaluation
    scoring: Scoring
    files: AnnotatedFiles


def evaluate(
    found: Sequence[DetectorCheckpoint],
    data: DetectionData | str | Path | None = None,
    *,
    split: str | None = None,
    protocol: Protocol | None = None,
    settings: Sequence[str] = (),
    precision: hardware.PrecisionName | None = None,
    per_class: bool = False,
    submission: Path | None = None,
    device: str | None = None,
) -> DetectorEvaluation:
    """Measure a detector on a split; several together are the ensemble.

    Args:
        found: Opened checkpoints.
        data: An open data set or where it lies; by default what the first was trained on.
        split: By default what its recipe is evaluated on.
        protocol: By default the recipe's.
        settings: `testing.a=value`, of how the first one's recipe tests.
        precision: Of the layers; by default what the machine is fast in.
        per_class: Whether to tell the precision of each class too.
        submission: Where to write what was found, as test servers take it: a .json is COCO's, a
            .txt ILSVRC's, a folder VOC's.
        device: Where to compute.

    Raises:
        DataError: The data is not there, or its classes are not those of the detector.
        ResNetsError: The request is wrong.
    """
    if submission is not None:  # before the work that it would be of
        _check_place(submission)
        data = with_boxes(data, found[0])
        split, files = split_of(found[0].recipe, data, split)
        _check_names(submission, split, files, data)
    done = _measured(found, data, split, settings, precision, device)
    if submission is not None:
        _submit(submission, done.split, done.files, done.scoring, done.data)
    by = found[0].recipe.data.protocol if protocol is None else protocol
    return _evaluation(found, done, by, per_class)


def examine(
    found: DetectorCheckpoint,
    data: DetectionData | str | Path | None = None,
    *,
    device: str | None = None,
) -> DetectorExamination:
    """Measure a detector as its run did, and keep all that it found.

    Args:
        found: An opened checkpoint.
        data: As `evaluate` takes it.
        device: Where to compute.

    Raises:
        DataError: The data is not there, or its classes are not those of the detector.
    """
    own: Any = found.recipe.precision
    done = _measured([found], data, None, (), None if own == "auto" else own, device)
    evaluation = _evaluation([found], done, found.recipe.data.protocol, per_class=True)
    return DetectorExamination(evaluation, done.scoring, done.files)


@dataclass(frozen=True, slots=True)
class _Done:
    """What was found, and how."""

    data: DetectionData
    split: str
    files: AnnotatedFiles
    scoring: Scoring
    testing: Testing
    precision: str
    seconds: float


def _measured(
    found: Sequence[DetectorCheckpoint],
    data: DetectionData | str | Path | None,
    split: str | None,
    settings: Sequence[str],
    precision: hardware.PrecisionName | None,
    device: str | None,
) -> _Done:
    opened = with_boxes(data, found[0])
    on = hardware.device(device)
    fastest: Any = hardware.precision(on).value if precision is None else precision
    testing = _testing(found[0], settings)
    detector = Detector(found, on, testing, fastest)
    if opened.classes != detector.classes:
        raise DataError(
            f"{opened.name}: its classes ({_some(opened.classes)}) are not those of "
            f"{found[0].path} ({_some(detector.classes)})"
        )
    name, files = split_of(found[0].recipe, opened, split)
    begun = time.perf_counter()
    with progress.reporting("evaluating", total=len(files), unit="images") as bar:
        scoring = detectors.scored(files, len(detector.classes), detector.find, bar=bar)
    seconds = time.perf_counter() - begun
    return _Done(opened, name, files, scoring, testing, fastest, seconds)


def _evaluation(
    found: Sequence[DetectorCheckpoint], done: _Done, by: Protocol, per_class: bool
) -> DetectorEvaluation:
    classes, scores = found[0].classes, done.scoring.scores(by)
    return DetectorEvaluation(
        values=dict(scores.values),
        images=scores.images,
        split=done.split,
        protocol=_sentence(by, found, done),
        precision=done.precision,
        images_per_second=len(done.files) / done.seconds,
        left_out=tuple(classes[label] for label in scores.left_out),
        checkpoints=tuple(describe(each) for each in found),
        data=done.data.name,
        data_digest=done.data.digest,
        classes=_by_class(scores, classes) if per_class else None,
    )


def _check_place(submission: Path) -> None:
    if submission.suffix.lower() not in ("", ".json", ".txt"):
        raise ResNetsError(
            f"--submission {submission}: takes a .json for COCO's results, a .txt for ILSVRC's, or "
            "a folder for VOC's"
        )


def _check_names(to: Path, split: str, files: AnnotatedFiles, data: DetectionData) -> None:
    if not to.suffix:
        submissions.check_voc(files.ids, data.classes, image_set=_image_set(split))


def _image_set(split: str) -> str:
    """Return what VOC calls a split; that of one year of several is named with the year."""
    return split.rpartition("/")[2]


def _submit(
    to: Path, split: str, files: AnnotatedFiles, scoring: Scoring, data: DetectionData
) -> None:
    """Write what was found, in the format that the place's name stands for."""
    kind = to.suffix.lower()
    if kind == ".json":
        submissions.write_coco(to, files.ids, scoring.found, data.category_ids)
    elif kind == ".txt":
        numbers = range(1, len(files) + 1)
        submissions.write_ilsvrc(to, numbers, scoring.found, data.category_ids)
    else:
        submissions.write_voc(
            to, files.ids, scoring.found, data.classes, image_set=_image_set(split)
        )


def with_boxes(
    data: DetectionData | str | Path | None, trained: DetectorCheckpoint | LocalizerCheckpoint
) -> DetectionData:
    """Return a data set with boxes, opened; by default what something was trained on.

    Raises:
        DataError: It is not there, or has no boxes.
    """
    opened = opening.any_data(data, trained)
    if isinstance(opened, DetectionData):
        return opened
    kind = trained.about["kind"]
    raise DataError(
        f"{opened.name}: has no boxes, and {trained.path} is a {kind}; name data that has some: a "
        "folder in VOC's, COCO's, YOLO's or ILSVRC's layout"
    )


def split_of(
    recipe: BoxRecipe, data: DetectionData, asked: str | None
) -> tuple[str, AnnotatedFiles]:
    """Return the name and the images of a split; by default of what a recipe is evaluated on.

    Raises:
        DataError: The data has no such split.
    """
    own = recipe.data.name == data.name
    if own and asked in (None, "validation") and recipe.data.held_out_share:
        return "validation", detectors.split(recipe, data)[1]
    preferred = (recipe.data.test, "test", "validation", *data.splits)
    name = asked or next(name for name in preferred if name in data.splits)
    if name not in data.splits:
        raise DataError(f"--split {name}: {data.name} has {', '.join(data.splits)}")
    return name, data.splits[name]


def _testing(trained: DetectorCheckpoint, settings: Sequence[str]) -> Testing:
    for setting in settings:
        if not setting.startswith(_TESTING):
            raise ResNetsError(
                f"--set {setting}: evaluating takes what stands under testing, such as "
                "testing.refined=true; the rest was decided when the detector was trained"
            )
    return codec.override(trained.recipe, settings).testing


def _sentence(by: Protocol, found: Sequence[DetectorCheckpoint], done: _Done) -> str:
    scaling, testing = found[0].preprocess, done.testing
    parts = [
        {"voc2007": "VOC 2007, 11 points", "voc2010": "VOC 2010, area", "coco": "COCO"}[by],
        f"shorter side {scaling.shorter_px} px, longer at most {scaling.longest_px}",
        f"{testing.proposed.most} proposals",
    ]
    if testing.scales_px:
        parts.append(f"maps at {', '.join(map(str, testing.scales_px))} px")
    if testing.refined:
        parts.append("boxes refined and voted on")
    if len(found) > 1:
        parts.append(f"ensemble of {len(found)}")
    parts.append(done.precision)
    for each in found:
        parts += unfinished(each)
    return "; ".join(parts)


def describe(found: Saved) -> dict[str, Any]:
    """Return what JSON says of a checkpoint; weights from elsewhere have no recipe."""
    return {
        "file": str(found.path),
        "weights_sha256": found.weights_sha256,
        "recipe": found.about.get("name"),
        "recipe_digest": found.about.get("recipe_digest"),
    }


def _by_class(scores: Scores, classes: Sequence[str]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"class": name, "ap_percent": None if math.isnan(value) else round(value, 2)}
        for name, value in zip(classes, scores.by_class, strict=True)
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", and {len(names) - 3} more" if len(names) > 3 else "")
