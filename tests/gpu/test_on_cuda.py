"""What the rest of the suite asks on the CPU, asked where there is a GPU.

python -m pytest tests/gpu, which takes under a minute

A number that is exact on both must be equal; one that is rounded on its way must agree to rounding;
and a run must end with the same bits as ever, stopped or not.
"""

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import torch

import resnets
import samples
from resnets.core import hardware, random
from resnets.core.errors import InterruptedRunError
from resnets.core.processes import ALONE
from resnets.data import opening
from resnets.data.annotated import DetectionData
from resnets.data.crops import ScaleCrop
from resnets.data.file_batches import Augmentation, FileBatches
from resnets.data.preprocess import Preprocess
from resnets.detection import nms, regions
from resnets.experiment import detectors, run
from resnets.experiment.transfer import Weights
from resnets.inference import checkpoints
from resnets.inference.checkpoints import Checkpoint
from resnets.inference.predictor import Classifier

if not torch.cuda.is_available():
    pytest.skip("needs a GPU that this torch can use", allow_module_level=True)

# What a driver or another torch has to say is shown, and no failure of ours.
pytestmark = pytest.mark.filterwarnings("default")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
UPDATES = 400


@pytest.fixture(autouse=True, scope="module")
def settled():
    """As every command begins: float32 is not rounded to TF32, nothing is left to chance."""
    hardware.device("cuda")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The recipe for the built-in sample, cut short, never stopped."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return train(out).folder


@pytest.fixture(scope="module")
def shapes():
    return DetectionData(
        name="shapes",
        where="shapes",
        classes=tuple(samples.SHAPES),
        category_ids=(1, 2),
        splits={"train": samples.shapes(6), "validation": samples.shapes(3, seed=1)},
    )


def train(out):
    settings = (f"total_steps={UPDATES}", "schedule.warmup_steps=20")
    return resnets.train("sample.resnet20", out=out, device="cuda", settings=settings)


def digest(folder):
    return checkpoints.newest(folder).weights_sha256


def stop_once_it_journals(folder):
    """Send this process what Ctrl-C sends, after the first line of a run's journal."""

    def watch():
        until = time.monotonic() + 60
        journal = folder / "journal.jsonl"
        while time.monotonic() < until and not (journal.exists() and journal.stat().st_size):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    return watcher


def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(finished, tmp_path):
    watcher = stop_once_it_journals(tmp_path / "stopped")
    with pytest.raises(InterruptedRunError, match="saved"):
        train(tmp_path / "stopped")
    watcher.join()
    assert resnets.resume(tmp_path / "stopped").updates == UPDATES
    assert digest(tmp_path / "stopped") == digest(finished)


def test_a_network_scores_as_on_the_cpu_fused_or_not(finished):
    checkpoint = checkpoints.newest(finished)
    images = torch.randint(256, (64, 32, 32, 3), dtype=torch.uint8, generator=random.generator(0))
    expected = Classifier(checkpoint, CPU, fuse=False).logits(images)
    for fuse in (False, True):
        found = Classifier(checkpoint, GPU, fuse=fuse).logits(images)
        assert found.device.type == "cuda"
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
    rounded = Classifier(checkpoint, GPU, "bfloat16").logits(images)
    torch.testing.assert_close(rounded.cpu(), expected, rtol=0.1, atol=0.5)


def test_an_evaluation_counts_as_on_the_cpu(finished):
    one, other = (resnets.evaluate(finished, device=device) for device in ("cpu", "cuda"))
    assert other.images == one.images
    images = one.images * abs(other.top1_error_percent - one.top1_error_percent) / 100
    assert images <= 2  # whose two best scores differ by less than rounding


