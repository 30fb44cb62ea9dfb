from dataclasses import replace

import pytest
import torch

from resnets.core.errors import DataError, ModelError, RecipeError
from resnets.core.random import generator
from resnets.data import batches, sets, synthetic
from resnets.experiment import build
from resnets.models import cost, network, zoo
from resnets.recipes.schedule import Plateau, StepDecay
from resnets.recipes.schema import AdamWSpec, EmaSpec, LambSpec, Transfer
from resnets.training.lamb import Lamb

CPU = torch.device("cpu")


def built(recipe, seed=0):
    return build.build(recipe, synthetic.make(), seed=seed, device=CPU)


def test_the_parts_are_what_the_recipe_says(tiny):
    parts = built(tiny)
    (group,) = parts.optimizer.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 1e-4)
    assert parts.precision.dtype is torch.float32
    assert parts.model.spec == tiny.model
    assert parts.batch_of(1).images_nchw.shape == (16, 3, 32, 32)
    assert parts.evaluator.split == "test"
    weights = replace(tiny, optim=replace(tiny.optim, decay_on="weights", weight_decay=0.01))
    decays = [group["weight_decay"] for group in built(weights).optimizer.param_groups]
    assert decays == [0.01, 0.0]


@pytest.mark.parametrize(
    ("optim", "made"),
    [
        (LambSpec(learning_rate=0.01, weight_decay=0.02, beta2=0.98, eps=1e-5), Lamb),
        (AdamWSpec(learning_rate=0.01, weight_decay=0.02, beta2=0.98, eps=1e-5), torch.optim.AdamW),
    ],
)
def test_an_optimizer_is_made_as_its_spec_says(tiny, optim, made):
    found = built(replace(tiny, optim=optim)).optimizer
    assert type(found) is made
    weights, others = found.param_groups
    assert (weights["betas"], weights["eps"], weights["lr"]) == ((0.9, 0.98), 1e-5, 0.01)
    assert (weights["weight_decay"], others["weight_decay"]) == (0.02, 0.0)


def test_a_moving_average_is_kept_where_the_recipe_has_one(tiny):
    assert built(tiny).ema is None
    parts = built(replace(tiny, ema=EmaSpec(decay=0.9, every_steps=2, copied_steps=3)))
    assert (parts.ema.decay, parts.ema.every_steps, parts.ema.copied_steps) == (0.9, 2, 3)
    weight = parts.ema.network.stem.conv1.weight
    assert torch.equal(weight, parts.model.stem.conv1.weight)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_the_loss_is_the_recipes(tiny):
    weights = (0.5, 1.0, 2.0, 4.0)
    recipes = [tiny, replace(tiny, loss="bce"), replace(tiny, class_weights=weights)]
    found = []
    for recipe in recipes:
        parts = built(recipe)
        measured = parts.loss_of(parts.model.eval(), parts.batch_of(1))
        found.append(measured["loss"].item())
    assert len({round(loss, 4) for loss in found}) == 3


def test_the_rate_of_a_plateau_begins_with_its_warm_up(tiny):
    plateau = Plateau(every_steps=2, patience=1, warmup_steps=2, warmup_factor=0.5)
    rate_of = built(replace(tiny, schedule=plateau)).rate_of
    assert [rate_of(number) for number in (1, 2, 3)] == pytest.approx([0.005, 0.0075, 0.01])
    assert rate_of(4, [50.0, 50.0]) == pytest.approx(0.001)


def test_images_too_small_for_the_network_are_refused_before_anything_is_built(tiny):
    data = synthetic.make()
    small = replace(data.train, images_nhwc=data.train.images_nhwc[:, :31])
    recipe = replace(tiny, model=replace(zoo.named("vgg16"), classes=4))
    assert build.fitted(recipe, data).model.classes == 4
    with pytest.raises(ModelError, match=r"vgg needs images of at least 32 px, got 31$"):
        build.fitted(recipe, replace(data, train=small))


