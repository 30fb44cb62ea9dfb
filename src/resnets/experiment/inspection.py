"""What a network or a checkpoint is: its layer table, for people, notebooks and programs."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnets.inference import checkpoints
from resnets.inference.checkpoints import Checkpoint
from resnets.models import cost, zoo
from resnets.models.cost import Cost, Layer
from resnets.models.making import Network
from resnets.recipes import codec


@dataclass(frozen=True, slots=True)
class Inspection:
    """A network's cost; for a checkpoint also its recipe and the hash of its weights.

    Shows as a table in a notebook and in `print`.
    """

    name: str
    cost: Cost
    checkpoint: Checkpoint | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets inspect --json`."""
        values: dict[str, Any] = {"model": self.name, **self.cost.to_dict()}
        if self.checkpoint is not None:
            values["weights_sha256"] = self.checkpoint.weights_sha256
            values["recipe"] = codec.to_tree(self.checkpoint.recipe)
            about = self.checkpoint.about
            values |= {key: about.get(key) for key in ("name", "update", "classes", "data", "seed")}
        return values

    def __str__(self) -> str:
        header, *rows = self._cells()
        widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
        text = [self._title()]
        for row in (header, *rows):
            name, *rest = row
            cells = [cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True)]
            text.append("  ".join([name.ljust(widths[0]), *cells]))
        text.append(self._totals())
        return "\n".join(text)

    def _repr_html_(self) -> str:
        header, *rows = self._cells()
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        title, totals = html.escape(self._title()), html.escape(self._totals())
        return f"<p>{title}</p><table><tr>{head}</tr>{body}</table><p>{totals}</p>"

    def _title(self) -> str:
        side = self.cost.image_px
        return f"{self.name}: {self.cost.depth} layers, one image of 3x{side}x{side}"

    def _totals(self) -> str:
        cost_ = self.cost
        text = f"{cost_.parameters:,} parameters, {cost_.multiply_adds / 1e9:.3f}e9 multiply-adds"
        if self.checkpoint is not None:
            text += f"\nweights {self.checkpoint.weights_sha256}"
        return text

    def _cells(self) -> list[list[str]]:
        header = ["layer", "kind", "kernel", "stride", "output", "parameters", "multiply-adds"]
        return [header, *(_row(layer) for layer in self.cost.layers)]


def inspect(what: str | Path | Network, image_px: int | None = None) -> Inspection:
    """Measure a network: one of the zoo by name, a module, or what a checkpoint holds.

    Args:
        what: A name of `zoo.NAMES`, a network, a run's folder or a checkpoint file.
        image_px: Side of the image in pixels; by default the paper's.

    Raises:
        ModelError: There is no such network, or the image has no pixels.
        CheckpointError: The checkpoint is damaged or foreign.
    """
    if isinstance(what, Network):
        return Inspection("network", cost.measure(what.spec, image_px))
    if Path(what).exists():
        checkpoint = checkpoints.newest(what)
        side = checkpoint.mean_hwc.shape[0] if image_px is None else image_px
        checkpoint.network()  # refuses tensors that are not the network's
        return Inspection(str(what), cost.measure(checkpoint.recipe.model, side), checkpoint)
    return Inspection(str(what), cost.measure(zoo.named(str(what)), image_px))


def _row(layer: Layer) -> list[str]:
    return [
        layer.name,
        layer.kind,
        layer.kernel,
        str(layer.stride) if layer.kernel else "",
        "x".join(map(str, layer.output_size)),
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}" if layer.multiply_adds else "",
    ]
