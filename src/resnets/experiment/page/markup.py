"""HTML as a tree of elements: what is put in is text unless it is an element, and so is escaped."""

import base64
import io
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final
from xml.etree.ElementTree import Element

from PIL import Image

from resnets.data.preprocess import FILTERS

# What a part of a page may be given as; None is nothing.
Part = Element | str | None

# Nothing is loaded from anywhere and nothing runs, whatever a name should smuggle in.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_ODD: Final = ("Cc", "Cs", "Cf")  # Unicode's control characters, halves of pairs, and format
_KEPT: Final = "\n\t\u200d"  # the last one joins emoji
_WITHOUT_END: Final = ("br", "img", "meta")
_NAME_LETTERS: Final = 60


def element(tag: str, *inside: Part | Iterable[Part], **attributes: str | None) -> Element:
    """Return an element of HTML or SVG.

    Args:
        tag: Its name.
        inside: Elements and texts, or series of them, in their order.
        attributes: By name, with "_" for "-"; `class_` is the class. None is left out.
    """
    named = {
        key.rstrip("_").replace("_", "-"): printable(value)
        for key, value in attributes.items()
        if value is not None
    }
    made = Element(tag, named)
    for part in inside:
        for each in (part,) if part is None or isinstance(part, Element | str) else part:
            _add(made, each)
    return made


def page(title: str, style: str, *body: Part | Iterable[Part]) -> bytes:
    """Return a whole page as UTF-8.

    Args:
        title: Of the window.
        style: The style sheet.
        body: What the page shows.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    html = element("html", head, element("body", *body), lang="en")
    return f"<!DOCTYPE html>\n{_written(html)}\n".encode()


def section(name: str, heading: str, *inside: Part | Iterable[Part]) -> Element:
    """Return a section of the page; `name` is what links to it end in."""
    title = element("h2", heading, id=f"{name}-heading")
    return element("section", title, *inside, id=name, aria_labelledby=f"{name}-heading")


def prose(text: str) -> Element:
    """Return a paragraph; what stands between backticks is a command. For words of ours alone."""
    parts = text.split("`")
    return element("p", [element("code", t) if i % 2 else t for i, t in enumerate(parts)])


def facts(pairs: Iterable[tuple[str, Part]]) -> Element:
    """Return a list of names and what they are; those without are left out."""
    told = [(name, what) for name, what in pairs if what is not None and what != ""]
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", what)) for name, what in told],
        class_="facts",
    )


def table(
    kind: str, label: str, names: Sequence[str], rows: Iterable[Sequence[Part]], numbers: range
) -> Element:
    """Return a table whose rows are headed by their first cells.

    Args:
        kind: Its class in the style sheet.
        label: What it is of.
        names: Of the columns.
        rows: What stands in each.
        numbers: The columns that hold numbers.
    """

    def cell(tag: str, place: int, inside: Part, scope: str | None) -> Element:
        kind = "number" if place in numbers else None
        return element(tag, inside, scope=scope, class_=kind)

    head = element("tr", [cell("th", i, each, "col") for i, each in enumerate(names)])
    body = [
        element(
            "tr",
            cell("th", 0, first, "row"),
            [cell("td", i, each, None) for i, each in enumerate(others, start=1)],
        )
        for first, *others in rows
    ]
    made = element("table", element("thead", head), element("tbody", body), class_=kind)
    return scrolling(made, label)


def scrolling(inside: Element, label: str) -> Element:
    """Return a frame in which something wider than a phone can be moved sideways."""
    return element("div", inside, class_="wide", tabindex="0", role="region", aria_label=label)


def name(text: str, letters: int = _NAME_LETTERS) -> Element:
    """Return a name of a class or a file; a long one without its middle, until pointed at."""
    shown = text
    if len(text) > letters:
        ends = letters // 2
        shown = f"{text[:ends]}…{text[-ends:]}"
    return element("bdi", shown, class_="name", title=None if shown == text else text)


def picture(image: Image.Image, longest_px: int, alt: str) -> Element:
    """Return an image, made small and put into the page as JPEG.

    Args:
        image: 8-bit RGB; it is left as it is.
        longest_px: What the longer side is at most.
        alt: What is to be said of it to those who cannot see it.
    """
    scale = min(1.0, longest_px / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image if size == image.size else image.resize(size, FILTERS["bicubic"])
    made = io.BytesIO()
    small.save(made, "JPEG", quality=88, subsampling=0, optimize=True)
    coded = base64.b64encode(made.getvalue()).decode()
    return element(
        "img",
        src=f"data:image/jpeg;base64,{coded}",
        alt=alt,
        width=str(size[0]),
        height=str(size[1]),
        class_="tiny" if max(size) <= longest_px // 2 else None,
    )


def printable(text: str) -> str:
    """Return a text with a mark for each character that no page can show.

    A file name may hold bytes that are no UTF-8, control characters, and such as turn the direction
    of what follows them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        "\ufffd" if unicodedata.category(each) in _ODD and each not in _KEPT else each
        for each in text
    )


def _written(given: Element) -> str:
    """Return an element as HTML; ElementTree itself would leave "<" in attributes."""
    attributes = "".join(f' {key}="{escape(value)}"' for key, value in given.items())
    begin = f"<{given.tag}{attributes}>"
    if given.tag in _WITHOUT_END:
        return begin
    text = given.text or ""
    inside = [text if given.tag == "style" else escape(text, quote=False)]
    for each in given:
        inside += [_written(each), escape(each.tail or "", quote=False)]
    return f"{begin}{''.join(inside)}</{given.tag}>"


def _add(made: Element, part: Part) -> None:
    if part is None:
        return
    if isinstance(part, Element):
        made.append(part)
        return
    text = printable(part)
    if len(made):
        made[-1].tail = (made[-1].tail or "") + text
    else:
        made.text = (made.text or "") + text
