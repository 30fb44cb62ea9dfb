"""From a checkpoint to predictions on image files; no training code, no web code."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from resnets.core import hardware
from resnets.core.errors import ResNetsError
from resnets.data import batches, images
from resnets.inference import checkpoints
from resnets.inference.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class for one image. `probability` is the softmax score, in [0, 1]."""

    file: str
    class_name: str
    class_index: int
    probability: float

    def to_dict(self) -> dict[str, str | int | float]:
        """Return it as JSON values, under the keys of `resnets predict --json`."""
        return {
            "file": self.file,
            "class": self.class_name,
            "class_index": self.class_index,
            "probability": self.probability,
        }


class Classifier:
    """A trained network that takes image files.

    Args:
        checkpoint: An opened checkpoint.
        device: Where to compute.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self.checkpoint = checkpoint
        self.device = device
        self.network = checkpoint.network().to(device)
        self.classes: tuple[str, ...] = tuple(checkpoint.about["classes"])
        self.side_px = checkpoint.mean_hwc.shape[0]

    def probabilities(self, images_nhwc: Tensor) -> Tensor:
        """Return softmax scores, (n, classes), of uint8 images (n, side_px, side_px, 3)."""
        ready = batches.prepare(
            images_nhwc.to(self.device), self.checkpoint.mean_hwc.to(self.device)
        )
        with torch.inference_mode():
            scores: Tensor = self.network(ready).softmax(dim=1)
        return scores

    def predict(self, files: Iterable[str | Path], top: int = 1) -> list[list[Prediction]]:
        """Return the `top` most probable classes of each file, most probable first.

        Args:
            files: Image files of any size; resized and cropped to what the network was trained on.
            top: How many classes; at most as many as there are.

        Raises:
            ImageError: A file cannot be decoded.
        """
        if top < 1:
            raise ResNetsError(f"--top: must be at least 1, got {top}")
        return [self._rank(file, top) for file in files]

    def _rank(self, file: str | Path, top: int) -> list[Prediction]:
        pixels = images.centre(images.read_rgb(Path(file)), self.side_px)
        scores = self.probabilities(torch.from_numpy(pixels)[None])[0]
        best = scores.topk(min(top, len(self.classes)))
        return [
            Prediction(str(file), self.classes[index], index, probability)
            for probability, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]


def load(where: str | Path, device: str | None = None) -> Classifier:
    """Return the classifier in a run's folder or a checkpoint file.

    Args:
        where: A run's folder or a file.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.

    Raises:
        CheckpointError: There is none, or it is damaged or foreign.
    """
    return Classifier(checkpoints.newest(where), hardware.device(device))
