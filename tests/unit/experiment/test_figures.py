import numpy as np
import pytest
from PIL import Image

from resnets.experiment import figures


def line(label, dashed=False, **changed):
    return {
        "label": label,
        "x": [1, 2, 3],
        "y": [3.0, 2.0, 1.0],
        "low": None,
        "high": None,
        "color": 0,
        "dashed": dashed,
        **changed,
    }


def result(*panels, mode="full"):
    return {
        "title": "A title",
        "source": "He et al. 2015, Fig. 6",
        "mode": mode,
        "data": "some-data",
        "changed": False,
        "settings": [],
        "panels": [
            {"title": "one", "x": "iterations", "y": "error (%)", "log": False, "top": 20.0} | panel
            for panel in panels
        ],
    }


def test_a_panel_is_a_pair_of_axes_and_a_line_a_line():
    figure = figures.draw(result({"lines": [line("a"), line("b")]}, {"lines": [line("c")]}))
    first, second = figure.axes
    assert [len(first.lines), len(second.lines)] == [2, 1]
    assert first.lines[0].get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert first.get_ylim() == (0, 20)


def test_training_error_is_dashed_and_needs_no_entry_beside_its_network():
    figure = figures.draw(result({"lines": [line("a", dashed=True), line("a")]}))
    (axes,) = figure.axes
    assert [each.get_linestyle() for each in axes.lines] == ["--", "-"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a"]


def test_seeds_span_a_band():
    figure = figures.draw(result({"lines": [line("a", low=[2.0, 1.0, 0.5], high=[4.0, 3.0, 2.0])]}))
    assert len(figure.axes[0].collections) == 1


def test_a_logarithmic_axis_takes_zeros_and_words():
    figure = figures.draw(
        result({"lines": [line("a", y=[1.0, 0.0, "inf"])], "log": True, "top": None})
    )
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_ydata().tolist() == [1.0, 0.0, float("inf")]


def test_what_underflows_does_not_press_the_other_lines_together():
    lines = [line("a"), line("b", y=[1e-40, 1e-45, 0.0])]
    figure = figures.draw(result({"lines": lines, "log": True, "top": None}))
    assert figure.axes[0].get_ylim() == pytest.approx((3e-10, 6.0))


@pytest.mark.parametrize(("mode", "told"), [("quick", True), ("full", False)])
def test_a_quick_figure_says_so_on_its_face(mode, told):
    figure = figures.draw(result({"lines": [line("a")]}, mode=mode))
    assert ("quick" in figure.get_suptitle()) == told


def test_equal_results_are_equal_pictures(tmp_path):
    for name in "ab":
        figures.save(figures.draw(result({"lines": [line("a")]})), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert np.asarray(Image.open(tmp_path / "a.png")).std() > 0
