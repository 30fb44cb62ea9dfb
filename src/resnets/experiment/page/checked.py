"""What a check of the data found, from its JSON values: those of `resnets data check --json`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element

from resnets.experiment.page import markup
from resnets.experiment.page.markup import Part, element, name
from resnets.experiment.page.story import Told, images

_CASES: Final = 5  # shown of a finding
_IMAGES: Final = 3  # shown of a case
_SIDES: Final = {
    "width_px": "width",
    "height_px": "height",
    "shorter_px": "shorter side",
    "box_px": "side of a square as large as a box",
}
_PLURALS: Final = {"image": "images", "class": "classes", "box": "boxes"}
# What counts alone tell, where nothing is said of single images.
_COUNTED: Final = {
    "unreadable_images": ("error", "that cannot be read"),
    "repeated_images": ("warning", "with the same content as an earlier one"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of thing that was found.

    Args:
        severity: "error" spoils training or what is measured, "warning" may, "note" is good to
            know.
        what: "3 images in several splits".
        advice: What it means and what to do; may be empty.
        count: How many cases there are.
        cases: Each by the names in it; may be empty.
    """

    severity: str
    what: str
    advice: str
    count: int
    cases: Sequence[str] = ()


def section(story: Told) -> Element:
    """Return what there is in the data and what is wrong with it."""
    inside: list[Part] = []
    found = findings(story.check)
    if not story.check:
        inside.append(markup.prose("The data was not checked; `resnets data check` does."))
    elif not found:
        inside.append(element("p", "Nothing is wrong with it."))
    else:
        label = "What the check of the data found"
        rows = [_row(each) for each in found]
        inside.append(markup.table("findings", label, ("found", "which"), rows, range(0)))
    return markup.section("data", "Data check", *inside, markup.facts(_facts(story.check)))


def findings(check: Mapping[str, Any]) -> list[Finding]:
    """Return the findings, in their order; of a check that only counted, what the counts say."""
    if "findings" in check:
        return [_finding(each) for each in check["findings"]]
    return [
        Finding(severity, f"{images(check[key])} {what}", "", check[key])
        for key, (severity, what) in _COUNTED.items()
        if check.get(key)
    ]


def serious(check: Mapping[str, Any]) -> int:
    """Return how many findings are more than notes."""
    return sum(each.severity != "note" for each in findings(check))


def _finding(given: Mapping[str, Any]) -> Finding:
    count = int(given["count"])
    noun = str(given.get("of", "image"))
    return Finding(
        severity=str(given["severity"]),
        what=f"{count:,} {noun if count == 1 else _PLURALS[noun]} {given['title']}",
        advice=str(given.get("advice", "")),
        count=count,
        cases=[_case(each) for each in given.get("cases", [])],
    )


def _case(given: Mapping[str, Any]) -> str:
    """Return the names in a case, and perhaps why it is one."""
    every = given.get("images", [])
    shown = [f"{each['split']}: {each['file']}" for each in every[:_IMAGES]]
    if len(every) > _IMAGES:
        shown.append(f"{len(every) - _IMAGES:,} more")
    named = str(given["class"]) if "class" in given else " = ".join(shown)
    return f"{named} ({given['why']})" if given.get("why") else named


def _row(each: Finding) -> tuple[Part, ...]:
    what = element(
        "div",
        element("span", each.severity, class_=f"badge {each.severity}"),
        each.what,
        element("div", each.advice, class_="advice") if each.advice else None,
    )
    cases: list[Part] = [element("div", name(case, 120)) for case in each.cases[:_CASES]]
    if len(each.cases) > _CASES:
        cases.append(f"and {len(each.cases) - _CASES:,} more")
    return what, element("div", cases, class_="file")


def _facts(check: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in check.items():
        if isinstance(value, int) and not isinstance(value, bool):
            yield key.replace("_", " "), f"{value:,}"
    for side, of in check.get("sizes", {}).items():
        told = f"{of['min']:,} to {of['max']:,} px, median {of['median']:,}"
        yield _SIDES.get(side, side), told
    for key in ("modes", "formats", "flags"):
        counts = {each: count for each, count in check.get(key, {}).items() if count}
        if counts:
            yield key, ", ".join(f"{each} {count:,}" for each, count in counts.items())
