"""From a detector's checkpoint to what it finds in pictures."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from resnets.core import hardware
from resnets.core.errors import CheckpointError, ImageError, ResNetsError
from resnets.detection import detecting
from resnets.detection.detecting import Testing
from resnets.detection.detections import Detections
from resnets.inference import opening, pictures
from resnets.inference.checkpoints import AnyCheckpoint, Checkpoint, DetectorCheckpoint
from resnets.inference.pictures import Picture

SURE: Final = 0.5  # what `resnets predict` tells of; less likely ones are for measuring


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object in one picture.

    Args:
        file: The picture.
        class_name: What it is.
        class_index: The same as a number.
        score: Its probability, in [0, 1].
        box_px: Left, top, right, bottom in pixels of the picture, whose top left corner is (0, 0).
    """

    file: str
    class_name: str
    class_index: int
    score: float
    box_px: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets predict --json`."""
        return {
            "file": self.file,
            "class": self.class_name,
            "class_index": self.class_index,
            "score": self.score,
            "box_px": list(self.box_px),
        }


class Detector:
    """One trained detector or several, which are an ensemble, that take pictures.

    Args:
        found: Opened checkpoints of the same classes.
        device: Where to compute.
        testing: How they are tested; by default as the first one's recipe has it.
        precision: What the layers compute in.
    """

    def __init__(
        self,
        found: Sequence[DetectorCheckpoint],
        device: torch.device,
        testing: Testing | None = None,
        precision: hardware.PrecisionName = "float32",
    ) -> None:
        self.classes = found[0].classes
        for other in found[1:]:
            if other.classes != self.classes:
                raise ResNetsError(
                    f"{other.path}: its classes are not those of {found[0].path}; an ensemble "
                    "needs detectors of the same classes"
                )
            if other.preprocess != found[0].preprocess:
                raise ResNetsError(
                    f"{other.path}: wants its images otherwise than {found[0].path}; an ensemble "
                    "needs detectors of the same scaling"
                )
        self.checkpoints = tuple(found)
        self.device = device
        self.testing = found[0].recipe.testing if testing is None else testing
        self._scaling = found[0].preprocess
        self._models = [each.network().to(device) for each in found]
        self._dtype = hardware.DTYPES[precision]

    def find(self, image: Image.Image) -> Detections:
        """Return all that is found in an image, however unlikely, in pixels of it."""
        enabled = self._dtype is not torch.float32
        with torch.autocast(self.device.type, self._dtype, enabled=enabled):
            return detecting.detect(self._models, image, self._scaling, self.testing)

    def detect(
        self, files: str | Path | Iterable[str | Path], *, least_score: float = SURE
    ) -> list[list[FoundObject]]:
        """Return what is in each file, the likeliest first.

        Args:
            files: One image file or several, of any size.
            least_score: What is less likely is not told.

        Raises:
            ImageError: A file cannot be decoded.
        """
        files = [files] if isinstance(files, str | Path) else files
        made = []
        for found in self.stream([pictures.file(Path(file)) for file in files], least_score):
            if isinstance(found, ImageError):
                raise found
            made.append(found)
        return made

    def stream(
        self, wanted: Iterable[Picture], least_score: float = SURE
    ) -> Iterator[list[FoundObject] | ImageError]:
        """Yield for each picture, in order, what is in it, or why it cannot be decoded."""
        for picture in wanted:
            try:
                image = picture.read()
            except ImageError as err:
                yield err
                continue
            yield self.named(picture.name, self.find(image), least_score)

    def named(self, file: str, found: Detections, least_score: float) -> list[FoundObject]:
        """Return detections as objects of a picture, those at least so likely."""
        return [
            FoundObject(file, self.classes[label], label, score, tuple(box))
            for box, score, label in zip(
                found.boxes_n4.tolist(),
                found.scores_n.tolist(),
                found.classes_n.tolist(),
                strict=True,
            )
            if score >= least_score
        ]


def of(found: AnyCheckpoint) -> DetectorCheckpoint:
    """Return a checkpoint that must be a detector's.

    Raises:
        CheckpointError: It is a classifier's.
    """
    if isinstance(found, Checkpoint):
        raise CheckpointError(f"{found.path}: holds a classifier; an ensemble is of one kind")
    return found


def load(where: str | Path, device: str | None = None) -> Detector:
    """Return the detector in a run's folder or a checkpoint file.

    Raises:
        CheckpointError: There is none, or it is damaged.
    """
    return Detector([of(opening.any_checkpoint(where))], hardware.device(device))
