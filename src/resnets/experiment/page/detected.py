"""The head of a detector's page: its average precision, and in a few sentences what to know."""

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from resnets.detection.mistakes import KINDS
from resnets.experiment.page import summary
from resnets.experiment.page.detector_story import SURELY, DetectorStory
from resnets.experiment.page.markup import Part, element, name
from resnets.experiment.page.story import images, percent

# What of COCO's numbers is worth a glance beside AP at 0.5.
_MORE: Final = {"ap_percent": "AP at 0.5 to 0.95", "ap75_percent": "AP at 0.75"}


def head(story: DetectorStory) -> Element:
    """Return the title, the average precision and the other numbers worth a glance."""
    found = story.evaluation
    measured = len(story.classes)
    result = [
        element("div", f"{found.split} average precision", class_="label"),
        element("div", percent(story.ap50_percent), class_="big"),
        element("div", f"at an overlap of 0.5, mean of {measured:,} class{'es' * (measured != 1)}"),
        element("div", f"{story.found:,} of {_objects(story.objects)} found with {SURELY} or more"),
    ]
    return summary.header(story, result, _numbers(story), f"Measured by {found.protocol}.")


def in_short(story: DetectorStory) -> Element:
    """Return what somebody should know who reads nothing else."""
    return summary.listed(_sentences(story))


def _numbers(story: DetectorStory) -> Iterator[Element]:
    values = story.evaluation.values
    for key, label in _MORE.items():
        if key in values:
            yield summary.number(label, percent(values[key]))
    yield summary.number("images", f"{story.evaluation.images:,}")
    yield summary.number("objects", f"{story.objects:,}")
    yield summary.number("classes", f"{len(story.checkpoint.classes):,}")
    time = summary.training_time(story)
    if time:
        yield summary.number("training", time)


def _sentences(story: DetectorStory) -> Iterator[list[Part]]:
    wrong = story.review.sure_mistakes
    told = story.found + wrong
    yield [
        f"Of {_objects(story.objects)} in {images(story.evaluation.images)} it has not trained on, "
        f"it finds {story.found:,} with a score of {SURELY} or more{_share(story.found, story)}."
    ]
    if told:
        are = "is a mistake" if wrong == 1 else "are mistakes"
        share = percent(100 * wrong / told)
        yield [f"Of {told:,} detections that are as sure, {wrong:,} {are} ({share})."]
    yield from summary.chosen(story, "detectors", "it may be somewhat worse")
    yield from _hardest(story)
    if wrong:
        kind = max(KINDS, key=story.review.counted)
        yield [f"Most common mistake: {kind} ({story.review.counted(kind):,} of {wrong:,})."]
    if left_out := story.evaluation.left_out:
        shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        yield ["No object of these classes is here, so nothing is said of them: ", name(shown), "."]
    yield from summary.to_look_at(story)


def _hardest(story: DetectorStory) -> Iterator[list[Part]]:
    if len(story.classes) < 2:
        return
    worst = story.classes[0]
    yield [
        "Hardest class: ",
        name(story.class_name(worst.label)),
        f", average precision {percent(story.ap_percent(worst.label))}, {worst.found:,} of "
        f"{_objects(worst.objects)} found.",
    ]


def _objects(count: int) -> str:
    return f"{count:,} object{'s' * (count != 1)}"


def _share(found: int, story: DetectorStory) -> str:
    return f" ({percent(100 * found / story.objects)})" if story.objects else ""
