import statistics
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from resnets.core.errors import RecipeError
from resnets.data import crops
from resnets.data.crops import ResizedCrop
from resnets.models import zoo
from resnets.recipes import codec, folder, schema

RECIPE = folder.RECIPES[folder.FINETUNE]


def epochs(images):
    found = folder.fitted(RECIPE, images)
    return found.total_steps * found.batch_images / images


@pytest.mark.parametrize(
    ("images", "expected"),
    [(1, 40), (56, 40), (225, 20), (900, 10), (5_625, 4), (50_000, 4)],
)
def test_small_sets_are_passed_over_more_often(images, expected):
    assert epochs(images) == pytest.approx(expected, rel=0.02)


def test_the_larger_a_set_the_more_updates_and_the_fewer_passes():
    sizes = [32, 50, 100, 300, 1_000, 5_000, 20_000]
    steps = [folder.fitted(RECIPE, images).total_steps for images in sizes]
    assert steps == sorted(steps)
    # Within the part of a batch by which a run is rounded up.
    assert all(epochs(b) <= epochs(a) + 32 / a for a, b in pairwise(sizes))


@pytest.mark.parametrize(("images", "batch"), [(1, 1), (31, 31), (32, 32), (33, 32)])
def test_a_set_smaller_than_a_batch_is_one_batch(images, batch):
    assert folder.fitted(RECIPE, images).batch_images == batch


def test_the_warm_up_is_a_tenth_of_a_short_run_and_ten_updates_of_a_long_one():
    assert folder.fitted(RECIPE, 1).schedule.warmup_steps == 4  # of 40
    assert folder.fitted(RECIPE, 1_000).schedule.warmup_steps == 10


def test_a_fifth_is_held_out_of_data_with_one_split_and_nothing_of_two():
    assert folder.holding_out(RECIPE, splits=1).data.held_out_share == 0.2
    assert folder.holding_out(RECIPE, splits=2) == RECIPE


@pytest.mark.parametrize("setting", ["data.held_out_share=0.4", "data.held_out_images=7"])
def test_what_was_asked_to_be_held_out_is(setting):
    asked = codec.override(RECIPE, [setting])
    assert folder.holding_out(asked, splits=1) == asked


def test_true_averages_are_refused_where_bn_keeps_those_of_the_weights():
    settings = ["keep=last", "true_averages=true"]
    with pytest.raises(RecipeError, match="true_averages: BN keeps those of the weights"):
        codec.override(RECIPE, settings)
    with pytest.raises(RecipeError, match="true_averages: BN keeps those of the weights"):
        codec.override(RECIPE, [*settings, "transfer.fixed_bn=false", "transfer.frozen_stages=1"])
    assert codec.override(RECIPE, [*settings, "transfer.fixed_bn=false"]).true_averages


def of_resnet(images=50, area=(0.25, 1.0), view=(256, 224), settings=(), model="resnet50"):
    data = replace(
        RECIPE.data,
        augment=ResizedCrop(area=area),
        test=schema.TestView(resize_px=view[0], crop_px=view[1]),
    )
    recipe = replace(RECIPE, data=data, model=zoo.named(model))
    return folder.of_resnet(codec.override(recipe, settings), images)


@pytest.mark.parametrize(
    ("images", "frozen"), [(50, "all-but-last"), (999, "all-but-last"), (1_000, 0)]
)
def test_of_few_images_the_last_stage_learns_alone(images, frozen):
    assert of_resnet(images).transfer.frozen_stages == frozen


def test_where_bn_learns_or_nothing_was_trained_every_layer_does():
    assert of_resnet(settings=["transfer.fixed_bn=false"]).transfer.frozen_stages == 0
    assert of_resnet(settings=["transfer=null"]).transfer is None


@pytest.mark.parametrize("model", ["vgg16", "googlenet"])
def test_other_networks_than_resnets_learn_as_their_weights_want(model):
    found = of_resnet(model=model)
    assert (found.transfer.frozen_stages, found.data.augment.crop_px) == (0, 224)


@pytest.mark.parametrize(
    ("area", "view", "model", "side"),
    [
        ((0.25, 1.0), (256, 224), "resnet50", 192),
        ((0.25, 1.0), (288, 288), "resnet50", 224),
        ((0.25, 1.0), (235, 160), "resnet50", 160),  # never larger than the test's own
        ((1.0, 1.0), (256, 224), "resnet50", 224),
        ((0.25, 1.0), (36, 32), "cifar-resnet20", 28),
        ((0.25, 1.0), (36, 24), "cifar-resnet20", 24),
        ((0.25, 1.0), (36, 32), "resnet18", 32),
    ],
)
def test_crops_show_things_as_large_as_the_test_does(area, view, model, side):
    assert of_resnet(area=area, view=view, model=model).data.augment.crop_px == side


def test_the_mean_crop_is_a_mean_of_drawn_ones():
    augment = ResizedCrop(area=(0.25, 1.0), ratio=(1.0, 1.0))
    cuts, _ = crops.choose(augment, 0, 0, np.arange(4_000))
    boxes = [cut.box(1_000, 1_000) for cut in cuts]
    widths = [(right - left) / 1_000 for left, _, right, _ in boxes]
    assert augment.mean_side == pytest.approx(statistics.mean(widths), abs=0.01)
    assert ResizedCrop(area=(0.25, 0.25)).mean_side == 0.5
