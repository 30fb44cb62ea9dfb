"""The head of a page: the result, and in a few sentences what to know of it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from resnets.core import progress
from resnets.evaluation import answers
from resnets.experiment import journal
from resnets.experiment.page import checked, markup
from resnets.experiment.page.markup import Part, element, name
from resnets.experiment.page.story import PERCENT, Story, Told, images, interval, percent

_TOP_5_FROM: Final = 6  # classes; among fewer every image is a hit at 5


def head(story: Story) -> Element:
    """Return the title, the error and the other numbers worth a glance."""
    found = story.evaluation
    result = [
        element("div", f"{found.split} error", class_="label"),
        element("div", f"{found.top1_error_percent:.2f}{PERCENT}", class_="big"),
        element("div", f"95 % interval {interval(found.top1_interval_percent)}"),
        element("div", f"{story.wrong:,} of {images(found.images)} wrong"),
    ]
    return header(story, result, _numbers(story), f"Measured on {found.protocol}.")


def header(
    story: Told, result: Sequence[Element], numbers: Iterable[Element], protocol: str
) -> Element:
    """Return the head of any run's page.

    Args:
        story: What it tells of.
        result: What was measured, in large, and lines below it.
        numbers: From `number`.
        protocol: How it was measured, in a sentence.
    """
    hero = [element("div", result, class_="result"), element("dl", list(numbers))]
    return element(
        "header",
        element("p", "Training report", class_="kicker"),
        element("h1", name(story.name)),
        element("div", hero, class_="hero"),
        element("p", protocol, class_="protocol"),
    )


def in_short(story: Story) -> Element:
    """Return what somebody should know who reads nothing else."""
    return listed(_sentences(story))


def listed(sentences: Iterable[Sequence[Part]]) -> Element:
    """Return sentences as the section that says all in short."""
    told = [element("li", sentence) for sentence in sentences]
    return markup.section("in-short", "In short", element("ul", told, class_="plain"))


def chosen(story: Told, things: str, others: str) -> Iterator[list[Part]]:
    """Yield that the best was kept, where it was; `others` is what that means for other images."""
    if story.manifest["recipe"].get("keep") == "best":
        measured = len(journal.errors(story.records))
        yield [
            f"It is the best of {measured:,} {things} that were measured on these same images, so "
            f"on others {others}."
        ]


def to_look_at(story: Told) -> Iterator[list[Part]]:
    """Yield how much the data check found, where it found something."""
    if bad := checked.serious(story.check):
        yield [f"The data check found {bad} thing{'s' * (bad != 1)} to look at, listed below."]


def training_time(story: Told) -> str | None:
    """Return how long the updates took, without evaluations and saving."""
    seconds = journal.training_s(story.records, story.manifest["recipe"]["batch_images"])
    return progress.duration(seconds) if seconds else None


def _numbers(story: Story) -> Iterator[Element]:
    found = story.evaluation
    if len(story.checkpoint.classes) >= _TOP_5_FROM:
        yield number("top-5 error", f"{found.top5_error_percent:.2f}{PERCENT}")
    yield number("classes", f"{len(story.checkpoint.classes):,}")
    error = story.calibration.error
    if error is not None:
        yield number("calibration error", percent(100 * error))
    time = training_time(story)
    if time:
        yield number("training", time)


def number(label: str, value: str) -> Element:
    """Return a number with what it is, for the head."""
    return element("div", element("dt", label), element("dd", value))


def _sentences(story: Story) -> Iterator[list[Part]]:
    found, worst = story.evaluation, story.classes[0]
    right = found.images - story.wrong
    yield [
        f"Of {images(found.images)} it has not trained on, the network names "
        f"{right:,} rightly ({percent(100 * right / found.images)})."
    ]
    yield from chosen(story, "networks", "its error may be somewhat higher")
    if len(story.classes) > 1 and worst.wrong:
        yield [
            "Hardest class: ",
            name(story.class_name(worst.label)),
            f", {worst.wrong:,} of {images(worst.images)} wrong ({percent(worst.error_percent)}).",
        ]
    pairs = answers.most_confused(story.confusion, 1)
    if pairs:
        yield [
            "Most common mistake: ",
            name(story.class_name(pairs[0].label)),
            " taken for ",
            name(story.class_name(pairs[0].predicted)),
            f" ({images(pairs[0].images)}).",
        ]
    yield [said_of_probabilities(story)]
    yield from to_look_at(story)


def said_of_probabilities(story: Story) -> str:
    """Return in a sentence how far the probabilities can be believed."""
    found, chance = story.calibration, story.calibration_by_chance
    if found.error is None or found.probability is None or found.accuracy is None or chance is None:
        return "Its answers come without probabilities: its scores are no numbers."
    said = (
        f"on average it says {percent(100 * found.probability)}, "
        f"and {percent(100 * found.accuracy)} are right"
    )
    if found.error <= chance[1]:
        return f"Its probabilities can be believed: {said}."
    if found.probability > found.accuracy:
        return f"It is surer than it should be: {said}."
    return f"It is less sure than it could be: {said}."
