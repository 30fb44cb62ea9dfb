from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, DataError, ImageError, ModelError, StorageError
from resnets.data import images, preprocess, synthetic
from resnets.experiment import averaging, evaluate, run
from resnets.inference import checkpoints
from resnets.models import making
from resnets.models.spec import VggSpec
from resnets.recipes import codec


@pytest.fixture(autouse=True)
def by_number_and_not_by_the_clock(monkeypatch):
    monkeypatch.setattr(run, "_LOG_EVERY", 4)
    monkeypatch.setattr(run, "_SAVE_AFTER_S", 1e9)


def same_but_for_statistics(one, other):
    return all(
        torch.equal(one.model[name], other.model[name]) is not name.endswith("running_var")
        for name in one.model
        if not name.endswith(("running_mean", "num_batches_tracked"))
    )


def first_means(batches_nchw, network):
    """Return the mean over the batches of what the first BN is given: its mean and variance."""
    with torch.no_grad():
        given = [network.stem.conv1(batch) for batch in batches_nchw]
    means = torch.stack([each.mean((0, 2, 3)) for each in given])
    variances = torch.stack([each.var((0, 2, 3)) for each in given])
    return means.mean(0), variances.mean(0)


def statistics(checkpoint):
    return (
        checkpoint.model["stem.bn1.running_mean"],
        checkpoint.model["stem.bn1.running_var"],
        int(checkpoint.model["stem.bn1.num_batches_tracked"]),
    )


# --- The command.


def test_a_run_gets_averages_over_an_epoch_and_nothing_else_changes(finished, tmp_path):
    before = checkpoints.newest(finished.folder)
    made = averaging.average(finished.folder, tmp_path / "averaged.safetensors", device="cpu")
    assert same_but_for_statistics(before, made)
    assert statistics(made)[2] == 16  # 256 images by 16
    assert made.about == before.about | {
        "true_averages": {"images": 256, "data": "synthetic", "digest": synthetic.make().digest}
    }
    assert torch.equal(made.mean_hwc, before.mean_hwc)
    parts = run.build.build(before.recipe, synthetic.make(), seed=0, device=torch.device("cpu"))
    epoch = [parts.batch_of(number).images_nchw for number in range(1, 17)]
    mean, variance = first_means(epoch, before.network())
    assert torch.allclose(statistics(made)[0], mean, atol=1e-5)
    assert torch.allclose(statistics(made)[1], variance, rtol=1e-4)
    assert evaluate.evaluate(made.path, device="cpu").images == 64
    assert checkpoints.newest(finished.folder).weights_sha256 == before.weights_sha256


def test_images_held_out_take_no_part(tiny, train, tmp_path):
    recipe = replace(tiny, data=replace(tiny.data, held_out_images=56), total_steps=1)
    train(recipe, tmp_path / "run")
    made = averaging.average(tmp_path / "run", tmp_path / "a.safetensors", device="cpu")
    assert statistics(made)[2] == 200 // 16
    assert made.about["true_averages"]["images"] == 192


