from dataclasses import FrozenInstanceError, replace

import pytest

from resnets.core.errors import RecipeError
from resnets.recipes import schema
from resnets.recipes.catalogue import RECIPES
from resnets.recipes.schema import AdamWSpec, DataSpec, EmaSpec, LambSpec, SgdSpec

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
        ("part_images", 0),
        ("clip_norm", 0.0),
        ("clip_norm", -1.0),
        ("clip_norm", NAN),
        ("clip_norm", INF),
    ],
)
def test_a_recipes_numbers_are_checked_naming_the_field(field, value):
    with pytest.raises(RecipeError, match=rf"^{field}: must be .*, got {value}$"):
        replace(recipe, **{field: value})


@pytest.mark.parametrize("made", [AdamWSpec, LambSpec])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("learning_rate", value) for value in (0.0, -0.1, NAN, INF)),
        *(("weight_decay", value) for value in (-1e-4, NAN, INF)),
        *((beta, value) for beta in ("beta1", "beta2") for value in (-0.1, 1.0, NAN)),
        *(("eps", value) for value in (0.0, -1e-8, NAN)),
    ],
)
def test_the_numbers_of_every_optimizer_are_checked(made, field, value):
    with pytest.raises(RecipeError, match=rf"^optim\.{field}: must .*, got {value}$"):
        made(**({"learning_rate": 0.1} | {field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("decay", -0.1), ("decay", 1.0), ("decay", NAN), ("every_steps", 0), ("copied_steps", -1)],
)
def test_the_numbers_of_a_moving_average_are_checked(field, value):
    with pytest.raises(RecipeError, match=rf"^ema\.{field}: must .*, got {value}$"):
        EmaSpec(**({"decay": 0.9} | {field: value}))


def test_a_stretched_average_remembers_the_same_part_of_the_run():
    ema = EmaSpec(decay=0.99, every_steps=4, copied_steps=100)
    double = ema.stretched(2)
    assert (double.every_steps, double.copied_steps) == (4, 200)
    assert double.decay == pytest.approx(0.995)
    half = ema.stretched(0.5)
    assert (half.every_steps, half.copied_steps, half.decay) == (2, 50, pytest.approx(0.99))
    eighth = ema.stretched(0.125)
    assert (eighth.every_steps, eighth.decay) == (1, pytest.approx(0.98))
    assert ema.stretched(1e-6) == EmaSpec(decay=0)


def test_an_average_that_would_never_change_is_refused():
    ema = EmaSpec(decay=0.9, every_steps=recipe.total_steps)
    assert replace(recipe, ema=ema).ema == ema
    with pytest.raises(RecipeError, match=r"^ema\.every_steps: at most total_steps, 9, got 10$"):
        replace(recipe, total_steps=9, ema=replace(ema, every_steps=10))


def test_a_batch_is_done_in_parts_of_one_size():
    assert replace(recipe, batch_images=64, part_images=32).part_images == 32
    message = r"^part_images: must divide batch_images, 64, got 48; name another with --set part_im"
    with pytest.raises(RecipeError, match=message):
        replace(recipe, batch_images=64, part_images=48)
    # So that a small batch needs no word about parts.
    assert replace(recipe, batch_images=64, part_images=100).part_images == 100


def test_every_class_has_a_weight_or_none_has():
    weights = tuple([0.5] * 10)
    assert replace(recipe, class_weights=weights).class_weights == weights
    with pytest.raises(RecipeError, match="class_weights: needs one for each of 10 classes"):
        replace(recipe, class_weights=weights[1:])
    for bad in (0.0, -1.0, NAN):
        with pytest.raises(RecipeError, match="class_weights: must be positive"):
            replace(recipe, class_weights=(bad, *weights[1:]))


def test_a_view_to_test_on_is_no_larger_than_the_image():
    assert schema.TestView(resize_px=224, crop_px=224).interpolation == "bilinear"
    for crop_px in (0, 225):
        with pytest.raises(RecipeError, match=rf"^data\.test: a crop of {crop_px} px"):
            schema.TestView(resize_px=224, crop_px=crop_px)


def test_images_come_at_least_once():
    with pytest.raises(RecipeError, match=r"^data\.repeats: must be positive, got 0$"):
        DataSpec(name="imagenet", repeats=0)


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
