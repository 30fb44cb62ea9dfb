"""What a detector found in every image of a split becomes numbers, on any number of processes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from resnets.core.processes import Team
from resnets.data.annotated import Objects
from resnets.detection import coco_ap, voc_ap
from resnets.detection.coco_ap import CocoAP
from resnets.detection.detections import Detections
from resnets.detection.voc_ap import Curve

Protocol = Literal["voc2007", "voc2010", "coco"]
PROTOCOLS: Final[tuple[Protocol, ...]] = get_args(Protocol)


@dataclass(frozen=True, slots=True)
class Scores:
    """The numbers of a detector over a split, by one protocol.

    Args:
        protocol: "voc2007": AP at 11 points of recall; "voc2010": the area under the curve, as
            VOC has it from then on; "coco": COCO's twelve.
        images: How many there are.
        values: In percent, by name. VOC's is `ap50_percent`; COCO's are `ap_percent`,
            `ap50_percent`, `ap75_percent`, `ap_small_percent` and so on, as `CocoAP` has them. All
            are means over the classes that have an object to be found; a number is missing where
            no class has one.
        by_class: AP in percent of each class, in the order of the labels: VOC's, or COCO's `ap`.
            NaN where there is no object to be found.
    """

    protocol: Protocol
    images: int
    values: Mapping[str, float]
    by_class: tuple[float, ...]

    @property
    def left_out(self) -> tuple[int, ...]:
        """The labels of the classes that are in no mean: there is no object of theirs."""
        return tuple(label for label, ap in enumerate(self.by_class) if math.isnan(ap))

    def named(self, split: str) -> Iterator[tuple[str, float]]:
        """Yield the numbers under the names that a run's journal has for them."""
        for name, value in self.values.items():
            yield f"{split}_{name}", value
        yield f"{split}_images", self.images
        yield f"{split}_classes_left_out", len(self.left_out)


class Scoring:
    """Collects what was found in the images of a split, each once, in any order.

    Args:
        objects: Of every image of the split.
        classes: How many there are.
    """

    def __init__(self, objects: Sequence[Objects], classes: int) -> None:
        self.objects = tuple(objects)
        self.classes = classes
        self._found: dict[int, Detections] = {}

    def add(self, index: int, found: Detections) -> None:
        """Take what was found in an image.

        Args:
            index: Which image of the split.
            found: In it; labels below `classes`.

        Raises:
            ValueError: The image was answered before, or there is none of that index or a label.
        """
        if index in self._found:
            raise ValueError(f"image {index}: was answered before")
        if not 0 <= index < len(self.objects):
            raise ValueError(f"image {index}: there are {len(self.objects)}")
        if not ((found.classes_n >= 0) & (found.classes_n < self.classes)).all():
            raise ValueError(f"image {index}: labels must be in [0, {self.classes})")
        self._found[index] = found

    def together(self, team: Team) -> "Scoring":
        """Return what all processes of a team collected. Every one of them calls this.

        Raises:
            ValueError: Two processes answered the same image.
        """
        answered_n1 = torch.tensor(list(self._found), dtype=torch.float64)[:, None]
        rows_n7 = _gathered(_rows(self._found), team)
        rows_n7 = rows_n7[rows_n7[:, 0].argsort(stable=True)]  # an image's stay in their order
        sizes = rows_n7[:, 0].long().bincount(minlength=len(self.objects)).tolist()
        of_images = rows_n7.split(sizes)
        made = Scoring(self.objects, self.classes)
        for index in _gathered(answered_n1, team).flatten().long().tolist():
            made.add(index, _detections(of_images[index]))
        return made

    @property
    def found(self) -> tuple[Detections, ...]:
        """What was found in each image of the split.

        Raises:
            ValueError: An image was not answered.
        """
        missing = [index for index in range(len(self.objects)) if index not in self._found]
        if missing:
            raise ValueError(f"{len(missing)} images were not answered, image {missing[0]} first")
        return tuple(self._found[index] for index in range(len(self.objects)))

    def curves(self, *, min_overlap: float = 0.5) -> tuple[Curve, ...]:
        """Return how precision falls as recall rises for each class, as `voc_ap.curves` does."""
        return voc_ap.curves(self.found, self.objects, self.classes, min_overlap=min_overlap)

    def scores(self, protocol: Protocol) -> Scores:
        """Return the numbers.

        Raises:
            ValueError: An image was not answered.
            RunError: They are COCO's, and faster-coco-eval is not installed.
        """
        if protocol == "coco":
            values, by_class = _coco(coco_ap.measure(self.found, self.objects, self.classes))
        else:
            by_class = tuple(
                100 * (each.ap_11_points if protocol == "voc2007" else each.ap_area)
                for each in self.curves()
            )
            values = {"ap50_percent": voc_ap.mean(by_class)}
        known = {name: value for name, value in values.items() if not math.isnan(value)}
        return Scores(protocol, len(self.objects), known, by_class)


def _coco(measured: CocoAP) -> tuple[dict[str, float], tuple[float, ...]]:
    names = [each.name for each in fields(measured) if not each.name.startswith("by_class")]
    values = {f"{name}_percent": 100 * getattr(measured, name) for name in names}
    return values, tuple(100 * ap for ap in measured.by_class)


def _rows(found: Mapping[int, Detections]) -> Tensor:
    """Return a row for each detection: its image, its box, its score, its class; all exact."""
    rows = [torch.zeros(0, 7, dtype=torch.float64)]
    for index, each in found.items():
        image_n = torch.full((len(each),), float(index), dtype=torch.float64)
        numbers = (image_n[:, None], each.boxes_n4, each.scores_n[:, None], each.classes_n[:, None])
        rows.append(torch.cat([part.double() for part in numbers], dim=1))
    return torch.cat(rows)


def _detections(rows_n7: Tensor) -> Detections:
    return Detections(rows_n7[:, 1:5].float(), rows_n7[:, 5].float(), rows_n7[:, 6].long())


def _gathered(rows_nc: Tensor, team: Team) -> Tensor:
    """Return the rows of all processes, however many each has, in the order of ranks."""
    sizes = team.gather(torch.tensor([len(rows_nc)])).flatten().tolist()
    if not max(sizes):
        return rows_nc
    padded = rows_nc.new_zeros(max(sizes), rows_nc.shape[1])
    padded[: len(rows_nc)] = rows_nc
    parts = team.gather(padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
