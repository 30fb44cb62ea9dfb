"""docs/results.md is made from results/*.json and from nothing else."""

import json
import subprocess
from pathlib import Path

import pytest

from resnets.experiment import figures, results

ROOT = Path(__file__).parents[1]


def tracked():
    """What is part of the project: trying `resnets reproduce` here adds files that are not."""
    git = ["git", "-C", str(ROOT), "ls-files", "--", "results/*.json"]
    listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed]


STUDIES = [path for path in tracked() if "study" in json.loads(path.read_text(encoding="utf-8"))]


def test_the_page_is_what_the_results_say():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == results.page(tracked()), "stale: make paper"


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_result_stands_under_its_own_name_and_mode(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    stem = result["study"] + (".quick" if result["mode"] == "quick" else "")
    if stem == "detection":  # a file for each data set
        stem += f".{result['data']}"
    assert path.stem == stem
    assert not result["changed"]
    for each in result["trainings"]:
        assert each["recipe"].startswith("quick.") == (result["mode"] == "quick")
        assert "+changes" not in each["commit"]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_figure_stands_beside_its_result_and_can_be_drawn_from_it(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    assert path.with_suffix(".png").exists() == bool(result["panels"])
    if result["panels"]:
        assert len(figures.draw(result).axes) == len(result["panels"])
