"""How sure the network is: its calibration, and the pictures it is surest wrong about."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from resnets.core.errors import DataError
from resnets.evaluation.calibration import BINS, Bin
from resnets.experiment.page import markup, plots, summary
from resnets.experiment.page.markup import element, name
from resnets.experiment.page.story import PERCENT, Story, images, percent

_MISTAKES: Final = 24
_UNSURE: Final = 12
_PICTURE_PX: Final = 160


def calibration(story: Story) -> Element:
    """Return the reliability diagram and what it says.

    Source: Guo et al. 2017, sec. 2, eq. (3), Fig. 1.
    """
    found, chance = story.calibration, story.calibration_by_chance
    left_out = f"{images(found.left_out)} without a probability left out." if found.left_out else ""
    if found.error is None or chance is None:
        return markup.section("calibration", "Calibration", element("p", left_out))
    told = (
        f"The expected calibration error is {percent(100 * found.error)}: how far, on average, the "
        f"share of right answers is from the probability they were given, in {BINS} bins. Perfect "
        f"probabilities would show {percent(100 * chance[0])} on {images(found.images)}, by chance "
        f"alone, and up to {percent(100 * chance[1])} in 95 of 100 cases. {left_out}"
    )
    key = (
        "A bar is the share of right answers among those of its probability, the line across it "
        "the 95 % interval; on the dashed line they are equal."
    )
    return markup.section(
        "calibration",
        "Calibration",
        element("p", element("strong", summary.said_of_probabilities(story))),
        element("p", told),
        element(
            "div",
            element("div", _reliability(found.bins), _counts(found.bins), class_="square"),
            element("p", key, class_="side"),
            class_="beside",
        ),
    )


def mistakes(story: Story) -> Element:
    """Return the pictures of the wrong answers that were given with the highest probability."""
    places = story.examination.answers.confident_mistakes(_MISTAKES)
    if not places:
        none = element("p", "None: every answer was right.")
        return markup.section("mistakes", "Most confident mistakes", none)
    told = (
        "Wrong answers, the surest first. Look for labels that are wrong, for pictures of two "
        "classes, and for what the training images lack."
    )
    return markup.section(
        "mistakes", "Most confident mistakes", element("p", told), _gallery(story, places)
    )


def unsure(story: Story) -> Element | None:
    """Return the pictures of the right answers that were given with the lowest probability."""
    places = story.examination.answers.unsure_hits(_UNSURE)
    if not places or len(story.checkpoint.classes) < 2:
        return None
    told = element("p", "Right answers, the least sure first: more images like these would help.")
    return markup.section("unsure", "Right, but only just", told, _gallery(story, places))


def _reliability(bins: Sequence[Bin]) -> Element:
    shapes = []
    for each in bins:
        if each.accuracy is None or each.interval is None or each.probability is None:
            continue
        said = (
            f"{images(each.images)} of probability {each.low:.0%} to {each.high:.0%}: "
            f"{each.accuracy:.1%} right"
        )
        left, right = 100 * each.low, 100 * each.high
        shapes.append(plots.bar("reliability", left, right, 0, 100 * each.accuracy, said))
        low, high = each.interval
        middle = 100 * each.probability
        whisker = f"M{middle:.2f} {100 - 100 * low:.2f}V{100 - 100 * high:.2f}"
        shapes.append(plots.path("whisker", whisker, said))
    shapes.append(plots.path("ideal", "M0 100L100 0"))
    said = "; ".join(
        f"{each.low:.0%} to {each.high:.0%}: {each.accuracy:.0%} of {each.images} right"
        for each in bins
        if each.accuracy is not None
    )
    across = plots.percent_axis("probability of the answer")
    up = plots.percent_axis("right answers")
    return plots.frame(shapes, across, up, alt=f"Reliability diagram. {said}.")


def _counts(bins: Sequence[Bin]) -> Element:
    up = plots.axis("images", max(each.images for each in bins), about=2)
    shapes = [
        plots.bar(
            "count",
            100 * each.low,
            100 * each.high,
            0,
            up.share(each.images),
            f"{images(each.images)} of probability {each.low:.0%} to {each.high:.0%}",
        )
        for each in bins
        if each.images
    ]
    across = plots.percent_axis("probability of the answer")
    return plots.frame(
        shapes, across, up, alt="How many images have which probability.", size="low"
    )


def _gallery(story: Story, places: Sequence[int]) -> Element:
    return element("div", [_picture(story, place) for place in places], class_="gallery")


def _picture(story: Story, place: int) -> Element:
    given = story.examination.answers
    index, label = int(given.index_n[place]), int(given.labels_n[place])
    predicted = int(given.predicted_n[place])
    own, said = story.class_name(label), story.class_name(predicted)
    file = story.examination.names[index]
    wrong = label != predicted
    answer = element(
        "div",
        name(said, 30),
        element("span", _probability(float(given.probability_n[place])), class_="number"),
        class_="answer wrong" if wrong else "answer",
    )
    truth = element(
        "div",
        f"is {'' if wrong else 'indeed '}",
        name(own, 30),
        f" ({_probability(float(given.of_label_n[place]))})" if wrong else None,
    )
    caption = element("figcaption", answer, truth, element("div", name(file), class_="file"))
    shown = _shown(story, index, f"{own}, answered {said}: {file}")
    return element("figure", element("div", shown, class_="frame"), caption)


def _shown(story: Story, index: int, alt: str) -> Element:
    try:
        return markup.picture(story.examination.image(index), _PICTURE_PX, alt)
    except DataError:  # its file has changed since it was measured, a moment ago
        return element("div", "cannot be read any more", class_="missing")


def _probability(value: float) -> str:
    if value != value:
        return "no number"
    if value > 0.99995:
        return f"> 99.99{PERCENT}"
    return f"{100 * value:.{1 if value < 0.9995 else 2}f}{PERCENT}"
