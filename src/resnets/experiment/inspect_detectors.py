"""What a detector is, explained: shared map, proposals and regions apart."""

import html
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from resnets.core.errors import ModelError
from resnets.data.scenes import Scaling
from resnets.detection import cost, proposals
from resnets.detection.cost import DetectorCost, Part
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.spec import FasterRCNNSpec
from resnets.experiment import anatomy, tables
from resnets.experiment.anatomy import Explained
from resnets.inference.checkpoints import DetectorCheckpoint
from resnets.models import zoo
from resnets.recipes import catalogue, codec
from resnets.recipes.detector import DetectorRecipe

_COLUMNS: Final = ["part", "stage", "output", "layers", "parameters", "multiply-adds"]


@dataclass(frozen=True, slots=True, repr=False)
class DetectorInspection:
    """A detector's operations and cost; also its recipe, and of a checkpoint its weights' hash.

    The cost is that of one image at the detector's own scale, each region judged once. Shows as
    tables in a notebook and in `print`.
    """

    name: str
    spec: FasterRCNNSpec
    cost: DetectorCost
    recipe: DetectorRecipe | None = None
    checkpoint: DetectorCheckpoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets inspect --json`."""
        anchors = self.spec.anchors
        values: dict[str, Any] = {
            "model": self.name,
            "network": zoo.name_of(self.spec.backbone),
            **self.cost.to_dict(),
            "class_count": self.spec.classes,
            "anchor_scales_px": list(anchors.scales_px),
            "anchor_ratios": list(anchors.ratios),
            "anchor_stride_px": anchors.stride_px,
        }
        if self.recipe is not None:
            values["recipe"] = codec.to_tree(self.recipe)
        if self.checkpoint is not None:
            values["weights_sha256"] = self.checkpoint.weights_sha256
            about = self.checkpoint.about
            values |= {key: about.get(key) for key in ("name", "update", "classes", "data", "seed")}
        return values

    def diagram(self) -> NoReturn:
        """Refuse: Fig. 3 is of classification networks.

        Raises:
            ModelError: Always; it names the network to draw.
        """
        name = zoo.name_of(self.spec.backbone)
        raise ModelError(
            f"{self.name}: a diagram is of a classification network; draw the one that this "
            f"detector is made of: resnets inspect {name} --diagram {name}.svg"
        )

    def __str__(self) -> str:
        text = [self._title(), "", *tables.aligned(self._rows(), right=(4, 5)), ""]
        text += [*tables.blocks(self._blocks()), ""]
        for sentence in self._sentences():
            text += textwrap.wrap(sentence, 100, subsequent_indent="    ")
        return "\n".join(text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [
            f"<p>{html.escape(self._title())}</p>",
            tables.html(self._rows()),
            tables.blocks_html(self._blocks()),
            *(f"<p>{html.escape(each)}</p>" for each in self._sentences()),
            tables.layers_html(layer for part in self.cost.parts for layer in part.cost.layers),
        ]
        return "".join(parts)

    def _title(self) -> str:
        width, height = self.cost.size
        return (
            f"{self.name}: Faster R-CNN of {zoo.name_of(self.spec.backbone)}, one image of "
            f"{self.spec.backbone.in_channels}x{height}x{width}, {self.cost.regions:,} regions"
        )

    def _rows(self) -> list[list[str]]:
        return [_COLUMNS, *(row for part in self.cost.parts for row in _of_part(part))]

    def _blocks(self) -> list[Explained]:
        return [
            Explained(_titled(part, block.title), block.rows)
            for part in self.cost.parts
            for block in anatomy.blocks(part.cost)
            if block.rows
        ]

    def _sentences(self) -> Iterator[str]:
        for part in self.cost.parts:
            count = f"{_billions(part.multiply_adds)} multiply-adds"
            if part.runs > 1:
                count += f": {part.runs:,} times {_billions(part.cost.multiply_adds)}"
            yield f"{part.name.ljust(9)}  {part.cost.parameters:,} parameters, {count}"
        if self.cost.context_multiply_adds:
            yield f"context    {_billions(self.cost.context_multiply_adds)} multiply-adds"
        yield (
            f"together   {self.cost.parameters:,} parameters, "
            f"{_billions(self.cost.multiply_adds)} multiply-adds"
        )
        yield f"anchors    {self._anchors()}"
        yield f"classes    {self._classes()}"
        if self.checkpoint is not None:
            yield f"weights    {self.checkpoint.weights_sha256}"

    def _anchors(self) -> str:
        columns, rows = self.cost.map_size
        anchors = self.spec.anchors
        scales, ratios = (_listed(each) for each in (anchors.scales_px, anchors.ratios))
        return (
            f"{self.cost.anchors} at each of {rows}x{columns} places, "
            f"{self.cost.anchors_in_all:,} in all: as large as squares of {scales} px, heights "
            f"{ratios} times the widths"
        )

    def _classes(self) -> str:
        count = f"{self.spec.classes:,}, and background"
        return (
            count if self.checkpoint is None else f"{count}: {', '.join(self.checkpoint.classes)}"
        )


def of_recipe(name: str, image_px: int | None = None) -> DetectorInspection:
    """Measure the detector of a recipe.

    Args:
        name: Of `catalogue.DETECTORS`.
        image_px: The shorter side of the scaled image; by default the recipe's.

    Raises:
        RecipeError: There is no such recipe.
        DataError: A detector takes no image of that size.
    """
    recipe = catalogue.named(name)
    assert isinstance(recipe, DetectorRecipe)
    return DetectorInspection(name, recipe.model, _measured(recipe, image_px), recipe)


def of_checkpoint(
    name: str, found: DetectorCheckpoint, image_px: int | None = None
) -> DetectorInspection:
    """Measure what a checkpoint holds.

    Args:
        name: What it is called.
        found: The open checkpoint.
        image_px: The shorter side of the scaled image; by default the recipe's.

    Raises:
        DataError: A detector takes no image of that size.
    """
    measured = _measured(found.recipe, image_px)
    return DetectorInspection(name, found.spec, measured, found.recipe, found)


def of_module(detector: FasterRCNN, image_px: int | None = None) -> DetectorInspection:
    """Measure a detector, with as many regions and images as large as the paper's.

    Args:
        detector: On any device.
        image_px: The shorter side of the scaled image; by default 600.

    Raises:
        DataError: A detector takes no image of that size.
    """
    size = _size(Scaling(), image_px)
    measured = cost.measure(detector.spec, size, proposals.TESTING.most)
    return DetectorInspection("detector", detector.spec, measured)


def _measured(recipe: DetectorRecipe, image_px: int | None) -> DetectorCost:
    size = _size(recipe.data.scaling, image_px)
    return cost.measure(recipe.model, size, recipe.testing.proposed.most)


def _size(scaling: Scaling, image_px: int | None) -> tuple[int, int]:
    """Return the width and height of the largest image: as wide as a scaling allows."""
    if image_px is not None:
        longest = math.ceil(scaling.longest_px * image_px / scaling.shorter_px)
        scaling = replace(scaling, shorter_px=image_px, longest_px=longest)
    return scaling.longest_px, scaling.shorter_px


def _of_part(part: Part) -> Iterator[list[str]]:
    """Yield the rows of `_COLUMNS` for a part."""
    first = part.name if part.runs == 1 else f"{part.name}, each"
    before, inside, after = anatomy.apart(part.cost)
    for row in (*before, *inside, *after):
        yield [first, row[0].removeprefix("stem."), *row[1:]]
        first = ""


def _titled(part: Part, title: str) -> str:
    return f"{part.name}: {title}" if part.cost.stages else part.name


def _billions(count: int) -> str:
    return f"{count / 1e9:.3f}e9"


def _listed(values: tuple[float, ...]) -> str:
    *others, last = [f"{value:g}" for value in values]
    return f"{', '.join(others)} and {last}" if others else last
