"""What a network or a checkpoint is, explained: for people, notebooks and programs."""

import html
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.experiment import anatomy, paper
from resnets.experiment import diagram as diagrams
from resnets.experiment.diagram import Diagram
from resnets.inference import opening, published
from resnets.inference.checkpoints import Checkpoint
from resnets.models import cost, zoo
from resnets.models.cost import Cost, Layer
from resnets.models.making import Network
from resnets.models.spec import ModelSpec
from resnets.recipes import codec


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
        stages, blocks = self._stages(), anatomy.blocks(self.cost)
        text = [self._title(), "", *_aligned(stages, right=(3, 4)), ""]
        text += [f"Every different block once; sizes: {anatomy.FORMULA}"]
        lines = _aligned([anatomy.COLUMNS, *(row for block in blocks for row in block.rows)])
        text.append(lines.pop(0))
        for block in blocks:
            text.append(block.title)
            text += [lines.pop(0) for _ in block.rows]
        why, *rest = self._sentences()
        text += ["", *textwrap.wrap(why, 100), *rest]
        return "\n".join(text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        blocks = [
            row
            for block in anatomy.blocks(self.cost)
            for row in ([block.title, *[""] * (len(anatomy.COLUMNS) - 1)], *block.rows)
        ]
        layers = [_LAYER_COLUMNS, *map(_layer, self.cost.layers)]
        parts = [
            f"<p>{html.escape(self._title())}</p>",
            _html(self._stages()),
            f"<p>Every different block once; sizes: {html.escape(anatomy.FORMULA)}</p>",
            _html([anatomy.COLUMNS, *blocks]),
            *(f"<p>{html.escape(each)}</p>" for each in self._sentences() if each),
            f"<details><summary>every layer</summary>{_html(layers)}</details>",
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


def inspect(what: str | Path | Network, image_px: int | None = None) -> Inspection:
    """Measure a network: one of the zoo by name, a module, or what a checkpoint holds.

    Args:
        what: A name of `zoo.NAMES`, a network, a run's folder, a checkpoint file, or the name of
            published weights.
        image_px: Side of the image in pixels; by default the paper's.

    Raises:
        ModelError: There is no such network, or the image has no pixels.
        CheckpointError: The checkpoint is damaged or foreign.
    """
    if isinstance(what, Network):
        return Inspection("network", what.spec, cost.measure(what.spec, image_px))
    if Path(what).exists() or what in published.NAMES:
        checkpoint = opening.checkpoint(what)
        side = checkpoint.preprocess.crop_px if image_px is None else image_px
        checkpoint.network()  # refuses tensors that are not the network's
        return Inspection(
            str(what), checkpoint.spec, cost.measure(checkpoint.spec, side), checkpoint
        )
    spec = zoo.named(str(what))
    return Inspection(str(what), spec, cost.measure(spec, image_px))


def _aligned(rows: Sequence[Sequence[str]], right: tuple[int, ...] = ()) -> list[str]:
    """Return a line for each row; the columns in `right` end where they begin to differ."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _html(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[html.escape(cell) for cell in row] for row in rows]
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in body]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


_LAYER_COLUMNS = [
    *("layer", "kind", "kernel", "stride", "padding", "output", "parameters", "multiply-adds")
]


def _layer(layer: Layer) -> list[str]:
    return [
        layer.name,
        layer.kind,
        layer.kernel,
        str(layer.stride) if layer.kernel else "",
        str(layer.padding) if layer.kernel else "",
        "x".join(map(str, layer.output_size)),
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
    ]
