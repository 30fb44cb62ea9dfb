"""torchvision's two commands, flag by flag, and the accuracy of the weights that they gave."""

import pytest

from resnets.recipes import catalogue
from resnets.recipes.schema import SgdSpec

IMAGES = 1_281_167
# torchvision 0.28, ResNet*_Weights, meta["_metrics"], acc@1.
V1 = {18: 69.758, 34: 73.314, 50: 76.130, 101: 77.374, 152: 78.312}
V2 = {50: 80.858, 101: 81.886, 152: 82.284}


def of(version, depth):
    return catalogue.named(f"imagenet.resnet{depth}-tv{version}")


def epoch(recipe, step):
    """In which epoch an update is, from 0."""
    return step * recipe.batch_images / IMAGES


@pytest.mark.parametrize("depth", V1)
def test_v1_is_the_command_without_options_on_eight_gpus(depth):
    recipe = of(1, depth)
    assert recipe.optim == SgdSpec(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    assert (recipe.batch_images, recipe.part_images) == (8 * 32, 32)
    assert epoch(recipe, recipe.total_steps) == pytest.approx(90, abs=1e-3)
    first, second = recipe.schedule.milestones  # --lr-step-size 30 --lr-gamma 0.1
    assert [epoch(recipe, step) for step in (first, second)] == pytest.approx([30, 60], abs=1e-3)
    assert (recipe.schedule.factor, recipe.schedule.warmup_steps) == (0.1, 0)
    crop, test = recipe.data.augment, recipe.data.test
    assert (crop.crop_px, crop.area, crop.ratio) == (224, (0.08, 1.0), (0.75, 4 / 3))
    assert (crop.interpolation, crop.flip) == ("bilinear", True)
    assert (test.resize_px, test.crop_px, test.interpolation) == (256, 224, "bilinear")
    assert (recipe.data.policy, recipe.data.erasing, recipe.data.repeats) == (None, None, 1)
    assert (recipe.mixing, recipe.ema, recipe.label_smoothing) == (None, None, 0)


@pytest.mark.parametrize("depth", V2)
def test_v2_is_its_command_flag_by_flag(depth):
    recipe = of(2, depth)
    assert (recipe.batch_images, recipe.part_images) == (8 * 128, 128)  # --batch-size 128
    assert recipe.optim.learning_rate == 0.5  # --lr 0.5
    assert recipe.optim.weight_decay == 2e-5  # --weight-decay 0.00002
    assert recipe.optim.decay_on == "all-but-norms"  # --norm-weight-decay 0.0
    assert (recipe.schedule.kind, recipe.schedule.floor) == ("cosine", 0)
    assert epoch(recipe, recipe.schedule.warmup_steps) == pytest.approx(5, abs=1e-3)
    assert recipe.schedule.warmup_factor == 0.01  # --lr-warmup-decay, a default
    assert epoch(recipe, recipe.total_steps) == pytest.approx(600, abs=1e-3)  # --epochs 600
    assert recipe.data.policy.kind == "trivial-augment"  # --auto-augment ta_wide
    assert recipe.data.erasing.probability == 0.1  # --random-erase 0.1
    assert recipe.label_smoothing == 0.1
    assert (recipe.mixing.mixup_alpha, recipe.mixing.cutmix_alpha) == (0.2, 1.0)
    assert (recipe.mixing.cutmix_share, recipe.mixing.probability) == (0.5, 1.0)
    assert recipe.data.augment.crop_px == 176  # --train-crop-size 176
    assert (recipe.data.test.resize_px, recipe.data.test.crop_px) == (232, 224)
    assert recipe.data.repeats == 4  # --ra-sampler --ra-reps 4
    assert (recipe.loss, recipe.clip_norm) == ("cross-entropy", None)


def test_the_average_of_v2_has_the_decay_that_torchvisions_script_reckons():
    world_size, batch_size, model_ema_steps, epochs, model_ema_decay = 8, 128, 32, 600, 0.99998
    adjust = world_size * batch_size * model_ema_steps / epochs
    alpha = min(1.0, (1.0 - model_ema_decay) * adjust)
    for depth in V2:
        ema = of(2, depth).ema
        assert ema.decay == pytest.approx(1.0 - alpha, rel=1e-12)
        assert ema.every_steps == model_ema_steps
        assert ema.copied_steps == of(2, depth).schedule.warmup_steps
    # As the script does for another number of epochs.
    assert of(2, 50).ema.stretched(2).decay == pytest.approx(1.0 - alpha / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("version", "depth", "accuracy"),
    [(v, *row) for v, table in ((1, V1), (2, V2)) for row in table.items()],
)
def test_a_recipe_is_expected_to_reach_what_torchvisions_weights_do(version, depth, accuracy):
    recipe = of(version, depth)
    assert recipe.expected.top1_error_percent == pytest.approx(100 - accuracy, abs=1e-9)
    assert f"IMAGENET1K_V{version}" in recipe.expected.source
    assert not recipe.expected.measured
    assert recipe.rate_rule == "linear"
