"""A localizer is trained and measured by the loop and the commands of every other network."""

import json
from dataclasses import replace

import pytest
import torch

import samples
import scenes
from resnets.core import artifacts
from resnets.core.errors import (
    CheckpointError,
    DataError,
    InterruptedRunError,
    RecipeError,
    ResNetsError,
)
from resnets.data import opening
from resnets.data.annotated import AnnotatedFiles, DetectionData
from resnets.data.crops import ScaleCrop
from resnets.data.preprocess import Preprocess
from resnets.detection.anchors import AnchorSpec
from resnets.detection.spec import LocalizerSpec
from resnets.experiment import evaluate_localizers, localizers, measuring, run
from resnets.experiment.localizers import OfOneClass
from resnets.experiment.transfer import Weights
from resnets.inference import checkpoints, detector, loading
from resnets.inference.checkpoints import Checkpoint, LocalizerCheckpoint
from resnets.recipes import codec, localize
from resnets.recipes.boxes import Pretrained
from resnets.recipes.localizer import BoxCropsSpec, LocalizerRecipe
from resnets.recipes.optimizers import SgdSpec
from resnets.recipes.schedule import Cosine

BACKBONE = samples.small_resnet(width=16, classes=2)
RECIPE = LocalizerRecipe(
    source="here",
    model=LocalizerSpec(
        backbone=BACKBONE, classes=2, anchors=AnchorSpec(scales_px=(32,), ratios=(1,))
    ),
    data=BoxCropsSpec(
        name="shapes",
        augment=ScaleCrop(shorter_px=(64, 72), crop_px=64),
        view=Preprocess(resize_px=64, crop_px=64, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
    ),
    optim=SgdSpec(learning_rate=0.02),
    schedule=Cosine(warmup_steps=5),
    batch_images=6,
    total_steps=60,
    clip_norm=10.0,
    transfer=Pretrained(weights="w"),
    precision="float32",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six images to train on, and the same six to validate on."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    return opening.open_data(samples.write_clsloc(folder, {"train": 6, "val": 6}))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A classifier of the two classes that learnt nothing of use, in a file."""
    path = tmp_path_factory.mktemp("weights") / "two.safetensors"
    found = Checkpoint(
        path=path,
        about={
            "kind": "classifier",
            "classes": ["circle", "square"],
            "update": 7,
            "recipe": None,
            "model": codec.model_to_tree(BACKBONE),
            "preprocessing": codec.preprocess_to_tree(RECIPE.data.view),
        },
        spec=BACKBONE,
        preprocess=RECIPE.data.view,
        mean_hwc=torch.tensor(RECIPE.data.view.mean).view(1, 1, 3),
        recipe=None,
        model=samples.trained(BACKBONE).state_dict(),
        optimizer={},
    )
    artifacts.save_tensors(path, found.tensors, found.about)
    return Weights.of(path)


def start(data, weights, out, **changes):
    named = Pretrained(weights=f"sha256:{weights.checkpoint.weights_sha256}")
    recipe = replace(RECIPE, transfer=named, **changes)
    return run.start(recipe, data, name="shapes", out=out, device="cpu", weights=weights, workers=1)


@pytest.fixture(scope="module")
def finished(data, weights, tmp_path_factory):
    return start(data, weights, tmp_path_factory.mktemp("runs") / "finished")


def measure(finished, *others, **given):
    return measuring.measure(
        [finished.folder, *others], precision="float32", device="cpu", **given
    ).to_dict()


def test_it_learns_where_the_objects_of_a_few_images_are(finished):
    """Crops, matching, loss, decoding, views and metric agree: no error is left."""
    assert finished.measure == "localization_error_percent"
    assert (finished.split, finished.images) == ("validation", 6)
    assert finished.value == 0
    lines = (finished.folder / "journal.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[-1]["validation_localization_error_percent"] == 0
    assert max(record.get("validation_localization_error_percent", 0) for record in records) > 0
    assert (finished.folder / "curves.png").exists()
    assert finished.to_dict()["localization_error_percent"] == 0


@pytest.mark.parametrize("protocol", ["single-crop", "multi-scale"])
def test_it_is_measured_with_the_true_class_and_with_those_it_began_with(
    finished, weights, protocol
):
    told = measure(finished, protocol=protocol, per_class=True)
    error = told["localization_error_percent"]
    assert told["top5_localization_error_percent"] == error  # both classes are guessed
    assert told["top5_error_percent"] == 0
    assert told["top1_localization_error_percent"] >= told["top1_error_percent"] > 0
    if protocol == "single-crop":
        assert error == 0
        assert told["top1_localization_error_percent"] == told["top1_error_percent"]
    assert (told["images"], told["left_out_images"], told["split"]) == (6, 0, "validation")
    assert told["protocol"].startswith(protocol)
    assert [each["weights_sha256"] for each in told["checkpoints"]] == [
        checkpoints.newest(finished.folder).weights_sha256,
        weights.checkpoint.weights_sha256,
    ]
    assert [row["images"] for row in told["classes"]] == [3, 3]
    mean = sum(row["localization_error_percent"] for row in told["classes"]) / 2
    assert mean == pytest.approx(error)


def test_classifiers_that_are_named_guess_instead(finished, weights, tmp_path):
    told = measure(finished, weights.where, weights.where)
    assert len(told["checkpoints"]) == 3
    assert "mean of softmax" in told["protocol"]
    other = weights.checkpoint.about | {"classes": ["round", "square"]}
    artifacts.save_tensors(tmp_path / "o.safetensors", weights.checkpoint.tensors, other)
    with pytest.raises(DataError, match="its classes are not those of"):
        measure(finished, tmp_path / "o.safetensors")


def test_where_nothing_guesses_the_boxes_alone_are_measured_and_it_is_said(
    data, weights, finished, capsys
):
    found = checkpoints.newest(finished.folder)
    gone = replace(found, about=found.about | {"weights": {"where": "/nowhere/w.safetensors"}})
    told = evaluate_localizers.evaluate(gone, data=data, device="cpu").to_dict()
    assert told["localization_error_percent"] == 0
    assert not any(name.startswith("top") for name in told)
    assert "no classes are guessed: /nowhere/w.safetensors" in capsys.readouterr().err


def test_stopping_and_resuming_changes_no_bit(data, weights, loop, finished, tmp_path):
    out = tmp_path / "run"
    loop.terminate_after(31)
    with pytest.raises(InterruptedRunError):
        start(data, weights, out)
    loop.undisturbed()
    run.resume(out, data)
    wanted = checkpoints.newest(finished.folder).weights_sha256
    assert checkpoints.newest(out).weights_sha256 == wanted


def test_parts_change_no_draw(data, weights, finished, tmp_path):
    """What is drawn for an image is its own affair, so only rounding differs."""
    parted = start(data, weights, tmp_path / "parted", part_images=2, total_steps=3)
    whole = start(data, weights, tmp_path / "whole", total_steps=3)
    for name, tensor in checkpoints.newest(whole.folder).model.items():
        other = checkpoints.newest(parted.folder).model[name]
        torch.testing.assert_close(tensor, other, rtol=1e-3, atol=1e-5)


def test_it_carries_all_that_is_needed_and_its_bn_is_that_of_the_weights(finished, weights):
    found = checkpoints.newest(finished.folder)
    assert isinstance(found, LocalizerCheckpoint)
    assert found.about["kind"] == "localizer"
    assert found.about["weights"]["where"] == str(weights.where)
    assert found.classes == ("circle", "square")
    assert found.spec == RECIPE.model
    assert codec.digest(found.recipe) == found.about["recipe_digest"]
    before, names = weights.checkpoint.model, set()
    for name, tensor in found.model.items():
        whole = name.removeprefix("backbone.")
        if whole in before:
            names.add(whole)
            is_bn = any(part.startswith("bn") for part in whole.split(".")) or tensor.dim() == 1
            assert torch.equal(tensor, before[whole]) is is_bn, name
    left = {name for name in before if name not in names}
    assert all(name.startswith(("head.", "stages.conv5_x.")) for name in left)


def test_what_a_localizer_is_not_is_said_in_a_line(finished, weights):
    found = checkpoints.newest(finished.folder)
    with pytest.raises(CheckpointError, match="holds a localizer; an ensemble is of one kind"):
        detector.of(found)
    with pytest.raises(CheckpointError, match="holds a localizer, and this is for classifiers"):
        checkpoints.classifier(found)
    with pytest.raises(CheckpointError, match="name a classifier or a detector"):
        loading.load(finished.folder, "cpu")
    with pytest.raises(ResNetsError, match="a localizer takes single-crop, multi-scale"):
        measure(finished, protocol="ten-crop")
    with pytest.raises(ResNetsError, match=r"--set: is for detectors, and .* is a localizer"):
        measure(finished, settings=["testing.refined=true"])
    with pytest.raises(CheckpointError, match="holds a localizer"):
        measure(finished, finished.folder)


def boxes_of(*each):
    names = tuple(f"{index}.png" for index in range(len(each)))
    return AnnotatedFiles(names, names, tuple(each), names.__getitem__)


CIRCLE, SQUARE = (0, 0, 9, 9, 0), (5, 5, 20, 20, 1)


def test_images_without_boxes_or_with_several_classes_are_left_out():
    files = boxes_of(
        scenes.objects(CIRCLE, CIRCLE),
        scenes.objects(),
        scenes.objects(CIRCLE, SQUARE),
        scenes.objects(SQUARE, (*CIRCLE, "ignored")),
        scenes.objects((*CIRCLE, "ignored")),
    )
    found = OfOneClass.of(files, "x")
    assert found.files.names == ("0.png", "3.png")
    assert found.labels_n.tolist() == [0, 1]
    assert found.left_out == 3
    with pytest.raises(DataError, match="x: no image of a split"):
        OfOneClass.of(boxes_of(scenes.objects(CIRCLE, SQUARE)), "x")


def test_how_many_were_left_out_is_said_when_a_run_begins(data, weights, capsys, tmp_path):
    train = data.splits["train"]
    emptied = replace(train, objects=(scenes.objects(), *train.objects[1:]))
    mended = replace(data, splits={**data.splits, "train": emptied})
    start(mended, weights, tmp_path / "run", total_steps=1, batch_images=5)
    assert (
        "1 images to train on have no box, or boxes of several classes" in capsys.readouterr().err
    )


def test_a_recipe_of_a_localizer_survives_json_and_takes_settings():
    tree = json.loads(json.dumps(codec.to_tree(RECIPE)))
    assert codec.from_tree(tree) == RECIPE
    changed = codec.override(RECIPE, ["learning.anchors=16", "data.view.crop_px=56"])
    assert changed.learning.anchors == 16
    assert changed.data.view.crop_px == 56
    assert codec.digest(changed) != codec.digest(RECIPE)
    with pytest.raises(RecipeError, match=r"data\.view\.mean"):
        codec.override(RECIPE, ["data.view.mean=null"])
    with pytest.raises(RecipeError, match="part_images: must divide batch_images, 6, got 4"):
        codec.override(RECIPE, ["part_images=4"])


def test_colours_come_from_the_weights_and_the_view_from_the_recipe(weights):
    view = Preprocess(resize_px=40, crop_px=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    other = replace(
        weights.checkpoint, preprocess=view, mean_hwc=torch.tensor(view.mean).view(1, 1, 3)
    )
    found = localizers.for_weights(RECIPE, Weights("w", other), network=False)
    assert found.data.view.mean == pytest.approx(view.mean)
    assert found.data.view.std == view.std
    assert (found.data.view.resize_px, found.data.view.crop_px) == (64, 64)
    assert found.transfer.weights == f"sha256:{other.weights_sha256}"


def test_length_fits_the_number_of_images():
    own = localize.RECIPES[localize.FINETUNE]
    assert localize.fitted(own, 16).total_steps == 100
    assert localize.fitted(own, 3600).total_steps == 10 * 3600 // 16
    assert localize.fitted(own, 4).batch_images == 4


def test_data_of_one_class_an_image_is_whatever_has_boxes():
    data = DetectionData(
        name="shapes",
        where="shapes",
        classes=("circle", "square"),
        category_ids=(1, 2),
        splits={
            "train": boxes_of(scenes.objects(CIRCLE), scenes.objects(SQUARE)),
            "validation": boxes_of(scenes.objects(CIRCLE)),
        },
    )
    found = localizers.split(RECIPE, data)
    assert (len(found.train), len(found.test), found.name) == (2, 1, "validation")
