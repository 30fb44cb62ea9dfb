"""From what CHECKPOINT says to what predicts: a classifier or a detector."""

from pathlib import Path

from resnets.core import hardware
from resnets.core.errors import CheckpointError
from resnets.inference import opening
from resnets.inference.checkpoints import DetectorCheckpoint, LocalizerCheckpoint
from resnets.inference.detector import Detector
from resnets.inference.predictor import Classifier


def load(where: str | Path, device: str | None = None) -> Classifier | Detector:
    """Return what a run's folder, a checkpoint file or a published name holds, ready to predict.

    Args:
        where: As `opening.any_checkpoint` takes it.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.

    Raises:
        CheckpointError: There is none, it is damaged or foreign, or it is a localizer.
        FetchError: It is published and cannot be fetched.
    """
    found, on = opening.any_checkpoint(where), hardware.device(device)
    if isinstance(found, DetectorCheckpoint):
        return Detector([found], on)
    if isinstance(found, LocalizerCheckpoint):
        raise CheckpointError(
            f"{found.path}: holds a localizer, which is told what is in an image and is measured "
            "by `resnets evaluate`; to predict, name a classifier or a detector"
        )
    return Classifier(found, on)
