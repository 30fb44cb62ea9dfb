"""A finished run as one page: report.html, which needs no other file and loads nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from resnets.core import artifacts
from resnets.core.errors import RunError
from resnets.data.opening import Data
from resnets.experiment import evaluate, journal, manifests
from resnets.experiment.page import (
    certainty,
    checked,
    learning,
    markup,
    mistakes,
    records,
    summary,
)
from resnets.experiment.page.markup import element
from resnets.experiment.page.story import Story
from resnets.inference import checkpoints, opening
from resnets.inference.checkpoints import FINISHED

PAGE: Final = "report.html"

_STYLE: Final = Path(__file__).parent / "page" / "style.css"


def write(
    run_folder: str | Path,
    data: Data | None = None,
    findings: Mapping[str, Any] | None = None,
    device: str | None = None,
) -> Path:
    """Measure a finished run once more, keeping every answer, and write RUN/report.html.

    Args:
        run_folder: The run's folder.
        data: What it was trained on; by default it is opened where the manifest says.
        findings: What a check of the data found, as its JSON values; by default the data is
            checked now, which reads every image.
        device: Where to compute.

    Returns:
        The page's path. It is written whole or not at all.

    Raises:
        RunError: There is no finished run in that folder.
        DataError: The data is not there any more, or an image cannot be read.
        StorageError: The page cannot be written.
    """
    folder = Path(run_folder).expanduser()
    manifest = manifests.read(folder)
    if not (folder / FINISHED).exists():
        raise RunError(
            f"{folder}: this run is not finished; `resnets train --resume {folder}` continues it"
        )
    checkpoint = checkpoints.classifier(checkpoints.read(folder / FINISHED))
    opened = opening.data(data, checkpoint)
    lines = artifacts.read_lines(folder / journal.JOURNAL)
    story = Story(
        name=folder.resolve().name,
        checkpoint=checkpoint,
        manifest=manifest,
        records=lines,
        examination=evaluate.examine(folder / FINISHED, opened, split=_split(lines), device=device),
        check=opened.check().to_dict() if findings is None else findings,
    )
    path = folder / PAGE
    artifacts.write_bytes(path, html(story))
    return path


def html(story: Story) -> bytes:
    """Return the page of a run, as UTF-8."""
    sections = [
        summary.in_short(story),
        learning.section(story),
        mistakes.by_class(story),
        mistakes.confusion(story),
        certainty.calibration(story),
        certainty.mistakes(story),
        certainty.unsure(story),
        checked.section(story),
        records.trained(story),
        records.again(story),
    ]
    links = [
        element("a", heading.text, href=f"#{each.get('id')}")
        for each in sections
        if each is not None and (heading := each.find("h2")) is not None
    ]
    return markup.page(
        f"{story.name}: {story.evaluation.top1_error_percent:.2f} % error",
        _STYLE.read_text(encoding="utf-8"),
        element(
            "main",
            summary.head(story),
            element("nav", links, aria_label="On this page"),
            sections,
        ),
    )


def _split(records: Sequence[Mapping[str, Any]]) -> Literal["test", "validation"]:
    return "test" if journal.split(records) == "test" else "validation"
