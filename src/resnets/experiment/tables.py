"""Rows of texts as tables: for a terminal, and for a notebook."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from resnets.experiment import anatomy
from resnets.experiment.anatomy import Explained
from resnets.models.cost import Layer

_LAYER_COLUMNS: Final = [
    *("layer", "kind", "kernel", "stride", "padding", "output", "parameters", "multiply-adds")
]


def aligned(rows: Sequence[Sequence[str]], right: tuple[int, ...] = ()) -> list[str]:
    """Return a line for each row; the columns in `right` end where they begin to differ."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def html(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table; the first is its head."""
    head, *body = [[escape(cell) for cell in row] for row in rows]
    lines = ["".join(f"<th>{cell}</th>" for cell in head)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in body]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def blocks(found: Sequence[Explained]) -> list[str]:
    """Return lines that explain blocks: what the columns are, then each with its title."""
    lines = aligned([anatomy.COLUMNS, *(row for block in found for row in block.rows)])
    text = [f"Every different block once; sizes: {anatomy.FORMULA}", lines.pop(0)]
    for block in found:
        text.append(block.title)
        text += [lines.pop(0) for _ in block.rows]
    return text


def blocks_html(found: Sequence[Explained]) -> str:
    """Return what explains blocks, as HTML."""
    rows = [
        row
        for block in found
        for row in ([block.title, *[""] * (len(anatomy.COLUMNS) - 1)], *block.rows)
    ]
    title = f"<p>Every different block once; sizes: {escape(anatomy.FORMULA)}</p>"
    return title + html([anatomy.COLUMNS, *rows])


def layers_html(found: Iterable[Layer]) -> str:
    """Return every layer as HTML that unfolds."""
    rows = [_LAYER_COLUMNS, *map(_layer, found)]
    return f"<details><summary>every layer</summary>{html(rows)}</details>"


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
