import json

import pytest

from resnets.core import artifacts
from resnets.experiment import results

RUN = {
    "label": "plain-20",
    "recipe": "cifar10.plain20",
    "recipe_digest": "0123456789ab",
    "seed": 0,
    "updates": 64000,
    "data_digest": "ff",
    "precision": "bfloat16",
    "threads": 2,
    "processor": "a processor",
    "device": "cpu",
    "commit": "c" * 40,
    "minutes": 12.4,
}


def result(study="figure-1", mode="full", error=9.0, **changed):
    return {
        "study": study,
        "title": "A title",
        "source": "He et al. 2015, Fig. 1",
        "mode": mode,
        "data": "some-data",
        "changed": False,
        "settings": [],
        "columns": {"network": "network", "paper": "paper", "test": "ours", "n": "n"},
        "rows": [
            {
                "network": "plain-20",
                "paper": 8.75,
                "test": {"mean": error, "deviation": 0.25, "values": [error]},
                "n": 2,
            },
            {"network": "Maxout", "paper": 9.38, "test": None, "n": None},
        ],
        "says": "It says.",
        "panels": [],
        "trainings": [RUN] if mode != "exact" else [],
        "provenance": {
            "commit": "d" * 40,
            "command": f"resnets reproduce {study}" + (" --quick" if mode == "quick" else ""),
        },
        **changed,
    }


@pytest.fixture
def folder(tmp_path):
    def write(*all_of):
        for each in all_of:
            quick = ".quick" if each["mode"] == "quick" else ""
            artifacts.write_bytes(tmp_path / f"{each['study']}{quick}.json", results.encode(each))
        return sorted(tmp_path.glob("*.json"))

    return write


def test_a_spread_is_its_mean_and_deviation_and_what_is_missing_is_empty():
    assert results.cells(result()) == [
        ["network", "paper", "ours", "n"],
        ["plain-20", "8.75", "9.00 +- 0.25", "2"],
        ["Maxout", "9.38", "", ""],
    ]


def test_one_seed_has_no_deviation():
    one = result()
    one["rows"][0]["test"]["deviation"] = None
    assert results.cells(one)[1][2] == "9.00"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.8e-5, "1.8e-05"),
        (0.0, "0.00"),
        (269722, "269,722"),
        (6000.0, "6,000"),
        (6e6, "6e+06"),
        ("inf", "inf"),
    ],
)
def test_numbers_of_any_size_are_short(value, text):
    made = result()
    made["rows"][0]["paper"] = value
    assert results.cells(made)[1][1] == text


def test_quick_and_full_results_stand_under_their_own_headings(folder):
    page = results.page(folder(result(error=7.0), result(mode="quick", error=77.0)))
    full, quick = page.split("## Quick")
    assert "7.00 +- 0.25" in full.split("## By the paper's protocol")[1]
    assert "77.00 +- 0.25" not in full
    assert "77.00 +- 0.25" in quick
    assert "7.00 +- 0.25" not in quick.replace("77.00", "")
    assert "`resnets reproduce figure-1 --quick`" in quick


def test_the_page_says_on_what_it_was_run_and_what_was_not(folder):
    page = results.page(folder(result()))
    assert "a processor (cpu, 2 threads)" in page
    assert "cifar10.plain20 0123456789ab" in page
    assert "cccccccccccc" in page
    assert "- figure-6 by the paper's protocol" in page
    assert "- figure-1 by the paper's protocol" not in page


def test_a_study_of_two_data_sets_has_a_result_of_each_and_is_missed_for_each(folder):
    (path,) = folder(result("detection", data="coco", error=48.0))
    other = path.with_name("detection.voc.json")
    artifacts.write_bytes(other, results.encode(result("detection", data="voc", error=76.0)))
    assert "- detection by the paper's protocol on voc: needs" in results.page([path])
    assert "- detection by the paper's protocol on coco" not in results.page([path])
    both = results.page([path, other])
    assert "48.00 +- 0.25" in both
    assert "76.00 +- 0.25" in both
    assert "- detection by the paper's protocol" not in both


def test_of_two_results_of_a_study_the_one_of_more_seeds_counts(folder):
    two = [RUN, {**RUN, "seed": 1}]
    (path,) = folder(result(error=7.0, trainings=two))
    fewer = path.with_name("figure-1.n1.json")
    artifacts.write_bytes(fewer, results.encode(result(error=5.0)))
    for paths in ([path, fewer], [fewer, path]):
        page = results.page(paths)
        assert "7.00 +- 0.25" in page
        assert "5.00 +- 0.25" not in page


def test_a_title_says_what_was_changed():
    made = result(changed=True, settings=["total_steps=3"], data="photos")
    assert results.title(made).endswith("changed: on photos, total_steps=3)")


def test_a_changed_recipe_is_no_result_of_the_paper(folder):
    page = results.page(folder(result(changed=True)))
    assert "9.00" not in page
    assert "- figure-1 by the paper's protocol" in page


def test_benchmarks_stand_on_the_page_with_their_spread_machine_and_command(folder):
    (path,) = folder(result())
    made = {
        "what": "speed of something",
        "rows": [
            {"loop": "ours", "images_per_second": {"median": 2.0, "lowest": 1.0, "highest": 3.0}}
        ],
        "hardware": {"processor": "a processor", "device": "cpu", "threads": 2},
        "provenance": {"commit": "e" * 40},
        "command": "make bench",
    }
    bench = path.with_name("bench-something.json")
    artifacts.write_json(bench, made)
    section = results.page([path, bench]).split("### speed of something")[1]
    assert "| loop | images per second |" in section
    assert "| ours | 2.00 (1.00 to 3.00) |" in section
    assert "`make bench` on a processor (cpu, 2 threads); commit eeeeeeeeeeee." in section
    made["hardware"] |= {"gpu": "a GPU", "device": "cuda"}
    artifacts.write_json(bench, made)
    assert "`make bench` on a GPU (cuda, 2 threads)" in results.page([path, bench])


def test_a_result_is_json_even_where_a_number_is_infinite():
    made = result()
    made["rows"][0]["paper"] = float("inf")
    made["panels"] = [{"lines": [{"x": [1, 2], "y": [0.5, float("nan")]}]}]
    text = results.encode(made).decode()
    read = json.loads(text, parse_constant=pytest.fail)
    assert read["rows"][0]["paper"] == "inf"
    assert '"x": [1, 2]' in text
