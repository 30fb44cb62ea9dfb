from dataclasses import dataclass
from typing import Any

import pytest

from resnets.experiment.page import checked, markup
from resnets.experiment.page.checked import Finding


@dataclass
class Told:
    check: dict[str, Any]


LEAK = {
    "severity": "error",
    "count": 2,
    "of": "image",
    "title": "in several splits",
    "advice": "the error is too low",
    "cases": [
        {"images": [{"split": "train", "file": "a.jpg"}, {"split": "validation", "file": "b.jpg"}]},
        {"images": [{"split": "train", "file": f"{i}.jpg"} for i in range(5)], "why": "the same"},
    ],
}
EMPTY = {
    "severity": "note",
    "count": 1,
    "of": "class",
    "title": "with few images",
    "advice": "",
    "cases": [{"class": "cat", "why": "3 images"}],
}


def shown(check):
    return markup.page("", "", checked.section(Told(check))).decode().partition("<section")[2]


def test_findings_come_with_their_cases_and_what_to_do():
    assert checked.findings({"findings": [LEAK, EMPTY]}) == [
        Finding(
            "error",
            "2 images in several splits",
            "the error is too low",
            2,
            [
                "train: a.jpg = validation: b.jpg",
                "train: 0.jpg = train: 1.jpg = train: 2.jpg = 2 more (the same)",
            ],
        ),
        Finding("note", "1 class with few images", "", 1, ["cat (3 images)"]),
    ]


@pytest.mark.parametrize(
    ("count", "of", "what"),
    [
        (1, "image", "1 image x"),
        (1200, "image", "1,200 images x"),
        (1, "class", "1 class x"),
        (3, "class", "3 classes x"),
    ],
)
def test_findings_are_counted_in_words(count, of, what):
    given = {"severity": "note", "count": count, "of": of, "title": "x"}
    assert checked.findings({"findings": [given]})[0].what == what


def test_counts_alone_are_findings_where_something_is_wrong():
    counts = {"train_images": 9, "unreadable_images": 2, "repeated_images": 1}
    assert [(each.severity, each.what) for each in checked.findings(counts)] == [
        ("error", "2 images that cannot be read"),
        ("warning", "1 image with the same content as an earlier one"),
    ]
    assert checked.findings({"train_images": 9, "unreadable_images": 0}) == []


def test_notes_are_nothing_serious():
    assert checked.serious({"findings": [LEAK, EMPTY]}) == 1
    assert checked.serious({}) == 0


def test_the_section_shows_findings_and_counts():
    check = {"data": "x", "train_images": 1300, "trainable": True, "findings": [LEAK, EMPTY]}
    page = shown(check)
    assert "train: a.jpg = validation: b.jpg" in page
    assert "<dt>train images</dt><dd>1,300</dd>" in page
    assert "trainable" not in page
    assert '<span class="badge error">error</span>2 images in several splits' in page


def test_sizes_modes_and_formats_are_told():
    size = {"min": 30, "median": 500, "max": 4000}
    page = shown({"sizes": {"shorter_px": size}, "modes": {"RGB": 9, "L": 1}, "formats": {}})
    assert "<dt>shorter side</dt><dd>30 to 4,000 px, median 500</dd>" in page
    assert "<dt>modes</dt><dd>RGB 9, L 1</dd>" in page
    assert "formats" not in page


def test_of_many_cases_the_first_are_shown():
    many = {**LEAK, "count": 20, "cases": [LEAK["cases"][0]] * 20}
    page = shown({"findings": [many]})
    assert page.count("a.jpg") == 5
    assert "and 15 more" in page


def test_no_check_and_nothing_found_are_told_apart():
    assert "was not checked" in shown({})
    assert "Nothing is wrong with it." in shown({"findings": []})
    assert "Nothing is wrong with it." in shown({"train_images": 3})
