from dataclasses import FrozenInstanceError, replace

import pytest

from resnets.core.errors import RecipeError
from resnets.recipes.catalogue import RECIPES
from resnets.recipes.schema import DataSpec, SgdSpec

recipe = RECIPES["sample.resnet20"]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", NAN),
        ("learning_rate", INF),
        ("momentum", -0.1),
        ("momentum", 1.0),
        ("momentum", NAN),
        ("weight_decay", -1e-4),
        ("weight_decay", NAN),
        ("weight_decay", INF),
    ],
)
def test_an_optimizers_numbers_are_checked_naming_the_field(field, value):
    with pytest.raises(RecipeError, match=rf"^optim\.{field}: must .*, got {value}$"):
        SgdSpec(**({"learning_rate": 0.1} | {field: value}))


def test_nesterov_needs_a_momentum():
    with pytest.raises(RecipeError, match=r"^optim\.nesterov: needs a momentum above 0$"):
        SgdSpec(learning_rate=0.1, momentum=0.0, nesterov=True)
    assert SgdSpec(learning_rate=0.1, momentum=0.0).momentum == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_images", 0),
        ("batch_images", -1),
        ("total_steps", 0),
        ("label_smoothing", -0.1),
        ("label_smoothing", 1.0),
        ("label_smoothing", NAN),
    ],
)
def test_a_recipes_numbers_are_checked_naming_the_field(field, value):
    with pytest.raises(RecipeError, match=rf"^{field}: must be .*, got {value}$"):
        replace(recipe, **{field: value})


def test_a_negative_number_of_images_cannot_be_held_out():
    with pytest.raises(RecipeError, match=r"^data\.held_out_images: must not be negative, got -1$"):
        DataSpec(name="cifar10", held_out_images=-1)


def test_a_recipe_is_a_value():
    assert replace(recipe) == recipe
    assert hash(replace(recipe)) == hash(recipe)
    assert replace(recipe, total_steps=1) != recipe
    with pytest.raises(FrozenInstanceError):
        recipe.total_steps = 1
    with pytest.raises(TypeError):
        DataSpec("cifar10")
    with pytest.raises(TypeError, match="batch_size"):
        replace(recipe, batch_size=1)
