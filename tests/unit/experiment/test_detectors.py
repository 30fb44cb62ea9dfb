"""A detector is trained as a classifier is: by the same loop, resumed to the same bits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import samples
from resnets.core.errors import CheckpointError, DataError, InterruptedRunError, ModelError
from resnets.data.annotated import DetectionData
from resnets.data.preprocess import Preprocess
from resnets.experiment import detectors, evaluate_detectors, run, tasks
from resnets.experiment.transfer import Weights
from resnets.inference import checkpoints, detector, loading
from resnets.inference.checkpoints import Checkpoint
from resnets.models import making, zoo
from resnets.recipes import codec, detect
from resnets.recipes.detector import Pretrained, ScenesSpec

BACKBONE = samples.small_resnet()
RECIPE = samples.shapes_recipe(96, 160, updates=6)


@pytest.fixture(scope="module")
def data():
    return DetectionData(
        name="shapes",
        where="shapes",
        classes=("circle", "square"),
        category_ids=(1, 2),
        splits={"train": samples.shapes(6), "validation": samples.shapes(3, seed=1)},
    )


@pytest.fixture(scope="module")
def weights():
    found = Checkpoint(
        path=Path("weights.safetensors"),
        about={"classes": list("abcde"), "update": 7},
        spec=BACKBONE,
        preprocess=Preprocess(resize_px=36, crop_px=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        mean_hwc=torch.tensor((0.5, 0.4, 0.3)).view(1, 1, 3),
        recipe=None,
        model=samples.trained(BACKBONE).state_dict(),
        optimizer={},
    )
    return Weights("weights.safetensors", found)


def start(data, weights, out, **changes):
    recipe = replace(RECIPE, **changes)
    return run.start(recipe, data, name="shapes", out=out, device="cpu", weights=weights, workers=1)


@pytest.fixture(scope="module")
def finished(data, weights, tmp_path_factory):
    return start(data, weights, tmp_path_factory.mktemp("runs") / "finished")


def digest(folder):
    return checkpoints.newest(folder).weights_sha256


def test_a_run_says_what_average_precision_it_reached_and_journals_the_losses(finished):
    assert finished.measure == "ap50_percent"
    assert finished.split == "validation"
    assert finished.images == 3
    lines = (finished.folder / "journal.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[-1]["validation_ap50_percent"] == finished.value
    logged = next(record for record in records if "loss" in record)
    four = [value for name, value in logged.items() if name.endswith("_loss")]
    assert logged["loss"] == pytest.approx(sum(four), rel=1e-5)
    assert (finished.folder / "curves.png").exists()
    assert finished.to_dict()["ap50_percent"] == finished.value


def test_a_detector_carries_all_that_is_needed_to_use_it(finished):
    found = checkpoints.newest(finished.folder)
    assert found.about["kind"] == "detector"
    assert found.classes == ("circle", "square")
    assert found.spec == RECIPE.model
    assert found.preprocess == RECIPE.data.scaling
    assert codec.digest(found.recipe) == found.about["recipe_digest"]
    assert found.finished


def test_evaluating_it_gives_what_the_run_measured(finished, data):
    found = [checkpoints.newest(finished.folder)]
    measured = evaluate_detectors.evaluate(
        found, data, precision="float32", per_class=True, device="cpu"
    )
    assert measured.values["ap50_percent"] == pytest.approx(finished.value, abs=1e-9)
    assert measured.split == "validation"
    assert [row["class"] for row in measured.classes] == ["circle", "square"]
    told = measured.to_dict()
    assert told["images"] == 3
    assert "ap50_percent" in told


def test_stopping_and_resuming_changes_no_bit(data, weights, loop, finished, tmp_path):
    out = tmp_path / "run"
    loop.terminate_after(3)
    with pytest.raises(InterruptedRunError):
        start(data, weights, out)
    loop.undisturbed()
    run.resume(out, data)
    assert digest(out) == digest(finished.folder)


def test_bn_and_frozen_stages_stay_as_they_were_and_the_rest_learns(data, weights, tmp_path):
    folder = start(
        data, weights, tmp_path / "run", transfer=Pretrained(weights="w", frozen_stages=1)
    ).folder
    before, after = weights.checkpoint.model, checkpoints.newest(folder).model
    for name, tensor in before.items():
        if name.startswith("head."):
            continue
        same = torch.equal(after[f"backbone.{name}"], tensor)
        frozen = ".bn" in name or "stem" in name or "conv2_x" in name
        is_bn = any(part.startswith("bn") for part in name.split("."))
        if frozen or is_bn or tensor.dim() == 1:
            assert same, name
        else:
            assert not same, name


def test_the_network_and_how_it_sees_colours_come_from_the_weights(weights):
    found = detectors.for_weights(RECIPE, weights, network=False)
    assert found.model.backbone == BACKBONE
    assert found.data.scaling.mean == pytest.approx((0.5, 0.4, 0.3))
    assert found.data.scaling.std == (0.2, 0.3, 0.4)
    assert found.transfer.weights == f"sha256:{weights.checkpoint.weights_sha256}"


def test_weights_of_another_network_are_refused(weights):
    other = replace(RECIPE, model=replace(RECIPE.model, backbone=zoo.named("resnet18")))
    with pytest.raises(ModelError, match="not of resnet18"):
        detectors.for_weights(other, weights, network=True)
    spec = zoo.named("googlenet")
    with torch.device("meta"):
        model = making.make(spec).state_dict()
    found = replace(weights.checkpoint, spec=spec, model=model)
    with pytest.raises(ModelError, match="a detector is made of a ResNet or a VGG"):
        detectors.for_weights(RECIPE, Weights("w", found), network=False)


def test_data_without_boxes_and_recipes_without_them_do_not_go_together(data, tiny):
    from resnets.data import synthetic

    with pytest.raises(DataError, match="this needs boxes"):
        tasks.fitted(RECIPE, synthetic.make())
    with pytest.raises(DataError, match="images with boxes"):
        tasks.fitted(tiny, data)


def test_a_recipe_of_a_detector_survives_json_and_takes_settings():
    tree = json.loads(json.dumps(codec.to_tree(RECIPE)))
    assert codec.from_tree(tree) == RECIPE
    changed = codec.override(RECIPE, ["testing.refined=true", "data.scaling.shorter_px=80"])
    assert changed.testing.refined
    assert changed.data.scaling.shorter_px == 80
    assert codec.digest(changed) != codec.digest(RECIPE)
    assert codec.digest(replace(RECIPE, source="there")) == codec.digest(RECIPE)


@pytest.mark.parametrize(
    ("splits", "train", "test", "share"),
    [
        (("train", "validation", "test"), ("train",), "validation", 0),
        (("train", "test"), ("train",), "test", 0),
        (("train",), ("train",), "validation", 0.2),
        (("validation",), ("validation",), "validation", 0.2),
    ],
)
def test_what_is_trained_on_fits_the_splits_that_there_are(splits, train, test, share):
    recipe = replace(RECIPE, data=ScenesSpec(name="shapes"))
    found = detect.on_splits(recipe, splits).data
    assert (found.train, found.test, found.held_out_share) == (train, test, share)


def test_of_one_split_a_part_is_held_out(data, weights, tmp_path):
    alone = replace(data, splits={"train": data.splits["train"]})
    recipe = replace(RECIPE, data=replace(RECIPE.data, held_out_share=0.34))
    train, test, name = detectors.split(recipe, alone)
    assert (len(train), len(test), name) == (4, 2, "validation")
    assert not set(train.names) & set(test.names)


def test_length_fits_the_number_of_images():
    assert detect.fitted(RECIPE, 9).total_steps == 40 * 9 // 2
    assert detect.fitted(RECIPE, 3600).total_steps == 4 * 3600 // 2
    assert detect.fitted(RECIPE, 1).batch_images == 1


def test_it_predicts_objects_by_name_and_draws_them(finished, tmp_path):
    from resnets.inference import pictures

    files = samples.shapes(2)
    for name in files.names:
        (tmp_path / name).write_bytes(files.read(int(name[0])))
    finder = loading.load(finished.folder, "cpu")
    wanted = [pictures.file(tmp_path / name) for name in files.names]
    told = list(detector.told(finder, wanted, 3, tmp_path / "drawn"))
    assert all(len(objects) <= 3 for objects in told)
    for objects in told:
        for one in objects:
            assert one.class_name == ("circle", "square")[one.class_index]
            assert one.to_dict()["box_px"] == list(one.box_px)
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["0.png", "1.png"]


def test_a_classifier_is_no_detector_and_the_other_way_round(finished, weights):
    with pytest.raises(CheckpointError, match="an ensemble is of one kind"):
        detector.of(weights.checkpoint)
    with pytest.raises(CheckpointError, match="holds a detector"):
        checkpoints.classifier(checkpoints.newest(finished.folder))
