"""Plots for a page: shapes are SVG that stretches, texts are HTML that does not.

So a plot is as wide as there is room and its letters are as large as all others. Places are shares
of the plot, in percent, from its lower left.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from resnets.experiment.page.markup import element

_MOST_POINTS: Final = 400  # of a line; a plot has no more pixels to show them


@dataclass(frozen=True, slots=True)
class Axis:
    """From where to where an axis goes, and which values are written at it.

    Args:
        name: What it is of, with the unit.
        low: Its beginning.
        high: Its end, above `low`.
        marks: Values and their texts.
    """

    name: str
    low: float
    high: float
    marks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Return where a value is, in percent of the axis; beyond its ends, at them."""
        return 100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def axis(name: str, high: float, *, about: int = 5) -> Axis:
    """Return an axis from 0 to a round number at or above `high`, with some round values on it."""
    step = _round_step(high / about) if 0 < high < math.inf else 1.0
    count = max(1, math.ceil(high / step - 1e-9)) if 0 < high < math.inf else 1
    marks = tuple((i * step, f"{round(i * step, 12):,.12g}") for i in range(count + 1))
    return Axis(name, 0.0, count * step, marks)


def percent_axis(name: str) -> Axis:
    """Return an axis of shares from 0 to 1, written in percent."""
    return Axis(name, 0.0, 1.0, tuple((i / 5, f"{20 * i} %") for i in range(6)))


@dataclass(frozen=True, slots=True)
class Line:
    """A curve. `kind` is its class in the style sheet; `dots` shows each of its points."""

    kind: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


def lines(curves: Iterable[Line], x: Axis, y: Axis, *, alt: str, size: str = "") -> Element:
    """Return a plot of curves.

    Args:
        curves: Drawn in their order, so the last one on top.
        x: The horizontal axis.
        y: The vertical axis.
        alt: What the plot shows, for those who cannot see it.
        size: A class of the style sheet that says how high it is.
    """
    shapes = [shape for each in curves if each.x for shape in _line(each, x, y)]
    return frame(shapes, x, y, alt=alt, size=size)


def frame(shapes: Iterable[Element], x: Axis, y: Axis, *, alt: str, size: str = "") -> Element:
    """Return a plot of shapes that `path` and `bar` make."""
    grid = [
        path("grid", f"M0 {100 - y.share(value):.2f}H100") for value, _ in y.marks if value > y.low
    ]
    drawing = element(
        "svg",
        grid,
        shapes,
        path("ground", "M0 100H100"),
        viewBox="0 0 100 100",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    down = [element("span", text, style=f"bottom:{y.share(value):.2f}%") for value, text in y.marks]
    along = [element("span", text, style=f"left:{x.share(value):.2f}%") for value, text in x.marks]
    return element(
        "div",
        element("div", y.name, class_="y-name"),
        element("div", down, class_="y-marks"),
        element("div", drawing, class_="field"),
        element("div", along, class_="x-marks"),
        element("div", x.name, class_="x-name"),
        class_=f"plot {size}".strip(),
        role="img",
        aria_label=alt,
    )


def path(kind: str, d: str, title: str | None = None) -> Element:
    """Return a line along SVG path data; `title` shows when it is pointed at."""
    told = None if title is None else element("title", title)
    return element("path", told, class_=kind, d=d)


def bar(
    kind: str, left: float, right: float, bottom: float, top: float, title: str | None = None
) -> Element:
    """Return a rectangle between shares of the plot, in percent."""
    told = None if title is None else element("title", title)
    return element(
        "rect",
        told,
        class_=kind,
        x=f"{left:.2f}",
        y=f"{100 - top:.2f}",
        width=f"{right - left:.2f}",
        height=f"{top - bottom:.2f}",
    )


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return as many points as a plot can show: means of neighbours where there are more."""
    group = math.ceil(len(x) / _MOST_POINTS) if x else 1
    parts = [slice(i, i + group) for i in range(0, len(x), group)]
    return [_mean(x[part]) for part in parts], [_mean(y[part]) for part in parts]


def _line(curve: Line, x: Axis, y: Axis) -> Iterator[Element]:
    places = [
        f"{x.share(a):.2f} {100 - y.share(b):.2f}" for a, b in zip(curve.x, curve.y, strict=True)
    ]
    yield path(f"line {curve.kind}", "M" + "L".join(places))
    if curve.dots or len(places) == 1:
        # A line of no length has round ends, and these are not stretched as a circle would be.
        yield path(f"line {curve.kind} dots", "".join(f"M{place}h0" for place in places))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _round_step(least: float) -> float:
    """Return 1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))
