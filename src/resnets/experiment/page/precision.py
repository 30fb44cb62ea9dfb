"""How precise a detector is: the average precision of each class, and the curve behind it."""

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from resnets.detection.mistakes import OfClass
from resnets.experiment.page import markup, plots
from resnets.experiment.page.detector_story import SURELY, DetectorStory
from resnets.experiment.page.markup import element, name
from resnets.experiment.page.plots import Line
from resnets.experiment.page.story import percent
from resnets.inference.detector import SURE

_OPEN_CLASSES: Final = 40  # that are listed at once; the others unfold
_MOST_CLASSES: Final = 1000
_OPEN_CURVES: Final = 24
_MOST_CURVES: Final = 100


def by_class(story: DetectorStory) -> Element:
    """Return the average precision of each class, the lowest first."""
    shown = story.classes[:_MOST_CLASSES]
    first, rest = shown[:_OPEN_CLASSES], shown[_OPEN_CLASSES:]
    said = (
        "The lowest average precision first. Found is the share of the objects, right the share of "
        f"the detections, with a score of {SURELY} or more, which is what `resnets predict` tells."
    )
    return markup.section(
        "classes",
        "Average precision of each class",
        markup.prose(said),
        _table(story, first) if first else element("p", "No class has an object here."),
        _unfolding(f"The other {len(rest):,} classes", _table(story, rest)) if rest else None,
    )


def curves(story: DetectorStory) -> Element | None:
    """Return the precision-recall curve of each class, the lowest average precision first."""
    shown = story.classes[:_MOST_CURVES]
    if not shown:
        return None
    first, rest = shown[:_OPEN_CURVES], shown[_OPEN_CURVES:]
    keys = element(
        "p",
        _key("training", "precision at each recall"),
        _key("evaluation", "the best at this recall or a higher one: the area is averaged"),
        _key("sure", f"score of {SURELY}"),
        class_="keys",
    )
    return markup.section(
        "precision-recall",
        "Precision and recall",
        keys,
        _grid(story, first),
        _unfolding(f"{len(rest):,} more classes", _grid(story, rest)) if rest else None,
    )


def _table(story: DetectorStory, rows: Sequence[OfClass]) -> Element:
    body = [
        (
            name(story.class_name(each.label)),
            _bar(story.ap_percent(each.label)),
            percent(story.ap_percent(each.label)),
            f"{each.objects:,}",
            _percent(each.recall),
            _percent(each.precision),
        )
        for each in rows
    ]
    names = ("class", "", "average precision", "objects", "found", "right")
    return markup.table("classes", "Average precision of each class", names, body, range(2, 6))


def _bar(ap_percent: float | None) -> Element:
    style = f"width:{ap_percent or 0:.2f}%"
    return element("div", element("div", class_="bar right", style=style), class_="track")


def _grid(story: DetectorStory, rows: Sequence[OfClass]) -> Element:
    return element("div", [_curve(story, each) for each in rows], class_="curves")


def _curve(story: DetectorStory, each: OfClass) -> Element:
    curve = story.curves[each.label]
    recall, precision = curve.recall_n.tolist(), curve.precision_n.tolist()
    lines = [Line("training", *plots.thinned(recall, precision))]
    if recall:
        across, up = plots.thinned(recall, curve.best_precision_n.tolist())
        lines.append(Line("evaluation", [0.0, *across, across[-1]], [up[0], *up, 0.0]))
    sure = int((curve.scores_n >= SURE).sum())
    if sure:
        lines.append(Line("sure", [recall[sure - 1]], [precision[sure - 1]], dots=True))
    own, ap = story.class_name(each.label), percent(story.ap_percent(each.label))
    alt = f"Precision against recall of {own}: average precision {ap}."
    axes = plots.percent_axis("recall"), plots.percent_axis("precision")
    caption = element("figcaption", name(own, 30), element("span", ap, class_="number"))
    return element("figure", caption, plots.lines(lines, *axes, alt=alt, size="small"))


def _unfolding(told: str, inside: Element) -> Element:
    return element("details", element("summary", told), inside)


def _percent(share: float | None) -> str:
    return percent(None if share is None else 100 * share)


def _key(kind: str, text: str) -> Element:
    return element("span", element("i", class_=f"swatch {kind}"), text, class_="key")
