"""The ImageNet studies, complete, on archives in ImageNet's layout with a few small images."""

from dataclasses import replace

import pytest

import samples
from resnets.experiment import paper
from resnets.experiment.reproduce import reproduce
from resnets.experiment.studies.catalogue import STUDIES

SETTINGS = (
    *("total_steps=2", "batch_images=2", "precision=float32", "schedule.every_steps=1"),
    *("data.augment.shorter_px=[44,48]", "data.augment.crop_px=40"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with ImageNet in it, as published but for the number of images."""
    place = tmp_path_factory.mktemp("work")
    samples.write_imagenet(place / "imagenet")
    return place


@pytest.fixture
def ask(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
    return lambda name: reproduce(name, data="imagenet", settings=SETTINGS)


def labels(found):
    return [row["network"] for row in found.result["rows"]]


def test_figure_4_is_drawn_from_plain_and_residual_runs(ask, place):
    found = ask("figure-4")
    assert labels(found) == ["plain-18", "plain-34", "ResNet-18 A", "ResNet-34 A"]
    assert [row["paper"] for row in found.result["rows"]] == [27.94, 28.54, 27.88, 25.03]
    assert len(found.result["panels"]) == 2
    assert len(list((place / "results").glob("figure-4.changed-*.png"))) == 1
    assert found.result["mode"] == "full"


def test_table_2_tests_the_runs_of_figure_4_in_ten_crops(ask, place):
    ask("figure-4")
    before = sorted(path.name for path in (place / "runs" / "reproduce").iterdir())
    found = ask("table-2")
    assert [row["paper"] for row in found.result["rows"]] == [
        "27.94 / -",
        "28.54 / 10.02",
        "27.88 / -",
        "25.03 / 7.76",
    ]
    assert sorted(path.name for path in (place / "runs" / "reproduce").iterdir()) == before
    assert len(list(place.glob("runs/reproduce/imagenet.plain18-*/ten-crop-of-1.json"))) == 1


def test_residual_networks_beside_option_as_numbers_have_option_a():
    for name in ("figure-4", "table-2", "table-3"):
        for network in STUDIES[name].networks:
            option = network.recipe(quick=False)[1].model.shortcut
            letter = network.label.rpartition(" ")[2]
            assert option == {"A": "A", "B": "B", "C": "C"}.get(
                letter, "none" if "plain" in network.label else "B"
            )


def test_an_evaluation_that_was_done_is_not_done_again(ask, place, monkeypatch):
    first = ask("table-2").result["rows"]
    kept = {p: p.stat().st_mtime_ns for p in place.glob("runs/reproduce/*/ten-crop-of-1.json")}
    assert ask("table-2").result["rows"] == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.fixture
def shallow(monkeypatch):
    """Tables 3 to 5 without their networks of 50 layers and more, which are slow to write."""
    for name in ("table-3", "table-4", "table-5"):
        study = STUDIES[name]
        kept = tuple(network for network in study.networks if "34" in network.label)
        monkeypatch.setitem(STUDIES, name, replace(study, networks=kept))


def test_tables_3_4_and_5_test_in_their_ways_and_share_their_runs(ask, shallow):
    third, fourth, fifth = ask("table-3"), ask("table-4"), ask("table-5")
    both = ["ResNet-34 B", "ResNet-34 C"]
    assert labels(third) == ["plain-34", "ResNet-34 A", *both]
    assert labels(fourth) == both
    assert labels(fifth) == [*both, "all of them together"]
    assert third.result["rows"][2]["paper"] == "24.52 / 7.46"
    assert fourth.result["rows"][0]["paper"] == "21.84 / 5.71"
    assert fifth.result["rows"][0] == fourth.result["rows"][0]
    for row in (*third.result["rows"], *fourth.result["rows"], *fifth.result["rows"]):
        wrong = row["top1"]["mean"] * samples.IMAGENET_VALIDATION / 100
        assert wrong == pytest.approx(round(wrong))
        assert row["top5"]["mean"] <= row["top1"]["mean"]


def test_every_network_of_the_tables_has_its_number_in_the_paper():
    deep = ["ResNet-34 B", "ResNet-34 C", "ResNet-50", "ResNet-101", "ResNet-152"]
    for name in ("table-4", "table-5"):
        assert [network.label for network in STUDIES[name].networks] == deep
    assert set(paper.MULTI_SCALE) == set(deep) < set(paper.TEN_CROP)
    for name in ("table-2", "table-3", "figure-4"):
        for network in STUDIES[name].networks:
            _, recipe = network.recipe(quick=False)
            assert recipe.total_steps == 600_000
            assert recipe.expected.top1_error_percent == paper.TEN_CROP[network.label][0]
