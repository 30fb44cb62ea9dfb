import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import samples
from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, ResNetsError
from resnets.data import images, opening, packing, preprocess, synthetic
from resnets.data.sets import DataSet, ImageSet
from resnets.experiment import evaluate
from resnets.inference import checkpoints


def test_a_finished_run_is_measured_again_to_the_same_error(finished):
    for where in (finished.folder, str(finished.folder / "model.safetensors")):
        found = evaluate.evaluate(where, device="cpu")
        assert found.top1_error_percent == finished.top1_error_percent
        assert found.images == 64
        assert found.split == "test"
        low, high = found.top1_interval_percent
        assert low < found.top1_error_percent < high
        (told,) = found.checkpoints
        assert told["weights_sha256"] == checkpoints.newest(finished.folder).weights_sha256
        assert (told["name"], told["update"], told["finished"]) == ("tiny", 10, True)
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
    (told,) = found.checkpoints
    assert (told["update"], told["finished"]) == (6, False)
    assert found.protocol.endswith(f", UNFINISHED: {told['checkpoint']} saved after update 6")
    assert "UNFINISHED" not in evaluate.evaluate(finished.folder, device="cpu").protocol


def test_data_of_other_classes_is_refused_naming_both(finished):
    for classes in (("red", "green", "blue"), ("dark", "blue", "green", "red")):
        other = replace(synthetic.make(), classes=classes)
        with pytest.raises(DataError, match=rf"{classes[0]}, \.\.\.\), the network 4 \(red, "):
            evaluate.evaluate(finished.folder, other, device="cpu")


def test_images_of_another_size_are_refused(finished):
    data = synthetic.make()
    small = ImageSet(data.test.images_nhwc[:, :16, :16], data.test.labels_n)
    with pytest.raises(DataError, match="images of 16 px, the network was trained on 32 px"):
        evaluate.evaluate(finished.folder, replace(data, test=small), device="cpu")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in this folder"):
        evaluate.evaluate(tmp_path)


def test_the_size_of_an_evaluation_batch_does_not_change_the_counts(finished, monkeypatch):
    expected = evaluate.evaluate(finished.folder, split="train", device="cpu")
    monkeypatch.setattr(evaluate.build, "EVALUATION_BATCH_IMAGES", 37)
    found = evaluate.evaluate(finished.folder, split="train", device="cpu")
    assert found.top1_error_percent == expected.top1_error_percent
    assert found.images == expected.images


# --- Ensembles.


@pytest.fixture(scope="session")
def second(finished, tmp_path_factory, train):
    """Another run of the same recipe, by another seed."""
    recipe = checkpoints.newest(finished.folder).recipe
    return train(recipe, tmp_path_factory.mktemp("runs") / "second", seed=1)


def scores_of(where, pixels_nhwc):
    """Softmax scores by the network as it was trained, with nothing fused."""
    checkpoint = checkpoints.newest(where)
    ready = (pixels_nhwc.float() / 255 - checkpoint.mean_hwc) / checkpoint.std_hwc
    with torch.inference_mode():
        return checkpoint.network()(ready.permute(0, 3, 1, 2)).softmax(1)


def test_an_ensemble_in_memory_is_the_mean_of_the_softmax_scores(finished, second):
    data = synthetic.make()
    mean = sum(scores_of(f, data.test.images_nhwc) for f in (finished.folder, second.folder)) / 2
    wrong = int((mean.argmax(1) != data.test.labels_n).sum())
    found = evaluate.evaluate([finished.folder, second.folder], device="cpu")
    assert found.top1_error_percent == 100 * wrong / 64
    assert found.protocol.startswith("ensemble of 2, mean of softmax, synthetic test, ")
    assert [each["checkpoint"] for each in found.checkpoints] == [
        str(run.folder / "model.safetensors") for run in (finished, second)
    ]
    alone = {evaluate.evaluate(f, device="cpu").top1_error_percent for f in (finished.folder,)}
    assert found.top1_error_percent not in alone


def test_a_network_beside_itself_gives_its_own_error(finished):
    one = evaluate.evaluate(finished.folder, device="cpu")
    two = evaluate.evaluate([finished.folder] * 2, device="cpu")
    assert two.top1_error_percent == one.top1_error_percent


def test_an_ensemble_of_other_classes_is_refused(finished, tmp_path, train):
    other = replace(synthetic.make(), classes=("r", "g", "b", "d"))
    recipe = replace(checkpoints.newest(finished.folder).recipe, total_steps=1)
    train(recipe, tmp_path / "other", other)
    with pytest.raises(ResNetsError, match="an ensemble needs networks of the same classes"):
        evaluate.evaluate([finished.folder, tmp_path / "other"], device="cpu")


