"""Evaluations of finished runs, kept in their folders: testing all of ImageNet takes hours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from resnets.core import artifacts
from resnets.data.annotated import DetectionData
from resnets.data.opening import Data
from resnets.detection.scoring import Protocol as DetectionProtocol
from resnets.evaluation.views import Protocol
from resnets.experiment import evaluate as evaluating
from resnets.experiment import evaluate_detectors
from resnets.experiment.trainings import Trained
from resnets.inference import checkpoints
from resnets.inference.checkpoints import DetectorCheckpoint


def evaluate(
    runs: Sequence[Trained],
    data: Data,
    protocol: Protocol,
    device: torch.device,
) -> dict[str, Any]:
    """Return the error of a run, or of several together, under the keys of `evaluate --json`.

    What was measured before on the same data and weights is read, not measured again.
    """
    weights = [checkpoints.newest(each.folder).weights_sha256 for each in runs]
    folders = [each.folder for each in runs]
    return _kept(
        runs[-1].folder / f"{protocol}-of-{len(runs)}.json",
        {"data_digest": data.digest, "weights_sha256": weights},
        lambda: evaluating.evaluate(folders, data, protocol=protocol, device=str(device)).to_dict(),
    )


def detect(
    run: Trained, data: DetectionData, split: str, protocol: DetectionProtocol, device: torch.device
) -> dict[str, Any]:
    """Return a detector's average precision on a split, under the keys of `evaluate --json`.

    Of a split without boxes there is none. Beside it lies what VOC's server takes (`submission`).
    What was measured before on the same data and weights is read, not measured again.
    """
    found = checkpoints.newest(run.folder)
    assert isinstance(found, DetectorCheckpoint)
    handed_in = submission(run, split)
    asked = {
        "data_digest": data.digest,
        "weights_sha256": found.weights_sha256,
        "split": split,
        "protocol": protocol,
    }

    def measure() -> dict[str, Any]:
        return evaluate_detectors.evaluate(
            [found],
            data,
            split=split,
            protocol=protocol,
            submission=handed_in,
            device=str(device),
        ).to_dict()

    return _kept(handed_in.with_name(f"{handed_in.name}.json"), asked, measure)


def submission(run: Trained, split: str) -> Path:
    """Return the folder with what was found in a split, a file for each class, as VOC has it."""
    return run.folder / f"found-{split.replace('/', '-')}"


def _kept(
    path: Path, asked: dict[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return what a file keeps, if it was measured as is asked now; else measure and keep it."""
    if path.exists():
        found: dict[str, Any] = artifacts.read_json(path)
        if found["asked"] == asked:
            return found
    found = {**measure(), "asked": asked}
    with artifacts.alone(path.parent, wait=True):
        artifacts.write_json(path, found)
    return found
