"""Runs whose networks take images as grey, and those that no image has the channels for."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

import resnets
import samples
from resnets.core.errors import ModelError
from resnets.data import synthetic
from resnets.experiment import asking, build, evaluate
from resnets.experiment.asking import Changes
from resnets.inference import checkpoints

CPU = torch.device("cpu")
GREY = "model.in_channels=1"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path):
    """Grey files, of three shades that tell their classes."""
    for label, shade in enumerate((40, 120, 210)):
        place = tmp_path / "photos" / f"shade-{label}"
        place.mkdir(parents=True)
        for i in range(10):
            grain = np.random.default_rng([label, i]).integers(-30, 31, (9, 8))
            levels = (shade + grain).clip(0, 255).astype(np.uint8)
            Image.fromarray(levels).resize((50 + i, 60 - i)).save(place / f"{i}.png")
    return tmp_path / "photos"


def tune(photos, weights, out, *settings, updates=4):
    asked = (GREY, "precision=float32", f"total_steps={updates}", *settings)
    changes = Changes(weights=weights, settings=asked)
    return asking.start("folder.finetune", photos, changes, out=out, device="cpu")


def test_coloured_weights_go_on_learning_on_grey_images_to_a_whole_result(
    photos, finished, tmp_path
):
    ended = tune(photos, finished.folder, tmp_path / "run")
    found = checkpoints.newest(ended.folder)
    assert found.spec.in_channels == 1
    assert found.model["stem.conv1.weight"].shape[1] == 1
    assert ended.top1_error_percent < 40
    measured = evaluate.evaluate(ended.folder, split="validation")
    assert measured.top1_error_percent == ended.top1_error_percent
    assert (ended.folder / "report.html").exists()
    row = resnets.load(ended.folder).predict(photos / "shade-2" / "0.png")[0]
    assert row[0].class_name in found.classes
    # These weights are of grey images themselves now.
    again = tune(photos, ended.folder, tmp_path / "again", updates=1)
    assert checkpoints.newest(again.folder).spec.in_channels == 1


def test_the_first_layer_of_a_grey_run_is_that_of_the_weights_taken_together(
    photos, finished, tmp_path
):
    ended = tune(photos, finished.folder, tmp_path / "run", "transfer.frozen_stages=3", updates=1)
    whole = resnets.model("cifar-resnet8", weights=finished.folder, in_channels=1)
    kept = checkpoints.newest(ended.folder).model["stem.conv1.weight"]
    assert torch.equal(kept, whole.stem.conv1.weight)


def test_batches_of_small_images_have_the_channels_of_the_network(tiny):
    small = asking.Changes(settings=(GREY,)).apply(tiny, synthetic.make())
    parts = build.build(small, synthetic.make(), seed=0, device=CPU)
    coloured = build.build(tiny, synthetic.make(), seed=0, device=CPU).batch_of(3).images_nchw
    luma = torch.tensor([0.299, 0.587, 0.114])
    made = parts.batch_of(3).images_nchw
    assert made.shape == (16, 1, 32, 32)
    torch.testing.assert_close(made[:, 0], torch.einsum("nchw,c->nhw", coloured, luma))
    assert dict(parts.evaluator.run(parts.model))["test_images"] == len(synthetic.make().test)


def test_a_run_on_small_images_as_grey_ends_and_is_evaluated(tiny, train, tmp_path):
    recipe = asking.Changes(settings=(GREY, "total_steps=3", "true_averages=true")).apply(
        tiny, synthetic.make()
    )
    ended = train(recipe, tmp_path / "run")
    assert evaluate.evaluate(ended.folder).top1_error_percent == ended.top1_error_percent


def test_channels_that_no_image_has_are_refused_before_anything_is_written(tiny, tmp_path, train):
    with pytest.raises(ModelError, match="an image has 3, or 1 as grey, and this network takes 4"):
        train(
            asking.codec.override(tiny, ["model.in_channels=4"]),
            tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_mixing_and_erasing_work_on_grey_images_too(tmp_path):
    words = samples.everything(samples.write_photos(tmp_path / "photos"), 2)
    settings = [word for flag, word in itertools.pairwise(words) if flag == "--set"]
    changes = Changes(model="cifar-resnet8", batch_images=8, rate=0.002, settings=(*settings, GREY))
    ended = asking.start(
        "imagenet.resnet50-a1", tmp_path / "photos", changes, out=tmp_path / "run", device="cpu"
    )
    assert checkpoints.newest(ended.folder).spec.in_channels == 1
