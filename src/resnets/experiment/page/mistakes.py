"""Where the network goes wrong: the error of each class, and which classes it takes for which."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from resnets.evaluation import answers
from resnets.evaluation.answers import NO_ANSWER, OfClass
from resnets.experiment.page import markup, plots
from resnets.experiment.page.markup import element, name
from resnets.experiment.page.story import Story, images, interval, percent

MATRIX_CLASSES: Final = 40  # of more a matrix could not be read

_OPEN_CLASSES: Final = 40  # that are listed at once; the others unfold
_MOST_CLASSES: Final = 1000
_PAIRS: Final = 12
_SMALL_FROM: Final = 17  # classes from which the cells are small
_HEAD_LETTERS: Final = 20


def by_class(story: Story) -> Element:
    """Return the error of each class, the worst first, with its interval."""
    shown = story.classes[:_MOST_CLASSES]
    ends = [each.interval_percent for each in shown]
    up = plots.axis("", min(100.0, max(high for _, high in filter(None, ends))), about=4)
    first, rest = shown[:_OPEN_CLASSES], shown[_OPEN_CLASSES:]
    said = (
        f"The worst first. The line across a bar is the 95 % interval; bars end at {up.high:g} %. "
        "Precision is the share of the answers of a class that were right."
    )
    if unseen := len(story.checkpoint.classes) - len(story.classes):
        said += f" {unseen:,} of the classes have no image here."
    more = None
    if rest:
        summary = element("summary", f"The other {len(rest):,} classes")
        more = element("details", summary, _table(story, rest, up))
    left = len(story.classes) - len(shown)
    return markup.section(
        "classes",
        "Error of each class",
        element("p", said),
        _table(story, first, up),
        more,
        markup.prose(f"{left:,} more are in `resnets evaluate RUN --per-class`.") if left else None,
    )


def confusion(story: Story) -> Element:
    """Return which classes are taken for which: as a matrix where it can be read, and as a list."""
    known = len(story.checkpoint.classes)
    if known > MATRIX_CLASSES:
        told = f"With {known:,} classes, the pairs that are mixed up most:"
        return markup.section("confusion", "Confusions", element("p", told), _pairs(story))
    told = (
        "Images of each class (a row) by what the network said (a column). "
        "Strong colour: a large share of its row."
    )
    return markup.section(
        "confusion",
        "Confusion matrix",
        element("p", told),
        element(
            "div",
            markup.scrolling(_matrix(story), "Confusion matrix"),
            element("div", element("h3", "Mixed up most"), _pairs(story)),
            class_="matrix-and-pairs",
        ),
    )


def _table(story: Story, rows: Sequence[OfClass], up: plots.Axis) -> Element:
    body = [
        (
            name(story.class_name(each.label)),
            _bar(each, up),
            percent(each.error_percent),
            interval(each.interval_percent),
            f"{each.wrong:,} of {each.images:,}",
            percent(each.precision_percent),
        )
        for each in rows
    ]
    names = ("class", "", "error", "95 % interval", "wrong", "precision")
    return markup.table("classes", "Error of each class", names, body, range(2, 6))


def _bar(each: OfClass, up: plots.Axis) -> Element:
    error, ends = each.error_percent, each.interval_percent
    assert error is not None
    assert ends is not None
    low, high = map(up.share, ends)
    return element(
        "div",
        element("div", class_="bar", style=f"width:{up.share(error):.2f}%"),
        element("div", class_="whisker", style=f"left:{low:.2f}%;width:{high - low:.2f}%"),
        class_="track",
        aria_hidden="true",
    )


def _matrix(story: Story) -> Element:
    known = range(len(story.checkpoint.classes))
    silent = any(predicted == NO_ANSWER for _, predicted in story.confusion)
    columns = [*known, *([NO_ANSWER] if silent else [])]
    head = element(
        "thead",
        element(
            "tr",
            element("td", "own class", class_="corner"),
            [element("th", name(story.class_name(k), _HEAD_LETTERS), scope="col") for k in columns],
        ),
    )
    totals = {each.label: each.images for each in story.classes}
    kind = "matrix small" if len(columns) >= _SMALL_FROM else "matrix"
    body = [
        element(
            "tr",
            element("th", name(story.class_name(label), _HEAD_LETTERS), scope="row"),
            [_cell(story, label, column, totals.get(label, 0)) for column in columns],
        )
        for label in known
    ]
    return element("table", head, element("tbody", body), class_=kind)


def _cell(story: Story, label: int, column: int, total: int) -> Element:
    count = story.confusion.get((label, column), 0)
    kind = "right" if label == column else "wrong"
    if not count:
        return element("td", "·" if total else "", class_="none")
    # The root lets single mistakes of a large class be seen.
    share = count / total if kind == "right" else (count / total) ** 0.5
    said = f"{images(count)} of {story.class_name(label)}: {story.class_name(column)}"
    return element("td", f"{count:,}", class_=kind, style=f"--share:{share:.2f}", title=said)


def _pairs(story: Story) -> Element:
    found = answers.most_confused(story.confusion, _PAIRS)
    if not found:
        return element("p", "None: every answer was right.")
    totals = {each.label: each.images for each in story.classes}
    body = [
        (
            name(story.class_name(each.label)),
            name(story.class_name(each.predicted)),
            f"{each.images:,}",
            percent(100 * each.images / totals[each.label]),
        )
        for each in found
    ]
    names = ("own class", "taken for", "images", "share of the class")
    return markup.table("pairs", "Classes that are mixed up most", names, body, range(2, 4))