@pytest.fixture
def foreign(finished, tmp_path):
    """The finished run's network as it would be, had it come from elsewhere."""
    checkpoint = checkpoints.newest(finished.folder)
    wanted = replace(checkpoint.preprocess, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    about = {
        "kind": "classifier",
        "name": "elsewhere",
        "model": codec.model_to_tree(checkpoint.spec),
        "recipe": None,
        "update": 0,
        "preprocessing": codec.preprocess_to_tree(wanted),
        "classes": list(checkpoint.classes),
    }
    path = tmp_path / "foreign.safetensors"
    artifacts.save_tensors(path, {f"model.{n}": t for n, t in checkpoint.model.items()}, about)
    return checkpoints.read(path)


@pytest.mark.parametrize(("count", "batches"), [(256, 2), (200, 1), (50, 1)])
def test_other_peoples_weights_get_averages_over_small_images(
    foreign, tmp_path, monkeypatch, count, batches
):
    data = synthetic.make()
    few = replace(data, train=data.train.take(torch.arange(count)))
    monkeypatch.setattr(averaging.opening, "data", lambda where, trained: few)
    made = averaging.average(foreign.path, tmp_path / "a.safetensors", "here", "cpu")
    assert same_but_for_statistics(foreign, made)
    assert statistics(made)[2] == batches
    assert made.about["true_averages"]["images"] == {256: 256, 200: 128, 50: 50}[count]
    assert bool(statistics(made)[1].gt(0).all())
    if count == 50:
        pixels = few.train.images_nhwc.float() / 255
        ready = ((pixels - foreign.mean_hwc) / foreign.std_hwc).permute(0, 3, 1, 2)
        mean, variance = first_means([ready], foreign.network())
        assert torch.allclose(statistics(made)[0], mean, atol=1e-5)
        assert torch.allclose(statistics(made)[1], variance, rtol=1e-4)


@pytest.fixture
def folder(tmp_path):
    """Training images as files, of many sizes, and one split for validation."""
    data = synthetic.make()
    for split, count in (("train", 20), ("val", 4)):
        for i in range(count):
            place = tmp_path / "mine" / split / data.classes[i % 4]
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.repeat(data.train.images_nhwc[i].numpy(), 2, axis=0)
            Image.fromarray(pixels[: 40 + i]).save(place / f"{i}.png")
    return tmp_path / "mine"


def test_averages_over_files_are_of_whole_batches_of_central_views(
    foreign, folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(averaging, "_BATCH_IMAGES", {"cpu": 8})
    made = averaging.average(foreign.path, tmp_path / "a.safetensors", folder, "cpu")
    assert same_but_for_statistics(foreign, made)
    assert statistics(made)[2] == 2  # 20 images by 8
    assert made.about["true_averages"]["images"] == 16
    assert made.about["true_averages"]["data"] == "mine"
    again = averaging.average(foreign.path, tmp_path / "b.safetensors", folder, "cpu")
    assert again.weights_sha256 == made.weights_sha256
    monkeypatch.setattr(averaging, "_FILES", 11)
    few = averaging.average(foreign.path, tmp_path / "c.safetensors", folder, "cpu")
    assert (statistics(few)[2], few.about["true_averages"]["images"]) == (1, 8)


def test_averages_over_few_files_are_of_all_of_them(foreign, folder, tmp_path):
    made = averaging.average(foreign.path, tmp_path / "a.safetensors", folder, "cpu")
    assert made.about["true_averages"]["images"] == 20
    views = [
        preprocess.central(images.decode(path.read_bytes(), path.name), foreign.preprocess)
        for path in (folder / "train").rglob("*.png")
    ]
    pixels = torch.from_numpy(np.stack(views)).float() / 255
    ready = ((pixels - foreign.mean_hwc) / foreign.std_hwc).permute(0, 3, 1, 2)
    mean, variance = first_means([ready], foreign.network())
    assert torch.allclose(statistics(made)[0], mean, atol=1e-4)
    assert torch.allclose(statistics(made)[1], variance, rtol=1e-3)


def refused(error, words, where, to, *given):
    before = sorted(to.parent.iterdir())
    with pytest.raises(error, match=words) as caught:
        averaging.average(where, to, *given, device="cpu")
    assert "\n" not in str(caught.value)
    assert sorted(to.parent.iterdir()) == before


def test_what_cannot_be_averaged_costs_one_line_and_writes_nothing(
    foreign, folder, tmp_path, monkeypatch
):
    to = tmp_path / "a.safetensors"
    refused(DataError, "came without their data; say --data D", foreign.path, to)
    refused(DataError, "has no training split", foreign.path, to, folder / "val")
    refused(DataError, "images of 32 px, the network was", smaller(foreign), to, "synthetic")
    refused(CheckpointError, r"ends in \.safetensors", foreign.path, tmp_path / "a.pth")
    refused(CheckpointError, "no such file", tmp_path / "gone", to)
    next((folder / "train").rglob("*.png")).write_bytes(b"no image")
    refused(ImageError, "not an image", foreign.path, to, folder)
    (tmp_path / "a-file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        averaging.average(foreign.path, tmp_path / "a-file" / "b.safetensors", "synthetic", "cpu")


def smaller(checkpoint):
    """The same network, for smaller images."""
    about = checkpoint.about | {
        "preprocessing": codec.preprocess_to_tree(
            replace(checkpoint.preprocess, resize_px=16, crop_px=16)
        )
    }
    path = checkpoint.path.with_name("smaller.safetensors")
    artifacts.save_tensors(path, {f"model.{n}": t for n, t in checkpoint.model.items()}, about)
    return path


def test_a_network_without_bn_has_nothing_to_average(foreign, tmp_path, monkeypatch):
    spec = VggSpec(convolutions=(1, 1, 1, 1, 1), classes=4)
    with torch.device("meta"):
        made = making.make(spec)
    vgg = replace(foreign, spec=spec, model=made.state_dict())
    monkeypatch.setattr(averaging.opening, "checkpoint", lambda where: vgg)
    refused(ModelError, "vgg has no BN to average", "x", tmp_path / "a.safetensors", "synthetic")


# --- At the end of a run.


@pytest.fixture
def averaging_recipe(tiny):
    return replace(tiny, true_averages=True)


def test_a_run_that_ends_with_true_averages_has_those_of_the_command(
    finished, averaging_recipe, train, tmp_path
):
    ended = train(averaging_recipe, tmp_path / "run")
    found = checkpoints.newest(tmp_path / "run")
    made = averaging.average(finished.folder, tmp_path / "a.safetensors", device="cpu")
    assert found.weights_sha256 == made.weights_sha256
    assert found.weights_sha256 != checkpoints.newest(finished.folder).weights_sha256
    measured = evaluate.evaluate(tmp_path / "run", device="cpu")
    assert ended.top1_error_percent == measured.top1_error_percent
    *_, last_but_one, last = artifacts.read_lines(tmp_path / "run" / "journal.jsonl")
    assert (last_but_one["update"], last["update"]) == (10, 10)
    assert last["test_top1_error_percent"] == measured.top1_error_percent
    assert last_but_one["test_top1_error_percent"] == finished.top1_error_percent
    assert codec.digest(averaging_recipe) != codec.digest(
        checkpoints.newest(finished.folder).recipe
    )


class Killed(BaseException):
    """Stands for the end of the process: nothing after it is run."""


@pytest.mark.parametrize("when", ["averaging", "finish"])
def test_a_run_that_is_killed_while_it_averages_ends_in_the_same_bits(
    averaging_recipe, train, loop, tmp_path, monkeypatch, when
):
    whole = train(averaging_recipe, tmp_path / "whole")
    expected = checkpoints.newest(tmp_path / "whole").weights_sha256
    loop.save_after(7)

    def killed(*given):
        raise Killed

    with monkeypatch.context() as patch:
        if when == "averaging":
            patch.setattr(averaging.averages, "replace_moving_averages", killed)
        else:
            patch.setattr(run._Saver, "finish", killed)
        with pytest.raises(Killed):
            train(averaging_recipe, tmp_path / "killed")
    loop.undisturbed()
    ended = run.resume(tmp_path / "killed", device="cpu")
    assert checkpoints.newest(tmp_path / "killed").weights_sha256 == expected
    assert ended.top1_error_percent == whole.top1_error_percent
    journals = [
        [
            {key: value for key, value in record.items() if key != "images_per_second"}
            for record in artifacts.read_lines(tmp_path / name / "journal.jsonl")
        ]
        for name in ("whole", "killed")
    ]
    assert journals[0] == journals[1]
