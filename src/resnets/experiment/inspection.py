"""What a network or a checkpoint is, explained: for people, notebooks and programs."""

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resnets.detection.faster_rcnn import FasterRCNN
from resnets.experiment import anatomy, inspect_detectors, paper, tables
from resnets.experiment import diagram as diagrams
from resnets.experiment.diagram import Diagram
from resnets.experiment.inspect_detectors import DetectorInspection
from resnets.inference import checkpoints, opening, published
from resnets.inference.checkpoints import Checkpoint, DetectorCheckpoint
from resnets.models import cost, zoo
from resnets.models.cost import Cost
from resnets.models.making import Network
from resnets.models.spec import ModelSpec
from resnets.recipes import catalogue, codec

# What the names of detectors' recipes begin with; no network's does.
_DETECTORS: Final = {name.partition(".")[0] for name in catalogue.DETECTORS}


@dataclass(frozen=True, slots=True, repr=False)
class Inspection:
    """A network's operations and cost; for a checkpoint also its recipe and its weights' hash.

    Shows as tables in a notebook and in `print`.
    """

    name: str
    spec: ModelSpec
    cost: Cost
    checkpoint: Checkpoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets inspect --json`."""
        values: dict[str, Any] = {"model": self.name, **self.cost.to_dict()}
        if self.checkpoint is not None:
            values["weights_sha256"] = self.checkpoint.weights_sha256
            recipe = self.checkpoint.recipe
            values["recipe"] = None if recipe is None else codec.to_tree(recipe)
            about = self.checkpoint.about
            values |= {key: about.get(key) for key in ("name", "update", "classes", "data", "seed")}
        return values

    def diagram(self) -> Diagram:
        """Draw it as in Figs. 2, 3 and 5 of the paper; shows in a notebook, and can be saved."""
        return diagrams.draw(self.name, self.cost)

    def __str__(self) -> str:
        why, *rest = self._sentences()
        text = [self._title(), "", *tables.aligned(self._stages(), right=(3, 4)), ""]
        text += tables.blocks(anatomy.blocks(self.cost))
        text += ["", *textwrap.wrap(why, 100), *rest]
        return "\n".join(text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        parts = [
            f"<p>{html.escape(self._title())}</p>",
            tables.html(self._stages()),
            tables.blocks_html(anatomy.blocks(self.cost)),
            *(f"<p>{html.escape(each)}</p>" for each in self._sentences() if each),
            tables.layers_html(self.cost.layers),
        ]
        return "".join(parts)

    def _title(self) -> str:
        side = self.cost.image_px
        size = f"{self.spec.in_channels}x{side}x{side}"
        return f"{self.name}: {self.cost.depth} layers, one image of {size}"

    def _stages(self) -> list[list[str]]:
        """Return the table of stages; the paper's beside it where the paper has the network."""
        rows = anatomy.stages(self.cost)
        header = ["stage", "output", "layers", "parameters", "multiply-adds"]
        told = paper.printed(self.spec)
        if told is None or not told.stages:
            return [header, *rows]
        beside = [[*row, told.stages.get(row[0], "")] for row in rows]
        return [[*header, f"the paper, {told.where}{self._other_size()}"], *beside]

    def _other_size(self) -> str:
        side = self.spec.image_px
        return "" if side == self.cost.image_px else f", {side}x{side}"

    def _sentences(self) -> Iterator[str]:
        yield anatomy.why_filters_double(self.cost)
        cost_ = self.cost
        text = f"{cost_.parameters:,} parameters, {cost_.multiply_adds / 1e9:.3f}e9 multiply-adds"
        told = paper.printed(self.spec)
        if told is not None and told.total:
            text += f"; the paper prints {told.total} ({told.where}{self._other_size()})"
        yield text
        if self.checkpoint is not None:
            yield f"weights {self.checkpoint.weights_sha256}"


def inspect(
    what: str | Path | Network | FasterRCNN, image_px: int | None = None
) -> Inspection | DetectorInspection:
    """Measure a network or a detector: a name, a module, or what a checkpoint holds.

    Args:
        what: A name of `zoo.NAMES`, a detector's recipe, a network, a detector, a run's folder, a
            checkpoint file, or the name of published weights.
        image_px: Side of the image in pixels, a detector's shorter one; by default the paper's, or
            that of the checkpoint or the recipe.

    Raises:
        ModelError: There is no such network, or the image has no pixels.
        CheckpointError: The checkpoint is damaged or foreign.
        DataError: A detector takes no image of that size.
        RecipeError: There is no such recipe of a detector.
    """
    if isinstance(what, FasterRCNN):
        return inspect_detectors.of_module(what, image_px)
    if isinstance(what, Network):
        return Inspection("network", what.spec, cost.measure(what.spec, image_px))
    if Path(what).exists() or what in published.NAMES:
        found = opening.any_checkpoint(what)
        if isinstance(found, DetectorCheckpoint):
            found.network()  # refuses tensors that are not the detector's
            return inspect_detectors.of_checkpoint(str(what), found, image_px)
        found = checkpoints.classifier(found)
        found.network()
        side = found.preprocess.crop_px if image_px is None else image_px
        return Inspection(str(what), found.spec, cost.measure(found.spec, side), found)
    name = str(what)
    if name.partition(".")[0] in _DETECTORS:
        return inspect_detectors.of_recipe(name, image_px)
    spec = zoo.named(name)
    return Inspection(name, spec, cost.measure(spec, image_px))
