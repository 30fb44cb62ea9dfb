import math
import re

import pytest

from resnets.experiment.page import plots
from resnets.experiment.page.plots import Axis, Line


@pytest.mark.parametrize(
    ("high", "end", "marks"),
    [
        (100, 100, ["0", "20", "40", "60", "80", "100"]),
        (1, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0.003, 0.003, ["0", "0.001", "0.002", "0.003"]),
        (7, 8, ["0", "2", "4", "6", "8"]),
        (64_000, 80_000, ["0", "20,000", "40,000", "60,000", "80,000"]),
        (0, 1, ["0", "1"]),
        (math.inf, 1, ["0", "1"]),
    ],
)
def test_an_axis_ends_at_a_round_number_and_has_round_marks(high, end, marks):
    made = plots.axis("x", high)
    assert made.high == pytest.approx(end)
    assert [text for _, text in made.marks] == marks


@pytest.mark.parametrize("high", [1e-9, 0.07, 0.3, 1.1, 3, 9.99, 123, 5e6])
def test_an_axis_reaches_what_it_is_of_and_not_much_further(high):
    made = plots.axis("x", high)
    assert high <= made.high * (1 + 1e-9)
    assert made.high < 2 * high
    assert 2 <= len(made.marks) <= 7


def test_places_are_shares_of_the_axis_and_stay_on_it():
    made = Axis("x", 10.0, 20.0, ())
    assert [made.share(v) for v in (10, 15, 20, 5, 99)] == [0, 50, 100, 0, 100]


def test_a_curve_goes_through_its_points():
    across, up = plots.axis("x", 10), plots.axis("y", 100)
    made = plots.lines([Line("k", [0, 5, 10], [100, 50, 0])], across, up, alt="falls")
    (drawn,) = [each for each in made.iter("path") if each.get("class") == "line k"]
    assert drawn.get("d") == "M0.00 0.00L50.00 50.00L100.00 100.00"
    assert (made.get("role"), made.get("aria-label")) == ("img", "falls")


def test_a_curve_of_one_point_is_a_dot_and_one_of_none_is_nothing():
    across, up = plots.axis("x", 10), plots.axis("y", 100)
    curves = [Line("one", [5], [50]), Line("none", [], []), Line("two", [0, 10], [0, 0], dots=True)]
    made = plots.lines(curves, across, up, alt="")
    drawn = {each.get("class"): each.get("d") for each in made.iter("path")}
    assert drawn["line one dots"] == "M50.00 50.00h0"
    assert drawn["line two dots"] == "M0.00 100.00h0M100.00 100.00h0"
    assert not any("none" in kind for kind in drawn)


def test_marks_stand_where_their_values_are():
    made = plots.lines([], plots.axis("updates", 10), plots.axis("error", 100), alt="")
    texts = {each.text: each.get("style") for each in made.iter("span")}
    assert texts["80"] == "bottom:80.00%"
    assert texts["4"] == "left:40.00%"


def test_a_bar_stands_on_the_ground():
    made = plots.bar("k", 20, 30, 0, 75, "a bar")
    assert [made.get(key) for key in ("x", "y", "width", "height")] == [
        "20.00",
        "25.00",
        "10.00",
        "75.00",
    ]
    assert made.find("title").text == "a bar"


def test_few_points_stay_and_many_become_means_of_neighbours():
    x, y = list(range(10)), [float(v * v) for v in range(10)]
    assert plots.thinned(x, y) == (x, y)
    assert plots.thinned([], []) == ([], [])
    many = list(range(1_000))
    fewer, means = plots.thinned(many, [2.0 * v for v in many])
    assert len(fewer) == len(means) == 334
    assert fewer[0] == 1
    assert means == [2 * v for v in fewer]


def test_numbers_are_written_with_two_decimals_and_never_as_powers():
    across, up = plots.axis("x", 1e7), plots.axis("y", 1)
    made = plots.lines([Line("k", [1, 2], [1e-12, 1e-9])], across, up, alt="")
    drawn = "".join(each.get("d") for each in made.iter("path"))
    assert re.fullmatch(r"[MLHVh0-9. -]+", drawn)
