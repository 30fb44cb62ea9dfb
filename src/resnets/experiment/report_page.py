"""A finished run as one page: report.html, which needs no other file and loads nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from xml.etree.ElementTree import Element

from resnets.core import artifacts
from resnets.core.errors import RunError
from resnets.data import opening as opening_data
from resnets.data.opening import Data
from resnets.experiment import evaluate, evaluate_detectors, journal, manifests
from resnets.experiment.page import (
    boxes,
    certainty,
    checked,
    detected,
    learning,
    markup,
    mistakes,
    precision,
    records,
    summary,
)
from resnets.experiment.page.detector_story import DetectorStory
from resnets.experiment.page.markup import element
from resnets.experiment.page.story import Story, percent
from resnets.inference import checkpoints, opening
from resnets.inference.checkpoints import FINISHED, AnyCheckpoint, DetectorCheckpoint

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
    checkpoint = checkpoints.read(folder / FINISHED)
    opened = opening.any_data(data, checkpoint)
    story = _story(folder, manifest, checkpoint, opened, findings, device)
    path = folder / PAGE
    artifacts.write_bytes(path, html(story))
    return path


def html(story: Story | DetectorStory) -> bytes:
    """Return the page of a run, as UTF-8."""
    if isinstance(story, DetectorStory):
        return _detectors_html(story)
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
    title = f"{story.name}: {story.evaluation.top1_error_percent:.2f} % error"
    return _page(title, summary.head(story), sections)


def _detectors_html(story: DetectorStory) -> bytes:
    sections = [
        detected.in_short(story),
        learning.of_detector(story),
        precision.by_class(story),
        precision.curves(story),
        boxes.kinds(story),
        boxes.mistakes(story),
        boxes.missed(story),
        checked.section(story),
        records.trained(story),
        records.again(story),
    ]
    title = f"{story.name}: {percent(story.ap50_percent)} average precision"
    return _page(title, detected.head(story), sections)


def _page(title: str, head: Element, sections: Sequence[Element | None]) -> bytes:
    links = [
        element("a", heading.text, href=f"#{each.get('id')}")
        for each in sections
        if each is not None and (heading := each.find("h2")) is not None
    ]
    navigation = element("nav", links, aria_label="On this page")
    style = _STYLE.read_text(encoding="utf-8")
    return markup.page(title, style, element("main", head, navigation, sections))


def _story(
    folder: Path,
    manifest: Mapping[str, Any],
    checkpoint: AnyCheckpoint,
    data: Data,
    findings: Mapping[str, Any] | None,
    device: str | None,
) -> Story | DetectorStory:
    """Measure a run's network and check its data."""
    lines = artifacts.read_lines(folder / journal.JOURNAL)
    named: dict[str, Any] = {
        "name": folder.resolve().name,
        "manifest": manifest,
        "records": lines,
    }
    if isinstance(checkpoint, DetectorCheckpoint):
        found = evaluate_detectors.examine(checkpoint, opening_data.with_boxes(data), device=device)
        named |= {"check": _checked(data, findings)}
        return DetectorStory(checkpoint=checkpoint, examination=found, **named)
    examined = evaluate.examine(folder / FINISHED, data, split=_split(lines), device=device)
    named |= {"check": _checked(data, findings)}
    return Story(checkpoint=checkpoints.classifier(checkpoint), examination=examined, **named)


def _checked(data: Data, findings: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return data.check().to_dict() if findings is None else findings


def _split(records: Sequence[Mapping[str, Any]]) -> Literal["test", "validation"]:
    return "test" if journal.split(records) == "test" else "validation"
