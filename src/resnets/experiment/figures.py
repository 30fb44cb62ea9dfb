"""Figures of reproductions, drawn from their results alone."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnets.core import artifacts

_WIDTH, _HEIGHT = 5.6, 4.2  # of one panel, inches
_LETTERS = 72  # of a title over one panel
_FAINTEST = 1e-10  # of the greatest value of a logarithmic axis


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the panels of a result side by side, as the paper draws its figures.

    Training error is thin and dashed, test error bold; a band spans the seeds.

    Args:
        result: What results/NAME.json holds.

    Source: He et al. 2015, Fig. 6.
    """
    panels = result["panels"]
    figure = Figure(figsize=(_WIDTH * len(panels), _HEIGHT), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, panel)
    title = f"{result['source'].removeprefix('He et al. 2015, ')}: {result['title']}"
    if result["mode"] == "quick":
        title += f" (quick: short runs on {result['data']})"
    elif result["changed"]:
        title += f" (changed: on {', '.join([result['data'], *result['settings']])})"
    figure.suptitle(textwrap.fill(title, _LETTERS * len(panels)), fontsize=10)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    made = io.BytesIO()
    # Without the version that made it, equal figures are equal files.
    figure.savefig(made, format="png", metadata={"Software": None})
    artifacts.write_bytes(path, made.getvalue())


def _panel(axes: Axes, panel: Mapping[str, Any]) -> None:
    paired = {line["label"] for line in panel["lines"] if not line["dashed"]}
    for line in panel["lines"]:
        # A dashed line beside a solid one of its name needs no entry of its own.
        told = not line["dashed"] or line["label"] not in paired
        axes.plot(
            line["x"],
            _numbers(line["y"]),
            "--" if line["dashed"] else "-",
            color=f"C{line['color']}",
            linewidth=0.9 if line["dashed"] else 2.0,
            label=line["label"] if told else None,
        )
        if line["low"] is not None:
            axes.fill_between(
                line["x"],
                _numbers(line["low"]),
                _numbers(line["high"]),
                color=f"C{line['color']}",
                alpha=0.15,
                lw=0,
            )
    if panel["log"]:
        axes.set_yscale("log")
        all_of_them = [y for line in panel["lines"] for y in _numbers(line["y"])]
        shown = [y for y in all_of_them if 0 < y < math.inf]
        if shown:  # what underflows would press all else together
            axes.set_ylim(max(min(shown), max(shown) * _FAINTEST), 2 * max(shown))
    else:
        axes.set_ylim(0, panel["top"])
    axes.set_xlabel(panel["x"])
    axes.set_ylabel(panel["y"])
    axes.set_title(panel["title"], fontsize=10)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)


def _numbers(values: Sequence[float | str]) -> list[float]:
    """Return numbers of which JSON has those that are not finite as words."""
    return [float(value) for value in values]