def test_a_network_goes_on_learning_on_a_folder_of_images(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = samples.write_photos(tmp_path / "photos")

    def tune(name):
        return resnets.train(
            data=photos, weights=finished, epochs=4, out=tmp_path / name, device="cuda"
        )

    tuned = tune("tuned")
    assert (tuned.split, tuned.images) == ("validation", 23)
    assert (tuned.folder / "report.html").exists()
    assert digest(tune("again").folder) == digest(tuned.folder)
    for precision in ("auto", "float32"):
        found = resnets.evaluate(tuned, photos, precision=precision, device="cuda")
        assert found.images == 23
    first = next((photos / "val").rglob("*.png"))
    predictor = resnets.load(tuned, device="cuda")
    assert predictor.predict([first])[0][0].probability > 0
    assert predictor.explain(first).map_hw.device == CPU


@pytest.mark.parametrize("lighting", [0.1, 0.0])
def test_photos_are_flipped_and_lit_as_on_the_cpu(tmp_path, lighting):
    files = opening.open_data(samples.write_photos(tmp_path / "photos")).splits["train"]
    how = Augmentation(ScaleCrop(shorter_px=(34, 40), crop_px=32, lighting_std=lighting))
    mean = torch.tensor((0.5, 0.4, 0.3)).view(1, 1, 3)
    one, other = (
        FileBatches(files, mean, how, seed=0, batch_images=16, device=device)
        for device in (CPU, GPU)
    )
    for number in (1, 2, 3):
        expected, found = one(number), other(number)
        torch.testing.assert_close(found.images_nchw.cpu(), expected.images_nchw)
        assert torch.equal(found.labels_n.cpu(), expected.labels_n)


def drawn_boxes(count, seed=0):
    draw = random.generator(seed, "boxes")
    first = torch.rand(count, 2, generator=draw) * torch.tensor((900.0, 500.0))
    sides = 8 + torch.rand(count, 2, generator=draw) * 200
    return torch.cat([first, first + sides], dim=1), torch.rand(count, generator=draw)


@pytest.mark.parametrize("most", [None, 300])
def test_the_boxes_that_stay_are_those_that_stay_on_the_cpu(most):
    boxes, scores = drawn_boxes(5000)
    expected = nms.nms(boxes, scores, 0.5, most)
    found = nms.nms(boxes.to(GPU), scores.to(GPU), 0.5, most)
    assert torch.equal(found.cpu(), expected)
    classes = torch.arange(5000) % 7
    expected = nms.nms_by_class(boxes, scores, classes, 0.5, most)
    found = nms.nms_by_class(boxes.to(GPU), scores.to(GPU), classes.to(GPU), 0.5, most)
    assert torch.equal(found.cpu(), expected)


# Boxes on a grid of 8 px, in 8 bins: points between cells are then sums of powers of 2, which both
# compute exactly. Elsewhere a point may round to its neighbour in float32, 3.8e-6 cells away.
@pytest.mark.parametrize(
    ("pool", "grid_px", "side"), [(regions.pool, 0, 14), (regions.align, 8, 8)]
)
def test_regions_are_pooled_as_on_the_cpu_with_the_same_gradient_every_time(pool, grid_px, side):
    boxes, _ = drawn_boxes(128)
    if grid_px:
        boxes = (boxes / grid_px).round() * grid_px
    images = torch.arange(128) % 2
    maps = torch.randn(2, 64, 36, 60, generator=random.generator(0, "maps"))

    def computed(device):
        given = maps.to(device).contiguous(memory_format=torch.channels_last).requires_grad_()
        pooled = pool(given, boxes.to(device), images.to(device), side=side, stride=16)
        (pooled * pooled).sum().backward()
        return pooled.detach().cpu(), given.grad.cpu()

    expected, expected_slope = computed(CPU)
    found, slope = computed(GPU)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slope, expected_slope, rtol=1e-3, atol=1e-3)
    for _ in range(3):
        assert torch.equal(computed(GPU)[1], slope)


def parts(data, device):
    recipe = detectors.fitted(samples.shapes_recipe(96, 160, updates=4), data)
    return detectors.built(recipe, data, seed=0, device=device, team=ALONE, workers=1)


def test_a_detector_learns_from_a_batch_as_on_the_cpu(shapes):
    """Proposals are sorted by scores that are all but equal, so regions are given here."""
    boxes, _ = drawn_boxes(40)
    offered = boxes * torch.tensor((0.12, 0.15, 0.12, 0.15))

    def computed(device):
        made = parts(shapes, device)
        scenes = made.batch_of(1)
        random.seed_layers(0, 1, 0)
        joint = made.loss_of(made.model, scenes)
        judged = made.model(scenes[0].image_1chw, offered.to(device))
        loss = judged.logits_rk.square().mean() + judged.deltas_rk4.square().mean()
        loss = loss + joint["proposal_class_loss"] + joint["proposal_box_loss"]
        loss.backward()
        slopes = {n: p.grad.cpu() for n, p in made.model.named_parameters() if p.grad is not None}
        return {name: float(value.detach()) for name, value in joint.items()}, slopes

    (joint, slopes), (expected_joint, expected) = computed(GPU), computed(CPU)
    assert joint.keys() == expected_joint.keys()
    for name in ("proposal_class_loss", "proposal_box_loss"):
        assert joint[name] == pytest.approx(expected_joint[name], rel=1e-4)
    assert joint["region_class_loss"] == pytest.approx(expected_joint["region_class_loss"], rel=0.1)
    assert slopes.keys() == expected.keys()
    for name, slope in expected.items():
        size = float(slope.abs().max())
        torch.testing.assert_close(slopes[name], slope, rtol=1e-2, atol=1e-3 * size + 1e-7)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_detector_is_trained_and_tested_to_the_same_bits_twice(shapes, tmp_path, precision):
    network = samples.small_resnet()
    found = Checkpoint(
        path=tmp_path / "weights.safetensors",
        about={"classes": list("abcde"), "update": 7},
        spec=network,
        preprocess=Preprocess(resize_px=36, crop_px=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
        mean_hwc=torch.tensor((0.5, 0.4, 0.3)).view(1, 1, 3),
        recipe=None,
        model=samples.trained(network).state_dict(),
        optimizer={},
    )
    recipe = replace(samples.shapes_recipe(96, 160, updates=6), precision=precision)
    ended = [
        run.start(
            recipe,
            shapes,
            name="shapes",
            out=tmp_path / name,
            device="cuda",
            weights=Weights("weights.safetensors", found),
        )
        for name in ("one", "two")
    ]
    assert ended[0].measure == "ap50_percent"
    assert digest(ended[0].folder) == digest(ended[1].folder)
    picture = tmp_path / "picture.png"
    picture.write_bytes(shapes.splits["train"].read(0))
    (objects,) = resnets.load(ended[0], device="cuda").detect(picture, least_score=0.0)
    (expected,) = resnets.load(ended[0], device="cpu").detect(picture, least_score=0.0)
    assert len(objects) == pytest.approx(len(expected), abs=5)
