"""Sec. 4.2, how the paper trains on CIFAR-10; Table 6 and Fig. 6."""

from functools import partial

import pytest
import torch

from resnets.data import batches, sets
from resnets.data.batches import Choices, CropFlip, TrainBatches
from resnets.data.sets import ImageSet
from resnets.experiment import optimizing
from resnets.models import zoo
from resnets.recipes import catalogue
from resnets.recipes.schedule import StepDecay
from resnets.recipes.schema import SgdSpec

# Table 6, ResNet: layers -> error in percent; for 110 layers the mean of five runs.
TABLE_6 = {20: 8.75, 32: 7.51, 44: 7.17, 56: 6.97, 110: 6.61, 1202: 7.93}
RESIDUAL = [f"cifar10.resnet{depth}" for depth in TABLE_6]
PLAIN = [f"cifar10.plain{depth}" for depth in (20, 32, 44, 56, 110)]  # Fig. 6, left
OTHERS = [f"cifar10.{n}" for n in ("resnet20-b", "resnet20-c", "highway20", "highway32")]
PAPERS = [*RESIDUAL, *PLAIN, *OTHERS]


def test_every_recipe_of_cifar10_but_our_own_is_checked_here():
    ours = {"cifar10.resnet20-short"}
    made = {name for name in catalogue.RECIPES if name.startswith("cifar10.")}
    assert made == {*PAPERS} | ours


@pytest.mark.parametrize("name", PAPERS)
def test_the_optimizer_and_the_batch_are_the_papers(name):
    recipe = catalogue.named(name)
    assert recipe.optim == SgdSpec(
        learning_rate=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4, decay_on="all"
    )
    assert recipe.batch_images == 128
    assert recipe.total_steps == 64_000
    assert recipe.label_smoothing == 0
    assert recipe.data.name == "cifar10"
    assert recipe.data.held_out_images == 0
    assert recipe.data.augment == CropFlip(pad_px=4, flip=True)


def rate(recipe, iteration):
    """The rate of an iteration, from 1, as a run asks for it."""
    return optimizing.rate(recipe, iteration)


@pytest.mark.parametrize("name", PAPERS)
def test_the_rate_is_divided_by_10_at_32k_and_48k_iterations(name):
    rate_of = partial(rate, catalogue.named(name))
    assert [rate_of(i) for i in (401, 16_000, 32_000)] == [0.1] * 3
    # Powers of 0.1 and one product: three roundings.
    assert [rate_of(i) for i in (32_001, 48_000)] == pytest.approx([0.01] * 2, rel=4e-16)
    assert [rate_of(i) for i in (48_001, 64_000)] == pytest.approx([0.001] * 2, rel=4e-16)


@pytest.mark.parametrize("name", PAPERS)
def test_110_layers_and_more_warm_up_at_a_rate_of_0_01_for_400_iterations(name):
    recipe = catalogue.named(name)
    first = [rate(recipe, i) for i in (1, 200, 400)]
    if recipe.model.depth >= 110:
        assert first == pytest.approx([0.01] * 3, rel=4e-16)
    else:
        assert first == [0.1] * 3
        assert recipe.schedule == StepDecay(milestones=(32_000, 48_000))


@pytest.mark.parametrize(("depth", "error_percent"), TABLE_6.items())
def test_the_expected_error_is_table_6s(depth, error_percent):
    expected = catalogue.named(f"cifar10.resnet{depth}").expected
    assert expected.top1_error_percent == error_percent
    assert "Table 6" in expected.source


@pytest.mark.parametrize("name", [*PLAIN, *OTHERS])
def test_no_error_is_expected_where_the_tables_give_none(name):
    assert catalogue.named(name).expected is None


