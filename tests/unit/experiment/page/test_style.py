"""The page can be read: contrasts as WCAG 2.2 measures them, in light and dark."""

import re
from itertools import product

import pytest

from resnets.experiment import report_page

STYLE = report_page._STYLE.read_text(encoding="utf-8")
SCHEMES = ("light", "dark", "print")
NORMAL_TEXT = 4.5


def colours(scheme):
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    assert len(blocks) == len(SCHEMES)
    found = re.findall(r"--([\w-]+): ([^;]+);", blocks[SCHEMES.index(scheme)])
    return {name: rgb(value) for name, value in found}


def rgb(value):
    if value.startswith("#"):
        return tuple(int(value[i : i + 2], 16) for i in (1, 3, 5))
    return tuple(map(int, value.split()))


def luminance(colour):
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (each / 255 for each in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def over(colour, below, share):
    return tuple(share * c + (1 - share) * b for c, b in zip(colour, below, strict=True))


def test_contrast_is_that_of_the_standard():
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_stands_out_from_what_is_behind_it(scheme):
    have = colours(scheme)
    for text, behind in product(("ink", "soft", "accent", "wrong"), ("paper", "raised")):
        assert contrast(have[text], have[behind]) >= NORMAL_TEXT, (text, behind)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_numbers_of_the_matrix_can_be_read_on_the_strongest_colour(scheme):
    have = colours(scheme)
    rules = re.findall(r"rgb\(var\(--(\w+)-rgb\) / calc\(([\d.]+) \+ ([\d.]+) \* var", STYLE)
    assert [name for name, _, _ in rules] == ["accent", "wrong"]
    for name, least, more in rules:
        for share in (float(least), float(least) + float(more)):
            behind = over(have[f"{name}-rgb"], have["paper"], share)
            assert contrast(have["ink"], behind) >= NORMAL_TEXT, (name, share)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_bars_stand_out_from_the_page(scheme):
    have = colours(scheme)
    for name, share in (("accent", 0.55), ("wrong", 0.75)):
        bar = over(have[f"{name}-rgb"], have["paper"], share)
        assert contrast(bar, have["paper"]) >= 2, name  # its whisker and its number say the same


def test_the_style_loads_nothing():
    assert not re.search(r"url\(|@import|https?:|expression", STYLE)
