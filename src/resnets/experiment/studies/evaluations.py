"""Evaluations of finished runs, kept in their folders: testing all of ImageNet takes hours."""

from collections.abc import Sequence
from typing import Any

import torch

from resnets.core import artifacts
from resnets.data.opening import Data
from resnets.evaluation.views import Protocol
from resnets.experiment import evaluate as evaluating
from resnets.experiment.trainings import Trained
from resnets.inference import checkpoints


def evaluate(
    runs: Sequence[Trained],
    data: Data,
    protocol: Protocol,
    device: torch.device,
) -> dict[str, Any]:
    """Return the error of a run, or of several together, under the keys of `evaluate --json`.

    What was measured before on the same data and weights is read, not measured again.
    """
    kept = runs[-1].folder / f"{protocol}-of-{len(runs)}.json"
    weights = [checkpoints.newest(each.folder).weights_sha256 for each in runs]
    asked = {"data_digest": data.digest, "weights_sha256": weights}
    if kept.exists():
        found: dict[str, Any] = artifacts.read_json(kept)
        if found["asked"] == asked:
            return found
    folders = [each.folder for each in runs]
    measured = evaluating.evaluate(folders, data, protocol=protocol, device=str(device))
    found = {**measured.to_dict(), "asked": asked}
    with artifacts.alone(kept.parent, wait=True):
        artifacts.write_json(kept, found)
    return found
