"""What commands print on standard output: tables for people, or one JSON value."""

import json as codec
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnets.experiment.evaluate import Evaluation
    from resnets.experiment.inspection import Inspection
    from resnets.experiment.run import Run
    from resnets.inference.predictor import Prediction


def as_json(value: Any) -> None:
    """Print one JSON value."""
    print(codec.dumps(value, indent=2))


def finished(run: "Run", json: bool) -> None:
    """Print one line: where a run is, its error, and what to type next."""
    if json:
        return as_json(run.to_dict())
    wrong = round(run.top1_error_percent * run.images / 100)
    folder = shlex.quote(str(run.folder))
    print(
        f"{run.folder}: {run.top1_error_percent:.2f} % {run.split} error ({wrong:,} of "
        f"{run.images:,} images), curves in curves.png; next: resnets predict {folder} IMAGE"
    )
    return None


def evaluation(measured: "Evaluation", json: bool) -> None:
    """Print an error with its interval and protocol."""
    if json:
        return as_json(measured.to_dict())
    low, high = measured.interval_percent
    print(f"top-1 error  {measured.top1_error_percent:.2f} %  (95 %: {low:.2f} to {high:.2f})")
    print(f"top-5 error  {measured.top5_error_percent:.2f} %")
    print(f"images       {measured.images:,}, {measured.images_per_second:,.0f} a second")
    print(f"protocol     {measured.protocol}")
    return None


def predictions(found: "Sequence[Sequence[Prediction]]", json: bool) -> None:
    """Print the classes of each image, most probable first."""
    if json:
        return as_json([one.to_dict() for ranked in found for one in ranked])
    for ranked in found:
        for one in ranked:
            print(f"{one.file}  {one.class_name}  {100 * one.probability:.1f} %")
    return None


def inspection(found: "Inspection", json: bool) -> None:
    """Print the layers and stages of a network."""
    if json:
        return as_json(found.to_dict())
    print(found)
    return None


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