@pytest.mark.parametrize("depth", TABLE_6)
def test_residual_networks_use_option_a_in_all_cases(depth):
    model = catalogue.named(f"cifar10.resnet{depth}").model
    assert model == zoo.cifar(depth)
    assert model.shortcut == "A"
    assert model.depth == depth


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_network_differs_from_its_residual_one_in_the_shortcut_alone(name):
    plain = catalogue.named(name)
    residual = catalogue.named(name.replace("plain", "resnet"))
    assert plain.model.shortcut == "none"
    assert plain.model.stages == residual.model.stages
    assert (plain.optim, plain.schedule, plain.data) == (
        residual.optim,
        residual.schedule,
        residual.data,
    )


@pytest.fixture(scope="module")
def like_cifar10():
    """As many images as CIFAR-10 has for training, of one pixel each, numbered by their labels."""
    number_n = torch.arange(50_000)
    pixels = (number_n % 256).to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 1, 3)
    return ImageSet(pixels, number_n)


def test_the_training_set_splits_into_45k_and_5k(like_cifar10):
    train, validation = sets.hold_out(like_cifar10, 5_000)
    assert len(train) == 45_000
    assert len(validation) == 5_000
    both = torch.cat([train.labels_n, validation.labels_n]).sort().values
    assert torch.equal(both, like_cifar10.labels_n)


def test_the_same_5k_are_held_out_as_in_every_published_number(like_cifar10):
    _, validation = sets.hold_out(like_cifar10, 5_000)
    assert validation.labels_n[:5].tolist() == [8, 13, 20, 32, 48]
    assert int(validation.labels_n.sum()) == 124812211


@pytest.fixture(scope="module")
def bright():
    """Eight images of 32x32 without a black pixel."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 256, (8, 32, 32, 3), generator=draw, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(8))


def batches_of(images):
    return TrainBatches(
        images,
        batches.mean_image(images),
        catalogue.named("cifar10.resnet20").data.augment,
        seed=0,
        batch_images=len(images),
        device=torch.device("cpu"),
    )


def test_the_padding_is_zero_after_the_mean_is_subtracted(bright):
    corner = torch.zeros(8, dtype=torch.int64)
    made = batches_of(bright).batch(torch.arange(8), Choices(corner, corner, corner == 1))
    padded = torch.ones(32, 32, dtype=torch.bool)
    padded[4:, 4:] = False
    assert (made.images_nchw[:, :, padded] == 0).all()
    mean = batches.mean_image(bright)
    inside = (bright.images_nhwc[:, :28, :28].float() / 255 - mean[:28, :28]).permute(0, 3, 1, 2)
    assert torch.equal(made.images_nchw[:, :, 4:, 4:], inside)


@pytest.mark.parametrize("top", [0, 3, 4, 8])
@pytest.mark.parametrize("left", [0, 4, 5, 8])
def test_exactly_the_pixels_outside_the_image_are_zero_wherever_the_crop_is(bright, top, left):
    images = ImageSet(bright.images_nhwc.clone(), bright.labels_n)
    images.images_nhwc[0] = 0  # black, so that none of its pixels is the mean there
    one = torch.ones(1, dtype=torch.int64)
    made = batches_of(images).batch(one - 1, Choices(top * one, left * one, one == 0))
    rows, columns = torch.arange(32) + top - 4, torch.arange(32) + left - 4
    inside = ((rows >= 0) & (rows < 32))[:, None] & ((columns >= 0) & (columns < 32))
    assert torch.equal(made.images_nchw != 0, inside.expand(1, 3, 32, 32))


def test_the_mean_of_the_training_images_becomes_zero_at_every_pixel(bright):
    middle = torch.full((8,), 4)
    made = batches_of(bright).batch(torch.arange(8), Choices(middle, middle, middle == 0))
    # Eight values below 1, each rounded once or twice.
    assert made.images_nchw.double().mean(0).abs().max() < 2**-22


def test_testing_looks_at_the_single_original_view(bright):
    (seen,) = batches.in_order(
        bright, batches.mean_image(bright), batch_images=8, device=torch.device("cpu")
    )
    expected = (bright.images_nhwc.float() / 255 - batches.mean_image(bright)).permute(0, 3, 1, 2)
    assert torch.equal(seen.images_nchw, expected)
