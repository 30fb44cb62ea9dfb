"""From a detector's checkpoint to what it finds in pictures."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from PIL import Image

from resnets.core import hardware
from resnets.core.errors import CheckpointError, ImageError, ResNetsError
from resnets.detection import detecting
from resnets.detection.detecting import Testing
from resnets.detection.detections import Detections
from resnets.inference import drawing, explanation, fused, pictures
from resnets.inference.checkpoints import AnyCheckpoint, DetectorCheckpoint, LocalizerCheckpoint
from resnets.inference.found import FoundObject
from resnets.inference.pictures import Picture

SURE: Final = 0.5  # what `resnets predict` tells of; less likely ones are for measuring


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
        self._dtype = hardware.DTYPES[precision]
        networks = [each.network().to(device) for each in found]
        self._models = [fused.fuse_detector(each, self._dtype) for each in networks]

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


def told(
    detector: Detector, wanted: Sequence[Picture], top: int | None, draw: Path | None
) -> Iterator[list[FoundObject] | ImageError]:
    """Yield what is in each picture, and draw it.

    Args:
        detector: What finds it.
        wanted: The pictures.
        top: So many objects of each, however unlikely; by default those with a score of at least
            one half.
        draw: Where to: a .png, or a folder for several.

    Raises:
        ResNetsError: `draw` is no place for them.
        StorageError: A picture could not be written.
    """
    if draw is not None:
        explanation.check_place(draw, wanted)
    taken: set[str] = set() if draw is None else explanation.there(draw)
    for picture, found in zip(
        wanted, detector.stream(wanted, SURE if top is None else 0.0), strict=True
    ):
        if isinstance(found, ImageError):
            yield found
            continue
        chosen = found[:top]
        if draw is not None:
            path = explanation.place_of(picture, draw, taken)
            drawing.save(drawing.boxes(picture.read(), chosen), path)
        yield chosen


def nothing(top: int | None) -> str:
    """Return what to say where `told` tells of no object."""
    if top is not None:
        return "no object at all"
    return f"no object as likely as {100 * SURE:.0f} %; --top 5 tells of the likeliest five"


def of(found: AnyCheckpoint) -> DetectorCheckpoint:
    """Return a checkpoint that must be a detector's.

    Raises:
        CheckpointError: It is not.
    """
    if isinstance(found, DetectorCheckpoint):
        return found
    what = "localizer" if isinstance(found, LocalizerCheckpoint) else "classifier"
    raise CheckpointError(f"{found.path}: holds a {what}; an ensemble is of one kind")
