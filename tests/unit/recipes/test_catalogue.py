import re
from dataclasses import replace

import pytest
import torch

from resnets.core.errors import RecipeError
from resnets.data import opening
from resnets.models import network, zoo
from resnets.recipes import catalogue, detect, folder
from resnets.recipes.schedule import Plateau

FITTED = {folder.FINETUNE}  # to whatever data and weights there are
OF_DATA = [name for name in catalogue.CLASSIFIERS if name not in FITTED]


@pytest.mark.parametrize("name", OF_DATA)
def test_every_recipe_builds_a_network_of_its_datas_classes(name):
    recipe = catalogue.named(name)
    with torch.device("meta"):
        made = network.ResNet(recipe.model)
    assert made.head.out_features == (1000 if recipe.data.name == "imagenet" else 10)
    assert recipe.source


@pytest.mark.parametrize("name", OF_DATA)
def test_every_recipe_names_data_that_there_is_and_begins_with_its_name(name):
    recipe = catalogue.named(name)
    assert recipe.data.name in (*opening.NAMES, "imagenet")
    assert recipe.data.name.replace("cifar10-sample", "sample") == name.split(".")[0]


@pytest.mark.parametrize("name", OF_DATA)
def test_every_recipe_trains_the_network_that_it_is_named_after(name):
    family, network_name = name.split(".")
    if family == "imagenet":
        # Whoever trains otherwise than the paper trains v1.5, which only bottlenecks know.
        network_name, others = re.subn(r"-(tv[12]|a[123])$", "", network_name)
        deep = zoo.named(network_name).block == "bottleneck"
        network_name += "-v1.5" if others and deep else ""
    else:
        network_name = "cifar-" + network_name.removesuffix("-short")
    model = catalogue.named(name).model
    assert replace(model, drop_path=0.0) == zoo.named(network_name)


@pytest.mark.parametrize("name", catalogue.CLASSIFIERS)
def test_every_rate_of_a_recipe_is_positive_and_the_last_is_the_lowest_after_the_warm_up(name):
    recipe = catalogue.named(name)
    schedule, total = recipe.schedule, recipe.total_steps
    if isinstance(schedule, Plateau):
        assert schedule.scale_after([]) == 1
        assert schedule.scale_after([50.0] * (3 * schedule.patience)) < 0.011
        assert total // schedule.every_steps > 10 * schedule.patience
        return
    rates = [schedule.scale(step, total) for step in range(0, total, max(1, total // 500))]
    rates.append(schedule.scale(total - 1, total))
    assert min(rates) > 0
    assert 0.99 < max(rates) <= 1
    assert rates[-1] == min(rates[len(rates) // 2 :])
    assert rates[-1] <= 0.011


@pytest.mark.parametrize("name", catalogue.RECIPES)
def test_every_recipe_for_imagenet_says_what_differs_and_what_it_costs(name):
    recipe = catalogue.named(name)
    if name.startswith("imagenet."):
        assert recipe.differs
    if name.startswith("imagenet.") and recipe.expected is not None:
        assert "RTX 3090" in recipe.expected.cost
        assert not recipe.expected.measured


def test_one_recipe_was_run_here_as_it_stands():
    measured = [n for n, r in catalogue.RECIPES.items() if r.expected and r.expected.measured]
    assert measured == ["cifar10.resnet20-short"]


def test_it_is_known_how_many_images_every_recipe_trains_on():
    assert {catalogue.named(name).data.name for name in OF_DATA} <= set(catalogue.TRAINING_IMAGES)


def test_data_alone_means_a_recipe_made_for_it():
    for data, name in catalogue.FOR_DATA.items():
        assert data in opening.NAMES
        assert catalogue.named(name).data.name == data


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("cifar10.resnet-20", "cifar10.resnet20"),
        ("sample.resnet2O", "sample.resnet20"),
        ("cifar.resnet56", "cifar10.resnet56"),
        ("cifar10.plain30", "cifar10.plain20"),
    ],
)
def test_an_unknown_recipe_is_refused_suggesting_the_nearest(name, nearest):
    with pytest.raises(RecipeError) as caught:
        catalogue.named(name)
    message = str(caught.value)
    assert message.startswith(f"recipe {name!r}: there is none of that name; ")
    suggested = message.split("did you mean ")[1].split("? ")[0].split(" or ")
    assert nearest in suggested
    assert set(suggested) <= set(catalogue.RECIPES)
    assert message.endswith("`resnets list recipes` lists them")


@pytest.mark.parametrize("name", catalogue.DETECTORS)
def test_every_recipe_of_a_detector_is_made_of_the_network_it_is_named_after(name):
    recipe = catalogue.named(name)
    family, backbone = name.split(".")
    backbone = "resnet50" if name == detect.FINETUNE else backbone
    assert recipe.model.backbone == zoo.named(backbone)
    assert recipe.transfer.weights.partition("/")[2].startswith(backbone)
    if family != "detect":
        assert recipe.data.name == family.removesuffix("2012")
        assert recipe.model.classes == {"voc": 20, "coco": 80}[recipe.data.name]
        assert recipe.differs


def test_the_papers_detectors_have_its_settings():
    """He et al. 2015, appendix A; Tables 7 and 8."""
    voc, coco = catalogue.named("voc.resnet101"), catalogue.named("coco.resnet101")
    assert voc.model.anchors.scales_px == (128, 256, 512)
    assert coco.model.anchors.scales_px == (64, 128, 256, 512)
    assert voc.model.anchors.ratios == (0.5, 1.0, 2.0)
    for recipe in (voc, coco):
        assert (recipe.data.scaling.shorter_px, recipe.data.scaling.longest_px) == (600, 1000)
        assert (recipe.testing.proposed.most, recipe.testing.proposed.iou) == (300, 0.7)
        assert recipe.testing.iou == 0.3
        assert (recipe.learning.anchors, recipe.learning.foreground_share) == (256, 0.25)
    rates = [
        coco.optim.learning_rate * coco.schedule.scale(step, coco.total_steps)
        for step in (0, 239_999, 240_000, 319_999)
    ]
    assert rates == pytest.approx([0.001, 0.001, 0.0001, 0.0001])
    assert coco.total_steps == 320_000
    expected = {
        name: r.expected.ap50_percent for name, r in catalogue.DETECTORS.items() if r.expected
    }
    assert expected == {
        "voc.vgg16": 73.2,
        "voc.resnet101": 76.4,
        "voc2012.vgg16": 70.4,
        "voc2012.resnet101": 73.8,
        "coco.vgg16": 41.5,
        "coco.resnet101": 48.4,
    }


def test_the_papers_localizer_has_its_settings():
    """He et al. 2015, appendix C; Table 13."""
    recipe = catalogue.named("imagenet.localization-resnet101")
    assert recipe.model.backbone == zoo.named("resnet101")
    assert recipe.model.classes == 1000
    assert recipe.data.augment == catalogue.named("imagenet.resnet101").data.augment
    assert (recipe.data.view.resize_px, recipe.data.view.crop_px) == (256, 224)
    assert (recipe.batch_images, recipe.learning.anchors) == (256, 8)
    assert recipe.transfer.weights == "msra/resnet101"
    assert recipe.expected.localization_error_percent == 13.3