def test_the_initial_weights_are_he_et_als_of_the_seed_in_channels_last_memory(tiny):
    model = built(tiny, seed=3).model
    expected = network.ResNet(tiny.model)
    network.he_init(expected, generator(3, "init"))
    found = model.state_dict()
    assert all(torch.equal(found[name], t) for name, t in expected.state_dict().items())
    assert model.stem.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    other = built(tiny, seed=4).model.state_dict()
    assert not torch.equal(other["stem.conv1.weight"], found["stem.conv1.weight"])


def test_the_first_update_has_the_schedules_first_rate(tiny):
    recipe = replace(tiny, schedule=StepDecay(milestones=(3,)), total_steps=5)
    rate_of = built(recipe).rate_of
    assert [rate_of(number) for number in range(1, 6)] == pytest.approx(
        [0.01, 0.01, 0.01, 0.001, 0.001], rel=1e-15
    )


def test_held_out_images_are_evaluated_on_and_never_trained_on_nor_in_the_mean(tiny):
    recipe = replace(tiny, data=replace(tiny.data, held_out_images=64))
    train, validation = sets.hold_out(synthetic.make().train, 64)
    for seed in (0, 1):
        parts = built(recipe, seed)
        assert parts.evaluator.split == "validation"
        assert torch.equal(parts.mean_hwc, batches.mean_image(train))
        seen = [batch for number in range(1, 13) for batch in [parts.batch_of(number)]]
        labels = torch.cat([batch.labels_n for batch in seen])
        assert labels.bincount().tolist() == train.labels_n.bincount().tolist()
        evaluated = torch.cat([batch.labels_n for batch in parts.evaluator.batches()])
        assert torch.equal(evaluated, validation.labels_n)


def test_more_images_than_there_are_cannot_be_held_out(tiny):
    recipe = replace(tiny, data=replace(tiny.data, held_out_images=256))
    with pytest.raises(DataError, match=r"held_out_images: must be from 1 to 255 here, got 256"):
        built(recipe)


def test_a_recipe_is_fitted_to_the_name_and_the_classes_of_other_data(tiny):
    elsewhere = replace(tiny, data=replace(tiny.data, name="cifar10"))
    elsewhere = replace(elsewhere, model=replace(tiny.model, classes=10))
    assert build.fitted(elsewhere, synthetic.make()) == tiny
    assert build.fitted(tiny, synthetic.make()) == tiny


def test_a_recipe_made_for_the_data_with_other_classes_is_refused(tiny):
    wrong = replace(tiny, model=replace(tiny.model, classes=10))
    with pytest.raises(RecipeError, match=r"model\.classes: synthetic has 4 classes, got 10"):
        build.fitted(wrong, synthetic.make())


def test_a_precision_is_decided_for_the_device_unless_it_was_set(tiny):
    for set_by_hand in ("float32", "bfloat16", "float16"):
        recipe = replace(tiny, precision=set_by_hand)
        assert build.resolved(recipe, CPU) == (recipe, "set by hand")
    found, reason = build.resolved(replace(tiny, precision="auto"), CPU)
    assert found.precision in ("float32", "bfloat16")
    assert found == replace(tiny, precision=found.precision)
    assert "processor" in reason


def test_the_work_of_a_run_is_three_passes_of_all_its_images(tiny):
    one = build.multiply_adds(replace(tiny, total_steps=1, batch_images=1), synthetic.make())
    assert build.multiply_adds(tiny, synthetic.make()) == 160 * one
    frozen = Transfer(weights="w", frozen_stages="all-but-last")
    some = replace(tiny, total_steps=1, batch_images=1, transfer=frozen)
    found = cost.measure(tiny.model, 32)
    learning = found.stages[-1].multiply_adds + found.head.multiply_adds
    assert build.multiply_adds(some, synthetic.make()) == found.multiply_adds + 2 * learning
    # ResNet-8 by hand: 32x32 (3*16 + 2*16*16), 16x16 (16*32 + 32*32), 8x8 (32*64 + 64*64), 64*4.
    forward = 9 * (1024 * (48 + 512) + 256 * (512 + 1024) + 64 * (2048 + 4096)) + 256
    assert one == 3 * forward
