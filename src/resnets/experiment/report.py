"""Pictures of a run, drawn as the paper draws them."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnets.core import artifacts
from resnets.experiment import journal

Records = Sequence[Mapping[str, Any]]


def curves(records: Records, path: Path, *, title: str) -> None:
    """Draw training error (thin) and test or validation error (bold) against updates, as PNG.

    Of a detector, the average precision; of a localizer, the error of its boxes.

    Args:
        records: The journal's lines.
        path: Where to write the picture.
        title: The name of the curves in the legend.

    Source: He et al. 2015, Fig. 6.
    """
    figure = Figure(figsize=(6.4, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    x, y = journal.curve(records, "train_error_percent")
    if x:
        axes.plot(x, y, "--", color="C0", linewidth=0.8, alpha=0.7, label=f"{title}, training")
    for split in ("test", "validation"):
        for measure in (journal.ERROR, journal.LOCALIZATION):
            x, y = journal.curve(records, f"{split}_{measure}")
            if x:
                last = f"{title}, {split}: {y[-1]:.1f} %"
                axes.plot(x, y, "-", color="C0", linewidth=2.2, label=last)
    found = f"{journal.split(records)}_{journal.PRECISION}"
    x, y = journal.curve(records, found)
    if x:
        axes.plot(x, y, "-", color="C0", linewidth=2.2, label=f"{title}: {y[-1]:.1f} %")
    axes.set_xlabel("updates")
    axes.set_ylabel("average precision at IoU 0.5 (%)" if x else "error (%)")
    axes.set_ylim(0, None)
    axes.grid(alpha=0.25)
    if axes.lines:
        axes.legend()
    made = io.BytesIO()
    figure.savefig(made, format="png")
    artifacts.write_bytes(path, made.getvalue())
