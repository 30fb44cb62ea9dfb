"""Wightman et al. 2021, Table 2: the procedures A1, A2 and A3, column by column."""

from dataclasses import replace

import pytest

from resnets.recipes import catalogue, imagenet_timm, rates

# The rows of Table 2 that a recipe can say.
TABLE_2 = {
    "train resolution": (224, 224, 160),
    "test resolution": (224, 224, 224),
    "epochs": (600, 300, 100),
    "forward passes, thousands": (375, 188, 63),
    "batch size": (2048, 2048, 2048),
    "optimizer": ("lamb", "lamb", "lamb"),
    "learning rate": (5e-3, 5e-3, 8e-3),
    "learning rate decay": ("cosine", "cosine", "cosine"),
    "weight decay": (0.01, 0.02, 0.02),
    "warmup epochs": (5, 5, 5),
    "label smoothing": (0.1, 0.0, 0.0),
    "stochastic depth": (0.05, 0.05, 0.0),
    "repeated augmentation": (True, True, False),
    "horizontal flip": (True, True, True),
    "random resized crop": (True, True, True),
    "RandAugment": ((7, 0.5), (7, 0.5), (6, 0.5)),
    "mixup alpha": (0.2, 0.1, 0.1),
    "cutmix alpha": (1.0, 1.0, 1.0),
    "erasing": (None, None, None),
    "EMA": (None, None, None),
    "test crop ratio": (0.95, 0.95, 0.95),
    "loss": ("bce", "bce", "bce"),
}
# Top-1 accuracy of resnet50, as the table's last row rounds it.
ACCURACIES = (80.4, 79.8, 78.1)
IMAGES = 1_281_167


def row_of(recipe):
    data, crop, updates = recipe.data, recipe.data.augment, recipe.total_steps
    return {
        "train resolution": crop.crop_px,
        "test resolution": data.test.crop_px,
        "epochs": updates * recipe.batch_images // IMAGES,
        "forward passes, thousands": round(updates / 1000),
        "batch size": recipe.batch_images,
        "optimizer": recipe.optim.kind,
        "learning rate": recipe.optim.learning_rate,
        "learning rate decay": recipe.schedule.kind,
        "weight decay": recipe.optim.weight_decay,
        "warmup epochs": recipe.schedule.warmup_steps * recipe.batch_images // IMAGES,
        "label smoothing": recipe.label_smoothing,
        "stochastic depth": recipe.model.drop_path,
        "repeated augmentation": data.repeats > 1,
        "horizontal flip": crop.flip,
        "random resized crop": crop.kind == "resized-crop",
        "RandAugment": (data.policy.magnitude, data.policy.magnitude_std),
        "mixup alpha": recipe.mixing.mixup_alpha,
        "cutmix alpha": recipe.mixing.cutmix_alpha,
        "erasing": data.erasing,
        "EMA": recipe.ema,
        "test crop ratio": round(data.test.crop_px / data.test.resize_px, 2),
        "loss": recipe.loss,
    }


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_a_procedure_is_its_column_of_table_2(depth, column):
    recipe = catalogue.named(f"imagenet.resnet{depth}-a{column + 1}")
    assert row_of(recipe) == {name: values[column] for name, values in TABLE_2.items()}


@pytest.mark.parametrize("column", [0, 1, 2])
def test_resnet50_is_expected_to_reach_the_accuracy_of_table_2(column):
    expected = catalogue.named(f"imagenet.resnet50-a{column + 1}").expected
    assert expected.top1_error_percent == pytest.approx(100 - ACCURACIES[column], abs=0.06)
    assert not expected.measured


@pytest.mark.parametrize("name", imagenet_timm.RECIPES)
def test_what_table_2_does_not_say_is_timms(name):
    recipe = catalogue.named(name)
    assert recipe.optim.decay_on == "weights"
    assert (recipe.optim.beta1, recipe.optim.beta2, recipe.optim.eps) == (0.9, 0.999, 1e-6)
    assert recipe.clip_norm == 1.0
    first = recipe.schedule.scale(0, recipe.total_steps) * recipe.optim.learning_rate
    last = recipe.schedule.scale(recipe.total_steps, recipe.total_steps)
    assert first == pytest.approx(1e-4)
    assert last * recipe.optim.learning_rate == pytest.approx(1e-6)
    assert recipe.data.augment.interpolation == recipe.data.test.interpolation == "bicubic"
    assert (recipe.data.policy.space, recipe.data.policy.operations) == ("increasing", 2)
    assert recipe.data.repeats in (1, 3)
    assert recipe.batch_images % recipe.part_images == 0
    assert recipe.rate_rule == "square-root"


def test_the_rate_for_half_the_batch_is_about_what_timms_users_take():
    a2 = catalogue.named("imagenet.resnet50-a2")
    halved = rates.following(replace(a2, batch_images=1024), a2.batch_images)
    # A command for A2 on four GPUs of 256 images has --lr 3.5e-3.
    assert halved.optim.learning_rate == pytest.approx(3.5e-3, rel=0.02)
