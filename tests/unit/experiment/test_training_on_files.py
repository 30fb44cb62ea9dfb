"""Runs on image files: class folders with train/ and val/, and folders with one split."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import samples
from resnets.core import artifacts
from resnets.core.errors import DataError, InterruptedRunError, RecipeError
from resnets.data import means, opening, sets, synthetic
from resnets.data.preprocess import Preprocess
from resnets.experiment import asking, averaging, build, evaluate, run
from resnets.experiment.asking import Changes
from resnets.inference import checkpoints

CPU = torch.device("cpu")
SIZES = ("data.augment.shorter_px=[36,48]", "data.augment.crop_px=32", "precision=float32")
# Every evaluation after the first is a plateau, so the rate drops before updates 5, 7 and 9.
PLATEAU = ("schedule.every_steps=2", "schedule.patience=1", "schedule.min_improvement_percent=99")


SPLITS = {"train": 24, "val": 16}


class Killed(BaseException):
    """Stands for the end of the process: nothing after it is run."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "_LOG_EVERY", 1)
    monkeypatch.setattr(run, "_SAVE_AFTER_S", 1e9)
    return tmp_path / "cache" / "resnets"


def write(folder, splits):
    data = synthetic.make()
    images = iter(zip(data.train.images_nhwc, data.train.labels_n.tolist(), strict=True))
    for split, count in splits.items():
        for i in range(count):
            pixels, label = next(images)
            place = folder / split / data.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            grown = Image.fromarray(pixels.numpy()).resize((40 + i, 64 - i))
            grown.save(place / f"{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "photos", SPLITS)


def changes(*settings, updates=8, **given):
    words = (f"total_steps={updates}", *SIZES, *PLATEAU, *settings)
    return Changes(**({"model": "cifar-resnet8", "batch_images": 5} | given), settings=words)


def train(folder, out, *settings, seed=0, **given):
    return asking.start(
        "imagenet.resnet18",
        folder,
        changes(*settings, **given),
        out=out,
        seed=seed,
        device="cpu",
        compiling="off",
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run on the same images as `folder` has; not to be changed."""
    made = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(made / "cache"))
        patch.setattr(run, "_LOG_EVERY", 1)
        train(write(made / "photos", SPLITS), made / "run")
    return made / "run"


def weights(folder):
    return checkpoints.newest(folder).weights_sha256


def journal(folder):
    records = artifacts.read_lines(folder / "journal.jsonl")
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def test_a_run_on_files_validates_as_evaluating_its_checkpoint_does(whole):
    last = journal(whole)[-1]
    ended = run.resume(whole)
    assert (ended.split, ended.images, ended.updates) == ("validation", 16, 8)
    assert set(last) == {
        "update",
        "validation_top1_error_percent",
        "validation_top5_error_percent",
        "validation_images",
    }
    measured = evaluate.evaluate(whole)
    assert measured.split == "validation"
    assert measured.images == last["validation_images"] == 16
    assert measured.top1_error_percent == last["validation_top1_error_percent"]
    assert measured.top5_error_percent == last["validation_top5_error_percent"]


def test_a_finished_run_says_its_preprocessing_its_classes_and_keeps_the_mean(whole):
    found = checkpoints.newest(whole)
    data = opening.open_data(whole.parent / "photos")
    wanted = Preprocess(resize_px=36, crop_px=32, mean=None, std=(1.0, 1.0, 1.0))
    assert found.preprocess == wanted
    assert found.classes == tuple(sorted(synthetic.make().classes))
    assert found.about["data"] == {"name": "photos", "where": data.where, "digest": data.digest}
    assert torch.equal(found.mean_hwc, means.central(data.splits["train"], wanted))


def test_a_run_ends_with_true_averages_over_its_first_epoch_and_measures_them(
    folder, whole, tmp_path
):
    train(folder, tmp_path / "moving", "true_averages=false")
    true, moving = (checkpoints.newest(where) for where in (whole, tmp_path / "moving"))
    assert journal(whole)[:-1] == journal(tmp_path / "moving")
    for name, tensor in true.model.items():
        assert torch.equal(tensor, moving.model[name]) == (
            not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        )
    recipe = true.recipe
    parts = build.build(recipe, opening.open_data(folder), seed=0, device=CPU)
    parts.model.load_state_dict(moving.model)
    averaging.of_run(parts.model, parts.batch_of)  # 4 batches of 5 of 24 images
    assert parts.model.stem.bn1.num_batches_tracked == 4
    found = parts.model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in true.model.items())


def rates(folder):
    return [r["learning_rate"] for r in journal(folder) if "loss" in r]


def test_the_rate_falls_where_the_journal_says_that_the_error_did_not(whole):
    expected = [0.1] * 4 + [0.01] * 2 + [0.001] * 2
    assert rates(whole) == pytest.approx(expected, rel=1e-12)
    evaluated = [r["update"] for r in journal(whole) if "validation_images" in r]
    assert evaluated == [2, 4, 6, 8, 8]


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_stopping_and_resuming_changes_no_bit_and_counts_no_mean_again(
    folder, whole, tmp_path, loop, cache, monkeypatch, stop
):
    loop.terminate_after(stop)
    with pytest.raises(InterruptedRunError):
        train(folder, tmp_path / "run")
    loop.undisturbed()
    for kept in cache.glob("mean-*"):
        kept.unlink()
    monkeypatch.setattr(means, "central", None)  # not to be asked
    run.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole)
    assert journal(tmp_path / "run") == journal(whole)


@pytest.mark.parametrize("cached", [True, False])
def test_a_run_killed_before_its_first_state_begins_again_to_the_same_bits(
    folder, whole, tmp_path, loop, cache, monkeypatch, cached
):
    def killed(number):
        if number == 3:
            raise Killed

    loop.after_each(killed)
    with pytest.raises(Killed):
        train(folder, tmp_path / "run")
    loop.undisturbed()
    if cached:
        monkeypatch.setattr(means, "_counted", None)
    else:
        next(cache.glob("mean-*")).unlink()
    run.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole)
    assert journal(tmp_path / "run") == journal(whole)


def test_the_seed_decides_the_run_and_another_gives_another(folder, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(folder, tmp_path / name, updates=2, seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_what_is_held_out_is_validated_on_and_never_trained_on(folder, tmp_path):
    train(folder, tmp_path / "run", "data.held_out_images=10")
    data = opening.open_data(folder)
    found = checkpoints.newest(tmp_path / "run")
    left, held = sets.hold_out(data.splits["train"], 10)
    parts = build.build(found.recipe, data, seed=0, device=CPU)
    assert parts.batch_of.images == 14
    assert parts.train.names == parts.aside.files.names == left.names
    assert parts.evaluator.files.names == held.names
    assert torch.equal(found.mean_hwc, means.central(left, found.preprocess))
    last = journal(tmp_path / "run")[-1]
    errors = {
        split: evaluate.evaluate(tmp_path / "run", split=split)
        for split in ("train", "validation", "test", None)
    }
    assert [each.images for each in errors.values()] == [14, 10, 16, 16]
    assert errors[None].split == "test"
    assert errors["validation"].top1_error_percent == last["validation_top1_error_percent"]


def test_data_with_one_split_is_trained_on_once_images_are_held_out(tmp_path):
    folder = write(tmp_path / "one", {"": 24})
    with pytest.raises(DataError, match=r"has one split of 24 images.*--set data\.held_out_share"):
        train(folder, tmp_path / "run")
    ended = train(folder, tmp_path / "run", "data.held_out_images=6", updates=2)
    assert (ended.split, ended.images) == ("validation", 6)
    measured = evaluate.evaluate(tmp_path / "run")
    assert (measured.split, measured.images) == ("validation", 6)
    assert measured.top1_error_percent == ended.top1_error_percent
    with pytest.raises(DataError, match="--split test: one has train, validation"):
        evaluate.evaluate(tmp_path / "run", split="test")


def test_networks_that_held_out_different_images_are_not_measured_together(tmp_path):
    folder = write(tmp_path / "one", {"": 24})
    for images in (6, 7):
        train(folder, tmp_path / f"run{images}", f"data.held_out_images={images}", updates=1)
    with pytest.raises(DataError, match="held out different images"):
        evaluate.evaluate([tmp_path / "run6", tmp_path / "run7"])


def test_true_averages_of_a_checkpoint_leave_out_what_its_run_held_out(folder, tmp_path):
    train(folder, tmp_path / "run", "data.held_out_images=10", updates=1)
    made = averaging.average(tmp_path / "run", tmp_path / "a.safetensors", device="cpu")
    assert made.about["true_averages"]["images"] == 14


def test_classes_without_names_are_their_indices(folder, tmp_path):
    files = sorted((folder / "train").glob("*/*.png"))
    rows = [f"{path.relative_to(folder).as_posix()},{i % 3}" for i, path in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *rows]))
    train(folder, tmp_path / "run", "data.held_out_images=6", updates=1)
    assert checkpoints.newest(tmp_path / "run").classes == ("0", "1", "2")


def test_epochs_count_the_files_that_are_trained_on(folder):
    data = opening.open_data(folder)
    recipe = asking.catalogue.named("imagenet.resnet18")
    asked = Changes(epochs=3, batch_images=5)
    found = asked.apply(recipe, data)
    assert found.total_steps == 15  # 72 / 5
    assert found.schedule == recipe.schedule.stretched(15 / 600_000)
    assert found.model.classes == 4
    assert found.data.name == "photos"
    assert found.expected is None


def test_a_network_sees_crops_of_the_recipes_size(folder):
    recipe = asking.catalogue.named("imagenet.resnet18")
    wide = build.fitted(recipe, opening.open_data(folder))
    narrow, wider = (
        replace(wide, data=replace(wide.data, augment=build.ScaleCrop(crop_px=crop_px)))
        for crop_px in (96, 192)
    )
    work = [build.multiply_adds(each, opening.open_data(folder)) for each in (narrow, wider)]
    assert work[1] == pytest.approx(4 * work[0], rel=1e-4)  # but for the last layer


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        (changes(batch_images=25), RecipeError, "batch_images: at most the 24 training images"),
        (changes("data.held_out_images=24"), DataError, "must be from 1 to 23 here, got 24"),
        (changes("model.classes=7"), RecipeError, r"model\.classes: photos has 4 classes, got 7"),
        (changes(model="vgg16"), None, "vgg needs images of at least 32 px, got 31"),
    ],
    ids=["batch", "held out", "classes", "size"],
)
def test_what_the_files_do_not_allow_is_refused_before_anything_is_written(
    folder, tmp_path, asked, error, message
):
    if error is None:
        error = build.RecipeError.__base__
        asked = replace(asked, settings=(*asked.settings, "data.augment.crop_px=31"))
    with pytest.raises(error, match=message):
        asking.start("imagenet.resnet18", folder, asked, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_recipes_and_data_of_different_kinds_are_told_what_fits(folder, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(RecipeError, match=r"photos has image files.*folder\.finetune"):
        asking.start("sample.resnet20", folder, Changes(), out=out)
    with pytest.raises(RecipeError, match=r"synthetic has small images.*cifar10\.resnet20"):
        asking.start("imagenet.resnet18", "synthetic", Changes(), out=out)
    archives = samples.write_imagenet(tmp_path / "archives")
    with pytest.raises(DataError, match=r"resnets train imagenet\.resnet50 --data .*archives"):
        asking.start(None, archives, Changes(), out=out)
    with pytest.raises(DataError, match=r"imagenet: is not fetched.*ILSVRC2012_img_train\.tar"):
        asking.start("imagenet.resnet18", None, Changes(), out=out)
    assert not out.exists()


def test_without_a_recipe_a_folder_is_learnt_by_going_on_from_weights(folder, whole, tmp_path):
    asked = Changes(epochs=1, weights=whole, settings=("precision=float32",))
    ended = asking.start(None, folder, asked, out=tmp_path / "run", device="cpu")
    assert (ended.split, ended.images, ended.updates) == ("validation", 16, 1)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["name"] == "folder.finetune"
    assert manifest["weights"]["sha256"] == weights(whole)


def damage(folder, images):
    """Spoil training images of every kind of name; return what they were."""
    paths = sorted((folder / "train").glob("*/*.png"))[::2][:images]
    were = {path: path.read_bytes() for path in paths}
    for path in paths:
        path.write_bytes(were[path][:60])
    return were


def test_images_that_cannot_be_decoded_are_set_aside_and_a_killed_run_ends_in_the_same_bits(
    folder, whole, tmp_path, loop
):
    damage(folder, 5)
    train(folder, tmp_path / "run")
    assert weights(tmp_path / "run") != weights(whole)
    loop.terminate_after(3)
    with pytest.raises(InterruptedRunError):
        train(folder, tmp_path / "again")
    loop.undisturbed()
    run.resume(tmp_path / "again")
    assert weights(tmp_path / "again") == weights(tmp_path / "run")
    assert journal(tmp_path / "again") == journal(tmp_path / "run")


def test_more_than_are_set_aside_are_named_before_anything_is_written(folder, tmp_path):
    first = next(iter(damage(folder, 11)))
    with pytest.raises(DataError, match=r"^11 of 24 training images cannot be read") as caught:
        train(folder, tmp_path / "run")
    assert f"({first.parent.name}/{first.name}: a damaged image" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_images_that_are_damaged_while_they_are_trained_on_stop_the_run_which_can_go_on(
    folder, whole, tmp_path, loop
):
    loop.save_after(2)
    saving, were = run.updates, {}

    def watched(*given, **named):
        for update in saving(*given, **named):
            if update.number == 2:
                for path in (folder / "train").glob("*/*.png"):
                    were[path] = path.read_bytes()
                    path.write_bytes(b"no image")
            yield update

    loop.monkeypatch.setattr(run, "updates", watched)
    with pytest.raises(DataError, match=r"^11 of 24 training images cannot be read"):
        train(folder, tmp_path / "run")
    for path, content in were.items():
        path.write_bytes(content)
    loop.undisturbed()
    run.resume(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole)


def test_resuming_on_files_of_another_list_is_refused(folder, tmp_path, loop):
    loop.terminate_after(1)
    with pytest.raises(InterruptedRunError):
        train(folder, tmp_path / "run")
    next((folder / "train").glob("*/*.png")).unlink()
    with pytest.raises(run.RunError, match="began with other data"):
        run.resume(tmp_path / "run")


def test_a_plateau_on_small_images_in_memory_watches_their_test_error(tmp_path):
    schedule = {"kind": "plateau", "every_steps": 2, "patience": 1, "min_improvement_percent": 99}
    words = ("total_steps=6", f"schedule={json.dumps(schedule)}", "precision=float32")
    asked = Changes(model="cifar-resnet8", batch_images=8, settings=words)
    asking.start("sample.resnet20", "synthetic", asked, out=tmp_path / "run", device="cpu")
    assert rates(tmp_path / "run") == pytest.approx([0.2] * 4 + [0.02] * 2, rel=1e-12)
    assert np.isfinite([r["loss"] for r in journal(tmp_path / "run") if "loss" in r]).all()
