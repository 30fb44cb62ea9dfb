import json
from dataclasses import replace

import pytest
import torch

from resnets.core.errors import CheckpointError, DataError
from resnets.data import synthetic
from resnets.data.sets import DataSet, ImageSet
from resnets.experiment import build, evaluate
from resnets.inference import checkpoints


def test_a_finished_run_is_measured_again_to_the_same_error(finished):
    for where in (finished.folder, str(finished.folder / "model.safetensors")):
        found = evaluate.evaluate(where, device="cpu")
        assert found.top1_error_percent == finished.top1_error_percent
        assert found.images == 64
        assert found.split == "test"
        low, high = found.interval_percent
        assert low < found.top1_error_percent < high
        assert found.weights_sha256 == checkpoints.newest(finished.folder).weights_sha256
        assert found.data_digest == synthetic.make().digest


def test_an_evaluation_as_json_has_the_keys_people_were_told(finished):
    told = json.loads(json.dumps(evaluate.evaluate(finished.folder, device="cpu").to_dict()))
    assert {
        "top1_error_percent",
        "top5_error_percent",
        "images",
        "protocol",
        "images_per_second",
    } <= set(told)
    assert told["protocol"] == "synthetic test, single view, 32 px, trained at 32 px, float32"
    assert told["images_per_second"] > 0


def test_the_training_split_is_measured_unaugmented(finished):
    found = evaluate.evaluate(finished.folder, split="train", device="cpu")
    checkpoint = checkpoints.newest(finished.folder)
    train = synthetic.make().train
    pixels = (train.images_nhwc.float() / 255 - checkpoint.mean_hwc).permute(0, 3, 1, 2)
    with torch.inference_mode():
        wrong = int((checkpoint.network()(pixels).argmax(1) != train.labels_n).sum())
    assert found.images == 256
    assert found.top1_error_percent == 100 * wrong / 256


def test_a_validation_split_there_was_none_of_is_refused(finished):
    with pytest.raises(DataError, match=r"--split validation: .* use test or train"):
        evaluate.evaluate(finished.folder, split="validation", device="cpu")


def test_held_out_images_are_the_validation_split_and_not_the_training_split(tiny, train, tmp_path):
    recipe = replace(tiny, data=replace(tiny.data, held_out_images=56), total_steps=3)
    ended = train(recipe, tmp_path / "run")
    assert (ended.split, ended.images) == ("validation", 56)
    validation = evaluate.evaluate(tmp_path / "run", split="validation", device="cpu")
    assert validation.top1_error_percent == ended.top1_error_percent
    sizes = {
        split: evaluate.evaluate(tmp_path / "run", split=split, device="cpu").images
        for split in ("validation", "train", "test")
    }
    assert sizes == {"validation": 56, "train": 200, "test": 64}


def test_data_may_be_given_open_or_by_name(finished):
    expected = evaluate.evaluate(finished.folder, device="cpu").top1_error_percent
    for data in ("synthetic", synthetic.make()):
        found = evaluate.evaluate(finished.folder, data, device="cpu")
        assert found.top1_error_percent == expected


def test_other_images_of_the_same_classes_are_measured_and_named(finished):
    data = synthetic.make()
    few = data.test.take(torch.arange(5))
    other = DataSet("mine", "/mine", data.classes, data.train, few)
    found = evaluate.evaluate(finished.folder, other, device="cpu")
    assert found.images == 5
    assert found.protocol.startswith("mine test, ")
    assert found.data_digest == other.digest


def test_the_training_split_of_other_data_is_refused(finished):
    data = synthetic.make()
    other = replace(data, test=data.test.take(torch.arange(5)))
    for split in ("train", "validation"):
        with pytest.raises(DataError, match=rf"--split {split}: .*; use --split test"):
            evaluate.evaluate(finished.folder, other, split=split, device="cpu")


def test_an_unfinished_run_is_measured_and_said_to_be_unfinished(interrupted, finished):
    found = evaluate.evaluate(interrupted, device="cpu")
    assert (found.update, found.finished) == (6, False)
    assert found.protocol.endswith(", UNFINISHED: saved after update 6")
    ended = evaluate.evaluate(finished.folder, device="cpu")
    assert (ended.update, ended.finished) == (10, True)
    assert "UNFINISHED" not in ended.protocol


def test_data_of_other_classes_is_refused_naming_both(finished):
    for classes in (("red", "green", "blue"), ("dark", "blue", "green", "red")):
        other = replace(synthetic.make(), classes=classes)
        with pytest.raises(DataError, match=rf"{classes[0]}, \.\.\.\), the network 4 \(red, "):
            evaluate.evaluate(finished.folder, other, device="cpu")


def test_images_of_another_size_are_refused(finished):
    data = synthetic.make()
    small = ImageSet(data.test.images_nhwc[:, :16, :16], data.test.labels_n)
    with pytest.raises(DataError, match=r"images of \(16, 16, 3\), the network was trained on"):
        evaluate.evaluate(finished.folder, replace(data, test=small), device="cpu")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        evaluate.evaluate(tmp_path)


def test_the_size_of_an_evaluation_batch_does_not_change_the_counts(finished, monkeypatch):
    expected = evaluate.evaluate(finished.folder, split="train", device="cpu")
    monkeypatch.setattr(build, "_EVALUATION_BATCH_IMAGES", 37)
    found = evaluate.evaluate(finished.folder, split="train", device="cpu")
    assert found.top1_error_percent == expected.top1_error_percent
    assert found.images == expected.images
