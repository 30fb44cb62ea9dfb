"""Sec. 3.4: how ImageNet is trained on, and what Tables 2 and 3 say comes out."""

import pytest

from resnets.models import zoo
from resnets.recipes import catalogue, imagenet
from resnets.recipes.schema import SgdSpec

# Top-1 validation error, ten crops.
ERRORS = {
    "plain18": 27.94,
    "plain34": 28.54,
    "resnet18-a": 27.88,
    "resnet34-a": 25.03,
    "resnet34": 24.52,
    "resnet34-c": 24.19,
    "resnet50": 22.85,
    "resnet101": 21.75,
    "resnet152": 21.43,
    "resnet18": None,  # the tables have it with option A alone
}


def test_the_recipes_are_the_networks_of_the_tables():
    assert set(imagenet.RECIPES) == {f"imagenet.{name}" for name in ERRORS}


@pytest.mark.parametrize("name", ERRORS)
def test_a_network_is_trained_as_section_3_4_says(name):
    recipe = catalogue.named(f"imagenet.{name}")
    assert recipe.model == zoo.named(name)
    assert recipe.model.classes == 1000
    augment = recipe.data.augment
    assert augment.shorter_px == (256, 480)
    assert augment.crop_px == 224
    assert augment.flip
    assert augment.lighting_std == 0.1
    expected = SgdSpec(learning_rate=0.1, momentum=0.9, weight_decay=1e-4, decay_on="all")
    assert recipe.optim == expected
    assert (recipe.batch_images, recipe.total_steps) == (256, 600_000)
    assert (recipe.schedule.kind, recipe.schedule.factor) == ("plateau", 0.1)
    assert recipe.label_smoothing == 0
    assert recipe.true_averages
    assert recipe.data.held_out_images == 0


@pytest.mark.parametrize(("name", "error"), ERRORS.items())
def test_a_network_is_expected_to_reach_the_error_of_its_table(name, error):
    expected = catalogue.named(f"imagenet.{name}").expected
    if error is None:
        assert expected is None
        return
    assert expected.top1_error_percent == error
    assert expected.source.startswith("He et al. 2015, Table ")
