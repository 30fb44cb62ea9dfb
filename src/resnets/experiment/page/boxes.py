"""Where a detector goes wrong: kinds of mistakes counted, and pictures with the boxes drawn."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

from PIL import Image, ImageDraw

from resnets.core.errors import DataError
from resnets.data.preprocess import FILTERS
from resnets.detection.mistakes import KINDS, RIGHT_OVERLAP, Box, Kind, Missed, Mistake
from resnets.experiment.page import markup
from resnets.experiment.page.detector_story import SHOWN, SURELY, DetectorStory
from resnets.experiment.page.markup import Part, element, name
from resnets.experiment.page.story import PERCENT
from resnets.inference.detector import SURE

_PICTURE_PX: Final = 240
_ENLARGED: Final = 4  # times at most
_AROUND: Final = 2.2  # the side of what is shown, of the longer side of the boxes in it
_LEAST_SHARE: Final = 3  # a third of the picture's shorter side at least is shown
_LINE_PX: Final = 2
# Seen on any photo, with a dark line around: `swatch said` and `swatch there` of the style sheet.
_SAID: Final = (255, 132, 60)
_THERE: Final = (110, 168, 255)
_DARK: Final = (0, 0, 0)

_MEANING: Final[dict[Kind, str]] = {
    "wrong class": "on an object of another class",
    "poor overlap": f"on an object, but with an overlap below {RIGHT_OVERLAP:g}",
    "found twice": "on an object that a surer detection has found",
    "background": "on nothing that is labelled",
}


def kinds(story: DetectorStory) -> Element:
    """Return how many mistakes of each kind there are among what `resnets predict` tells."""
    review = story.review
    rows: list[tuple[Part, ...]] = [
        (kind, f"{review.counted(kind):,}", _MEANING[kind]) for kind in KINDS
    ]
    rows.append(("missed", f"{len(review.missed):,}", "objects that nothing found so surely"))
    said = (
        f"Of what `resnets predict` tells, with a score of {SURELY} or more, these are no object "
        "to be found."
    )
    names = ("what", "how many", "where")
    table = markup.table("pairs", "Mistakes by their kind", names, rows, range(1, 2))
    return markup.section("kinds", "Kinds of mistakes", markup.prose(said), table)


def mistakes(story: DetectorStory) -> Element:
    """Return pictures of the mistakes with the highest scores."""
    found = story.review.mistakes[:SHOWN]
    if not found:
        told = element("p", "None: every detection is right.")
        return markup.section("mistakes", "Most confident mistakes", told)
    said = (
        "The surest first. Look for objects that nobody has labelled among the background, for "
        "labels that are wrong, and for what the training images lack."
    )
    if found[-1].score < SURE:
        said += (
            f" Those below {SURELY} `resnets predict` does not tell of, unless --top asks it to."
        )
    told = markup.prose(said)
    keys = element("p", _key("said", "what was said"), _key("there", "the object"), class_="keys")
    figures = [_mistake(story, each) for each in found]
    return markup.section("mistakes", "Most confident mistakes", told, keys, _gallery(figures))


def missed(story: DetectorStory) -> Element | None:
    """Return pictures of objects that were missed: what nothing found, the largest first."""
    found = _in_turn(story.review.missed)[:SHOWN]
    if not found:
        return None
    told = (
        f"Objects that no detection with a score of {SURELY} or more found, of each class in turn: "
        "those that none found at all first, and the largest of these."
    )
    figures = [_missed(story, each) for each in found]
    return markup.section("missed", "Missed objects", element("p", told), _gallery(figures))


def _in_turn(missed: Sequence[Missed]) -> list[Missed]:
    """Return the first of each class, then the second of each, and so on."""
    before: Counter[int] = Counter()
    turns = []
    for each in missed:
        turns.append(before[each.there.label])
        before[each.there.label] += 1
    return [missed[n] for n in sorted(range(len(missed)), key=turns.__getitem__)]


def _mistake(story: DetectorStory, each: Mistake) -> Element:
    said = story.class_name(each.label)
    answer = element(
        "div",
        name(said, 30),
        element("span", _percent(each.score), class_="number"),
        class_="answer wrong",
    )
    why = element("div", list(_why(story, each)))
    boxes = [(each.there.box_px, _THERE)] if each.there else []
    alt = f"{each.kind}: {said}"
    return _figure(story, each.image, [*boxes, (each.box_px, _SAID)], alt, answer, why)


def _why(story: DetectorStory, each: Mistake) -> list[Part]:
    if each.there is None:
        return ["background"]
    own = name(story.class_name(each.there.label), 30)
    told: dict[Kind, list[Part]] = {
        "wrong class": ["wrong class: is ", own],
        "poor overlap": [f"poor overlap: {each.overlap:.2f}"],
        "found twice": ["found twice"],
        "background": ["background"],
    }
    return told[each.kind]


def _missed(story: DetectorStory, each: Missed) -> Element:
    own = story.class_name(each.there.label)
    answer = element("div", name(own, 30), class_="answer")
    told = "not found" if each.score is None else f"found with {_percent(each.score)}"
    boxes = [(each.there.box_px, _THERE)]
    return _figure(story, each.image, boxes, f"missed: {own}", answer, element("div", told))


def _figure(
    story: DetectorStory,
    image: int,
    boxes: Sequence[tuple[Box, tuple[int, int, int]]],
    alt: str,
    *told: Element,
) -> Element:
    files = story.examination.files
    try:
        shown = drawn(files.image(image), boxes)
        picture = markup.picture(shown, _PICTURE_PX, f"{alt}: {files.names[image]}")
    except DataError:  # its file has changed since it was measured, a moment ago
        picture = element("div", "cannot be read any more", class_="missing")
    file = element("div", name(files.names[image]), class_="file")
    caption = element("figcaption", *told, file)
    return element("figure", element("div", picture, class_="frame"), caption)


def drawn(image: Image.Image, boxes: Sequence[tuple[Box, tuple[int, int, int]]]) -> Image.Image:
    """Return what is around boxes in an image, with the boxes drawn, the last one on top.

    Args:
        image: 8-bit RGB; it is left as it is.
        boxes: In pixels of it, each with its colour; those that are not finite are not drawn.
    """
    known = [(box, colour) for box, colour in boxes if all(map(math.isfinite, box))]
    left, top, right, bottom = around([box for box, _ in known], *image.size)
    cut = image.crop((left, top, right, bottom))
    scale = min(_ENLARGED, _PICTURE_PX / max(cut.size))
    size = (max(1, round(cut.width * scale)), max(1, round(cut.height * scale)))
    shown = cut.resize(size, FILTERS["bicubic"])
    pen = ImageDraw.Draw(shown)
    for box, colour in known:
        at = [(value - first) * scale for value, first in zip(box, (left, top) * 2, strict=True)]
        corners = (at[0], at[1], max(at[0], at[2] - 1), max(at[1], at[3] - 1))
        pen.rectangle(_grown(corners, 1), outline=_DARK, width=_LINE_PX + 2)
        pen.rectangle(corners, outline=colour, width=_LINE_PX)
    return shown


def around(boxes: Sequence[Box], width: int, height: int) -> tuple[int, int, int, int]:
    """Return the part of an image to show: boxes and what is around them, as square as can be.

    Args:
        boxes: In pixels of it; of none the whole image is shown.
        width: Of the image.
        height: Of the image.
    """
    if not boxes:
        return 0, 0, width, height
    left, top = (min(box[side] for box in boxes) for side in (0, 1))
    right, bottom = (max(box[side] for box in boxes) for side in (2, 3))
    least = min(width, height) / _LEAST_SHARE
    side = max(_AROUND * max(right - left, bottom - top), least)
    across = _window((left + right) / 2, side, width)
    down = _window((top + bottom) / 2, side, height)
    return across[0], down[0], across[1], down[1]


def _window(middle: float, side: float, length: int) -> tuple[int, int]:
    """Return where a window begins and ends that stays inside a length."""
    wide = max(1, min(length, round(side)))
    begin = min(max(0, round(middle - wide / 2)), length - wide)
    return begin, begin + wide


def _grown(box: Box, by: float) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _gallery(figures: Sequence[Element]) -> Element:
    return element("div", figures, class_="gallery scenes")


def _key(kind: str, text: str) -> Element:
    return element("span", element("i", class_=f"swatch {kind}"), text, class_="key")


def _percent(score: float) -> str:
    return "no number" if math.isnan(score) else f"{100 * score:.1f}{PERCENT}"
