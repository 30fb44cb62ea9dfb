"""What commands print on standard output: tables for people, or one JSON value."""

import csv
import json as codec
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from resnets.core import progress
from resnets.core.errors import DataError, ImageError

if TYPE_CHECKING:
    from resnets.data.findings import Report
    from resnets.experiment.evaluate import Evaluation
    from resnets.experiment.evaluate_detectors import DetectorEvaluation
    from resnets.experiment.evaluate_localizers import LocalizerEvaluation
    from resnets.experiment.inspect_detectors import DetectorInspection
    from resnets.experiment.inspection import Inspection
    from resnets.experiment.measured import Measured
    from resnets.experiment.outcome import Run
    from resnets.experiment.reproduce import Reproduction
    from resnets.inference.explanation import Explanation
    from resnets.inference.found import FoundObject
    from resnets.inference.predictor import Prediction


def as_json(value: Any) -> None:
    """Print one JSON value."""
    print(codec.dumps(value, indent=2))


def finished(run: "Run", json: bool) -> None:
    """Print one line: where a run is, its error, and what to type next."""
    if json:
        return as_json(run.to_dict())
    from resnets.experiment.report_page import PAGE
    from resnets.experiment.run import CURVES

    folder = shlex.quote(str(run.folder))
    told = f"AP {run.value:.2f} % at an overlap of 0.5 on {run.images:,} {run.split} images"
    then = f"resnets predict {folder} IMAGE"
    if run.measure != "ap50_percent":
        wrong = round(run.value * run.images / 100)
        told = f"{run.value:.2f} % {run.split} error ({wrong:,} of {run.images:,} images)"
    if run.measure == "localization_error_percent":
        told, then = f"boxes of the true class: {told}", f"resnets evaluate {folder}"
    page = PAGE if (run.folder / PAGE).exists() else CURVES
    print(f"{run.folder}: {told}, more in {page}; next: {then}")
    return None


def evaluation(
    measured: "Evaluation | DetectorEvaluation | LocalizerEvaluation", json: bool
) -> None:
    """Print an error with its interval and protocol, then that of each class if it was asked."""
    from resnets.experiment.evaluate_detectors import DetectorEvaluation
    from resnets.experiment.evaluate_localizers import LocalizerEvaluation

    if json:
        return as_json(measured.to_dict())
    if isinstance(measured, DetectorEvaluation):
        return _precision(measured)
    if isinstance(measured, LocalizerEvaluation):
        return _localization(measured)
    for k, error, (low, high) in (
        (1, measured.top1_error_percent, measured.top1_interval_percent),
        (5, measured.top5_error_percent, measured.top5_interval_percent),
    ):
        print(f"top-{k} error  {error:.2f} %  (95 %: {low:.2f} to {high:.2f})")
    return _measured(measured)


def _measured(measured: "Measured", left_out: str = "") -> None:
    """Print on what something was measured, and each class that was asked for."""
    rate = progress.per_second(measured.images_per_second)
    print(f"images       {measured.images:,}, {rate} a second")
    print(f"protocol     {measured.protocol}")
    if left_out:
        print(f"left out     {left_out}")
    if measured.classes is not None:
        table(measured.classes, json=False)


def _precision(measured: "DetectorEvaluation") -> None:
    """Print a detector's average precision."""
    for name, value in measured.values.items():
        print(f"{name.removesuffix('_percent'):<12} {value:.2f} %")
    names = ", ".join(measured.left_out)
    _measured(measured, f"{names}: no object is in {measured.split}" if names else "")


def _localization(measured: "LocalizerEvaluation") -> None:
    """Print the errors of a localizer's boxes, and of the classes that were guessed."""
    low, high = measured.localization_interval_percent
    error = measured.localization_error_percent
    print(f"true class   {error:.2f} %  (95 %: {low:.2f} to {high:.2f})")
    for k in (1, 5) if measured.guessed else ():
        error = measured.guessed[f"top{k}_localization_error_percent"]
        low, high = measured.guessed[f"top{k}_localization_interval_percent"]
        alone = measured.guessed[f"top{k}_error_percent"]
        print(
            f"top-{k} error  {error:.2f} %  (95 %: {low:.2f} to {high:.2f}), of the class alone "
            f"{alone:.2f} %"
        )
    left_out = measured.left_out_images
    _measured(measured, f"{left_out:,} images without boxes of one class alone" if left_out else "")


def predictions(
    found: "Iterable[Sequence[Prediction | FoundObject] | ImageError]",
    layout: Literal["table", "json", "jsonl", "csv"],
    *,
    empty: str = "",
) -> ImageError | None:
    """Print the classes of each image, most probable first, as they come.

    Args:
        found: In each image.
        layout: How to print it.
        empty: What to say, on stderr, of images in which nothing was found.

    Returns:
        What to say of images that could not be decoded; None where all could.
    """
    refused: list[ImageError] = []
    seen: Counter[bool] = Counter()  # whether something was found in an image
    rows = _rows(found, refused, seen)
    if layout == "json":
        as_json([one.to_dict() for one in rows])
    elif layout == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for number, one in enumerate(rows):
            if number == 0:
                writer.writerow(one.to_dict())
            writer.writerow(one.to_dict().values())
    else:
        for one in rows:
            if layout == "jsonl":
                print(codec.dumps(one.to_dict()), flush=True)
            else:
                print(one, flush=True)
    if seen[False]:
        of = f"{seen[False]:,} of {seen.total():,} images"
        sys.stderr.write(f"note         {of}: {empty}\n")
    if len(refused) > 1:
        return ImageError(f"{len(refused)} images could not be decoded; the first: {refused[0]}")
    return refused[0] if refused else None


def _rows(
    found: "Iterable[Sequence[Prediction | FoundObject] | ImageError]",
    refused: list[ImageError],
    seen: Counter[bool],
) -> "Iterator[Prediction | FoundObject]":
    for ranked in found:
        if isinstance(ranked, ImageError):
            refused.append(ranked)
        else:
            seen[bool(ranked)] += 1
            yield from ranked


def explained(drawn: "Iterable[tuple[Path, Explanation]]") -> None:
    """Say on stderr what was drawn and by which method."""
    for path, explanation in drawn:
        sys.stderr.write(f"{path}: {explanation.class_name}; {explanation.method}\n")


def inspection(found: "Inspection | DetectorInspection", json: bool) -> None:
    """Print what a network or a detector is: its stages and blocks; as JSON every layer too."""
    if json:
        return as_json(found.to_dict())
    print(found)
    return None


def reproduction(found: "Reproduction", json: bool) -> None:
    """Print a study's table, what it says, and where it was written."""
    if json:
        return as_json(found.to_dict())
    print(found)
    beside = f" and {found.figure.name}" if found.figure else ""
    print(f"\nwritten to {found.path}{beside}")
    return None


def checked(report: "Report", json: bool) -> DataError | None:
    """Print what checking a data set found.

    Returns:
        What to say of a data set that cannot be trained on; None where it can.
    """
    if json:
        as_json(report.to_dict())
    else:
        print(report)
    return None if report.refusal is None else DataError(f"{report.data}: {report.refusal}")


def table(rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    """Print rows of the same keys."""
    if json:
        return as_json(list(rows))
    keys = list(rows[0])
    cells = [keys, *([_text(row[key]) for key in keys] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(keys))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())
    return None


def record(values: Mapping[str, Any], json: bool) -> None:
    """Print one thing's names and values, a line each."""
    if json:
        return as_json(values)
    width = max(map(len, values))
    for key, value in values.items():
        print(f"{key.ljust(width)}  {_text(value)}")
    return None


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    return str(value)
