import pytest

from resnets.experiment.studies import depth
from resnets.experiment.studies.catalogue import STUDIES
from resnets.recipes import catalogue, codec


def row(name, train, test, deviation=None):
    spread = {"deviation": deviation, "values": []}
    errors = {"train": {"mean": train, **spread}, "test": {"mean": test, **spread}}
    return {"network": name, "split": "test", **errors}


@pytest.mark.parametrize(
    ("train", "deviation", "words"),
    [
        (30.0, None, "training error rises from 20.0 to 30.0 %"),
        (10.0, None, "training error falls from 20.0 to 10.0 %"),
        (20.0, None, "training error hardly changes from 20.0 to 20.0 %"),
        (30.0, 9.0, "training error rises"),
        (30.0, 11.0, "training error hardly changes"),
        (10.0, 11.0, "training error hardly changes"),
    ],
)
def test_the_sentence_follows_the_numbers_and_their_deviation(train, deviation, words):
    rows = [row("a", 20.0, 30.0, deviation), row("b", train, 35.0)]
    said = depth.compared(rows, "a", "b")
    assert said.startswith(f"From a to b {words}")
    assert "test error" in said


def test_a_curve_over_seeds_is_the_mean_within_the_band_they_span():
    line = depth._mean_line("a", [1, 2], [[1.0, 2.0], [3.0, 6.0]], color=0, dashed=False)
    assert (line.y, line.low, line.high) == ([2.0, 4.0], [1.0, 2.0], [3.0, 6.0])


def test_a_long_curve_is_told_in_few_points_that_keep_its_mean():
    updates = list(range(1, 3201))
    line = depth._mean_line("a", updates, [[float(u) for u in updates]], color=0, dashed=False)
    assert len(line.x) == len(line.y) == 160
    assert line.x[-1] == 3200
    assert sum(line.y) / 160 == pytest.approx(1600.5)
    assert line.low is None


@pytest.mark.parametrize("name", STUDIES)
def test_a_quick_recipe_is_short_and_never_takes_the_name_of_a_full_one(name):
    for network in STUDIES[name].quick_networks or ():
        quick_name, quick = network.recipe(quick=True)
        full_name, full = network.recipe(quick=False)
        assert quick_name.startswith("quick.")
        assert full_name in catalogue.RECIPES
        assert codec.digest(quick) != codec.digest(full)
        assert quick.total_steps * quick.batch_images <= 64_000
        assert quick.data.name == ("cifar10-scenes" if name == "detection" else "cifar10-sample")


def test_figure_6_trains_what_the_paper_trains():
    labels = [network.label for network in STUDIES["figure-6"].networks]
    assert labels == [
        *(f"plain-{d}" for d in (20, 32, 44, 56)),
        *(f"ResNet-{d}" for d in (20, 32, 44, 56, 110)),
    ]


def test_table_6_prints_the_best_and_the_mean_of_110_layers():
    assert depth._printed("ResNet-110") == "6.43 (6.61 +- 0.16)"
    assert depth._printed("ResNet-20") == 8.75
    assert depth._printed("plain-20") is None
    assert depth._printed("ResNet-20, B") is None  # Table 6 has option A alone
