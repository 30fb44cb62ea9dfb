import base64
import html
import io

import numpy as np
import pytest
from PIL import Image

from resnets.experiment.page import markup
from resnets.experiment.page.markup import element


def text(part):
    return markup.page("t", "", part).decode().partition("<body>")[2].partition("</body>")[0]


def test_what_is_put_in_is_text_unless_it_is_an_element():
    made = element("p", "a < b & ", element("b", "<i>"), "c > d", [None, "e", element("br")], "f")
    assert text(made) == "<p>a &lt; b &amp; <b>&lt;i&gt;</b>c &gt; de<br>f</p>"


def test_attributes_are_escaped_and_those_of_none_left_out():
    made = element("a", title='"><script>', class_="x", aria_label="y", href=None)
    assert text(made) == '<a title="&quot;&gt;&lt;script&gt;" class="x" aria-label="y"></a>'


def test_a_page_says_its_language_and_allows_nothing_from_elsewhere():
    page = markup.page("a & b", "p > a { color: red }", element("p", "é")).decode()
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "<title>a &amp; b</title>" in page
    assert "<style>p > a { color: red }</style>" in page
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy in html.unescape(page)
    assert "<p>é</p>" in page


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("\u00fcml\u00e4ut \u4e2d\u6587", "\u00fcml\u00e4ut \u4e2d\u6587"),
        ("a\x00b\x1b[31m", "a\ufffdb\ufffd[31m"),
        ("bad\udcff.png", "bad\ufffd.png"),
        ("gpj.\u202eexe", "gpj.\ufffdexe"),
        ("\U0001f469\u200d\U0001f52c", "\U0001f469\u200d\U0001f52c"),
        ("two\nlines", "two\nlines"),
        ("95\u00a0%", "95\u00a0%"),
    ],
)
def test_what_no_page_can_show_is_marked(given, shown):
    assert markup.printable(given) == shown
    assert shown in markup.page(given, "", element("p", given)).decode()


def test_a_long_name_is_cut_in_the_middle_and_told_in_full_when_pointed_at():
    made = markup.name("a" * 50 + "b" * 50, 20)
    assert made.text == "a" * 10 + "…" + "b" * 10
    assert made.get("title") == "a" * 50 + "b" * 50
    assert markup.name("a" * 20, 20).text == "a" * 20
    assert markup.name("a" * 20, 20).get("title") is None


def shown(size, longest_px=160):
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[:, : size[0] // 2] = 255, 0, 0
    made = markup.picture(Image.fromarray(pixels), longest_px, 'a "picture"')
    kind, coded = made.get("src").split(",", 1)
    assert kind == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(coded)))
    assert picture.format == "JPEG"
    assert (made.get("width"), made.get("height")) == tuple(map(str, picture.size))
    assert made.get("alt") == 'a "picture"'
    return made, picture


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((640, 480), (160, 120)),
        ((300, 600), (80, 160)),
        ((160, 160), (160, 160)),
        ((90, 20), (90, 20)),
        ((5000, 50), (160, 2)),
        ((20_000, 30), (160, 1)),
    ],
)
def test_a_picture_has_at_most_the_longest_side_and_its_own_shape(size, small):
    _, picture = shown(size)
    assert picture.size == small


def test_a_picture_shows_the_image():
    _, picture = shown((640, 480))
    pixels = np.asarray(picture).astype(int)
    assert abs(pixels[60, 20] - (254, 0, 0)).max() < 8
    assert abs(pixels[60, 140]).max() < 8


def test_a_tiny_picture_is_said_to_be_one():
    assert shown((32, 32))[0].get("class") == "tiny"
    assert shown((81, 32))[0].get("class") is None


def test_a_table_names_its_columns_and_heads_its_rows():
    made = markup.table("k", "of what", ("a", "b"), [("x", "1"), ("y", "2")], range(1, 2))
    assert (made.get("role"), made.get("aria-label"), made.get("tabindex")) == (
        "region",
        "of what",
        "0",
    )
    assert [each.get("scope") for each in made.iter("th")] == ["col", "col", "row", "row"]
    assert [each.text for each in made.iter("td")] == ["1", "2"]
    assert {each.get("class") for each in made.iter("td")} == {"number"}


def test_facts_that_are_missing_are_left_out():
    made = markup.facts([("a", "1"), ("b", None), ("c", ""), ("d", element("b", "2"))])
    assert [each.text for each in made.iter("dt")] == ["a", "d"]