def test_networks_that_held_out_different_images_share_no_validation_split(
    finished, tmp_path, train
):
    recipe = checkpoints.newest(finished.folder).recipe
    recipe = replace(recipe, data=replace(recipe.data, held_out_images=56), total_steps=1)
    train(recipe, tmp_path / "run")
    both = [tmp_path / "run", finished.folder]
    for split in ("validation", "train"):
        with pytest.raises(DataError, match=f"--split {split}: .* use --split test"):
            evaluate.evaluate(both, split=split, device="cpu")
    assert evaluate.evaluate(both, device="cpu").images == 64
    twice = evaluate.evaluate(both[:1] * 2, split="validation", device="cpu")
    assert twice.images == 56


# --- Image files.


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The 64 test images as files in folders by class, some larger and none square."""
    at = tmp_path_factory.mktemp("files") / "mine"
    data = synthetic.make()
    for i, (pixels, label) in enumerate(
        zip(data.test.images_nhwc, data.test.labels_n, strict=True)
    ):
        place = at / "validation" / data.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels.numpy())
        image.resize((40 + i % 3, 44), Image.Resampling.BICUBIC).save(place / f"{i:02d}.png")
    return at


def test_image_files_are_measured_in_the_networks_own_view_by_class_name(finished, folder):
    checkpoint = checkpoints.newest(finished.folder)
    data = opening.open_data(folder)
    assert data.classes == ("blue", "dark", "green", "red")  # another order than the network's
    files = data.splits["validation"]
    views = [
        preprocess.central(images.decode(files.read(i), files.names[i]), checkpoint.preprocess)
        for i in range(len(files))
    ]
    guessed = scores_of(finished.folder, torch.from_numpy(np.stack(views))).argmax(1)
    wrong = sum(
        checkpoint.classes[guess] != data.classes[label]
        for guess, label in zip(guessed, files.labels_n, strict=True)
    )
    for given in (folder, str(folder), data):
        found = evaluate.evaluate(finished.folder, given, precision="float32", device="cpu")
        assert (found.split, found.images) == ("validation", 64)
        assert found.top1_error_percent == 100 * wrong / 64
    assert 0 < wrong < 64
    assert found.data == "mine"
    assert found.protocol == (
        "mine validation, single-crop: shorter side 32 px (bicubic with antialiasing), central "
        "32 px, float32"
    )


def test_a_pack_of_image_files_is_measured_as_the_files_are(finished, folder, tmp_path):
    packing.pack(opening.open_data(folder), tmp_path / "pack")
    measured = [
        evaluate.evaluate(finished.folder, where, per_class=True, device="cpu").to_dict()
        for where in (folder, tmp_path / "pack")
    ]
    for each in measured:
        assert each.pop("images_per_second") > 0
    assert measured[0] == measured[1]


def test_resized_images_are_measured_as_other_data(finished, folder, tmp_path):
    packing.pack(opening.open_data(folder), tmp_path / "pack", shorter_px=36, quality=50)
    before, after = (
        evaluate.evaluate(finished.folder, where, precision="float32", device="cpu")
        for where in (folder, tmp_path / "pack")
    )
    assert (after.images, after.data) == (before.images, before.data)
    assert after.data_digest != before.data_digest


def test_an_ensemble_over_files_is_the_mean_of_the_softmax_scores(finished, second, folder):
    files = opening.open_data(folder).splits["validation"]
    index_of = {name: i for i, name in enumerate(synthetic.make().classes)}
    labels = torch.tensor([index_of[name.split("/")[-2]] for name in files.names])
    each = []
    for run in (finished, second):
        wanted = checkpoints.newest(run.folder).preprocess
        views = [
            preprocess.central(images.decode(files.read(i), files.names[i]), wanted)
            for i in range(len(files))
        ]
        each.append(scores_of(run.folder, torch.from_numpy(np.stack(views))))
    wrong = int(((each[0] + each[1]).argmax(1) != labels).sum())
    both = [finished.folder, second.folder]
    for precision in ("float32", "auto"):
        found = evaluate.evaluate(both, folder, precision=precision, device="cpu")
        assert found.top1_error_percent == 100 * wrong / 64
    assert found.protocol.startswith("ensemble of 2, mean of softmax, mine validation, ")


@pytest.mark.parametrize("where", ["memory", "files"])
def test_scores_are_averaged_and_not_logits(finished, folder, tmp_path, where):
    tensors, about = artifacts.load_tensors(finished.folder / "model.safetensors")
    members = []
    # One network is very sure of the first class, two are sure enough of the second.
    for name, logits in (("a", [20.0, 0, 0, 0]), ("b", [0, 5.0, 0, 0]), ("c", [0, 5.0, 0, 0])):
        constant = {
            "model.head.weight": torch.zeros_like(tensors["model.head.weight"]),
            "model.head.bias": torch.tensor(logits),
        }
        members.append(tmp_path / f"{name}.safetensors")
        artifacts.save_tensors(members[-1], tensors | constant, about)
    data = folder if where == "files" else None
    found = evaluate.evaluate(members, data, per_class=True, device="cpu")
    right = [row["class"] for row in found.classes if row["top1_error_percent"] == 0]
    assert right == ["green"]


def test_scores_of_a_whole_image_are_the_mean_of_softmax_over_the_places_of_its_map(finished):
    draw = torch.Generator().manual_seed(1)
    whole = torch.randint(0, 256, (2, 44, 56, 3), dtype=torch.uint8, generator=draw)
    checkpoint = checkpoints.newest(finished.folder)
    classifier = evaluate.Classifier(checkpoint, torch.device("cpu"))
    scores = classifier.log_score_map(whole).exp()
    assert scores.shape == (2, 4, 4, 7)
    scores_of = evaluate.scorer(checkpoint, "multi-scale", torch.device("cpu"), "float32")
    torch.testing.assert_close(scores_of(whole).exp(), scores.mean((2, 3)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("protocol", ["single-crop", "multi-scale"])
def test_auto_counts_as_float32_does_and_says_how(finished, folder, monkeypatch, protocol):
    chosen = evaluate.hardware.Choice("bfloat16", "for this test")
    monkeypatch.setattr(evaluate.hardware, "precision", lambda device: chosen)
    errors = {}
    for precision in ("auto", "float32", "bfloat16"):
        found = evaluate.evaluate(
            finished.folder, folder, protocol=protocol, precision=precision, device="cpu"
        )
        errors[precision] = (found.top1_error_percent, found.top5_error_percent)
        said = {"auto": "bfloat16, close calls in float32"}.get(precision, precision)
        assert found.precision == said
        assert found.protocol.endswith(f", {said}")
        assert (found.close_calls > 0) is (precision == "auto")
    assert errors["auto"] == errors["float32"]


def test_where_float32_is_fastest_auto_is_float32(finished, folder, monkeypatch):
    chosen = evaluate.hardware.Choice("float32", "for this test")
    monkeypatch.setattr(evaluate.hardware, "precision", lambda device: chosen)
    found = evaluate.evaluate(finished.folder, folder, device="cpu")
    assert (found.precision, found.close_calls) == ("float32", 0)


def test_data_in_memory_is_measured_in_float32_unless_it_is_said(finished):
    auto = evaluate.evaluate(finished.folder, device="cpu")
    assert auto.precision == "float32"
    rough = evaluate.evaluate(finished.folder, precision="bfloat16", device="cpu")
    assert rough.precision == "bfloat16"
    assert rough.protocol.endswith(", bfloat16")
    assert rough.top1_error_percent == pytest.approx(auto.top1_error_percent, abs=5)


def test_classes_that_the_network_does_not_have_are_refused(finished, tmp_path, folder):
    (tmp_path / "other" / "violet").mkdir(parents=True)
    (tmp_path / "other" / "red").mkdir()
    picture = next(folder.rglob("*.png")).read_bytes()
    for name in ("violet", "red"):
        (tmp_path / "other" / name / "a.png").write_bytes(picture)
    with pytest.raises(
        DataError, match=r"other: has images of 1 classes \(violet, ...\) that are none"
    ):
        evaluate.evaluate(finished.folder, tmp_path / "other", device="cpu")


def table(folder, at, rows, column="class_index"):
    """Write labels.csv beside copies of the first images."""
    at.mkdir()
    for (name, _), source in zip(rows, sorted(folder.rglob("*.png")), strict=False):
        (at / name).write_bytes(source.read_bytes())
    text = [f"file,{column}", *(f"{name},{label}" for name, label in rows)]
    (at / "labels.csv").write_text("\n".join(text))
    return at


def test_the_same_images_in_any_form_have_the_same_counts(finished, folder, tmp_path):
    classes = opening.open_data(folder).classes
    images = sorted(folder.rglob("*.png"))
    rows = [(p.name, p.read_bytes(), classes.index(p.parent.name)) for p in images]
    listed = [(p.name, p.parent.name) for p in images]
    table(folder, tmp_path / "csv", listed, "class")
    for i in range(2):
        tar = tmp_path / "tars" / f"validation-{i}.tar"
        tar.parent.mkdir(exist_ok=True)
        tar.write_bytes(samples.shard(rows[i::2]))
    (tmp_path / "tars" / "classes.txt").write_text("\n".join(classes))
    file = tmp_path / "parquet" / "data" / "validation-00000-of-00001.parquet"
    samples.write_table(file, samples.table(rows, list(classes)), group_rows=7)
    whole = evaluate.evaluate(finished.folder, folder, per_class=True, device="cpu")
    for form in ("csv", "tars", "parquet"):
        found = evaluate.evaluate(finished.folder, tmp_path / form, per_class=True, device="cpu")
        assert found.data == form
        assert (found.split, found.images) == ("validation", 64)
        assert found.classes == whole.classes
        assert found.top1_error_percent == whole.top1_error_percent


def test_some_of_the_classes_are_enough(finished, folder, tmp_path):
    rows = [("a.png", "green"), ("b.png", "blue"), ("c.png", "green")]
    found = evaluate.evaluate(
        finished.folder,
        table(folder, tmp_path / "some", rows, "class"),
        per_class=True,
        device="cpu",
    )
    assert found.images == 3
    assert [(row["class"], row["class_index"], row["images"]) for row in found.classes] == [
        ("green", 1, 2),
        ("blue", 2, 1),
    ]


def test_a_class_index_beyond_the_networks_is_refused(finished, folder, tmp_path):
    fits = table(folder, tmp_path / "fits", [("a.png", 3), ("b.png", 0)])
    assert evaluate.evaluate(finished.folder, fits, device="cpu").images == 2
    beyond = table(folder, tmp_path / "beyond", [("a.png", 4), ("b.png", 0)])
    with pytest.raises(DataError, match=r"class index of 4, the network 4 classes \(0 to 3\)"):
        evaluate.evaluate(finished.folder, beyond, device="cpu")


def test_the_training_split_of_files_is_measured_where_there_is_no_other(
    finished, folder, tmp_path
):
    for split in ("train", "validation"):
        (tmp_path / "both" / split).mkdir(parents=True)
        (tmp_path / "both" / split / "red").symlink_to(folder / "validation" / "red")
    found = evaluate.evaluate(finished.folder, tmp_path / "both", split="train", device="cpu")
    default = evaluate.evaluate(finished.folder, tmp_path / "both", device="cpu")
    assert (found.split, default.split) == ("train", "validation")
    assert found.images == default.images == 16
    with pytest.raises(DataError, match=r"--split test: both has train, validation"):
        evaluate.evaluate(finished.folder, tmp_path / "both", split="test", device="cpu")
    only = evaluate.evaluate(finished.folder, tmp_path / "both" / "train", device="cpu")
    assert (only.split, only.images) == ("train", 16)


def test_protocols_that_make_no_sense_are_refused(finished, folder):
    with pytest.raises(DataError, match=r"ten-crop: .* there is nothing to crop"):
        evaluate.evaluate(finished.folder, folder, protocol="ten-crop", device="cpu")
    for protocol in ("ten-crop", "multi-scale"):
        with pytest.raises(DataError, match=f"--protocol {protocol}: synthetic has images of"):
            evaluate.evaluate(finished.folder, protocol=protocol, device="cpu")


@pytest.mark.parametrize("where", ["memory", "files"])
def test_the_counts_of_the_classes_sum_to_the_whole(finished, folder, where):
    data = folder if where == "files" else None
    found = evaluate.evaluate(finished.folder, data, per_class=True, device="cpu")
    assert sum(row["images"] for row in found.classes) == found.images == 64
    wrong = sum(row["images"] * row["top1_error_percent"] / 100 for row in found.classes)
    assert 100 * wrong / 64 == pytest.approx(found.top1_error_percent)
    assert [row["class"] for row in found.classes] == list(synthetic.make().classes)
    assert len(found.to_dict()["classes"]) == 4
    assert "classes" not in evaluate.evaluate(finished.folder, data, device="cpu").to_dict()


def test_data_that_is_gone_costs_one_line(finished, tmp_path):
    with pytest.raises(DataError, match="resnets data list"):
        evaluate.evaluate(finished.folder, tmp_path / "gone", device="cpu")
