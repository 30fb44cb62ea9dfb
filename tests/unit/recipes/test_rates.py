from dataclasses import replace

import pytest

from resnets.recipes import rates
from resnets.recipes.catalogue import RECIPES

recipe = RECIPES["cifar10.resnet20"]  # batches of 128 at a rate of 0.1


def rated(rule, batch_images):
    asked = replace(recipe, rate_rule=rule, batch_images=batch_images)
    return rates.following(asked, recipe.batch_images)


@pytest.mark.parametrize(
    ("rule", "batch_images", "rate"),
    [
        ("linear", 512, 0.4),
        ("linear", 32, 0.025),
        ("linear", 128, 0.1),
        ("square-root", 512, 0.2),
        ("square-root", 32, 0.05),
        ("none", 512, 0.1),
        ("none", 32, 0.1),
    ],
)
def test_the_rate_follows_the_batch_by_the_rule(rule, batch_images, rate):
    found = rated(rule, batch_images)
    assert found.optim.learning_rate == pytest.approx(rate, rel=1e-12)
    expected = replace(recipe.optim, learning_rate=found.optim.learning_rate)
    assert found == replace(recipe, rate_rule=rule, batch_images=batch_images, optim=expected)


def test_a_rate_that_followed_is_told_with_the_way_to_set_it():
    told = rates.note(recipe, rated("linear", 512))
    assert told.startswith("rate 0.1 -> 0.4, by the linear rule, for batches of 512 instead of 128")
    assert "--lr" in told
    assert "--set rate_rule=none" in told


def test_a_rate_that_did_not_follow_is_not_told():
    assert rates.note(recipe, rated("none", 512)) is None
    assert rates.note(recipe, rated("linear", 128)) is None
    assert rates.note(recipe, recipe) is None
