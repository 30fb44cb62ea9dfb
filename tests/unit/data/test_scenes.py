"""Scenes: images scaled as a detector wants them, their boxes with them, in batches by number."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import samples
from resnets.core.division import Share
from resnets.core.errors import DataError
from resnets.data import scenes
from resnets.data.annotated import AnnotatedFiles
from resnets.data.scenes import Scaling, SceneBatches
from scenes import objects as row_objects

CPU = torch.device("cpu")
SCALING = Scaling(shorter_px=80, longest_px=120)


def batches(files, **given):
    options = {"seed": 0, "batch_images": 4, "device": CPU, "workers": 1}
    return SceneBatches(files, SCALING, **{**options, **given})


@pytest.fixture(scope="module")
def files():
    return samples.shapes(6)


@pytest.mark.parametrize(
    ("stored", "scaled"),
    [
        ((500, 375), (800, 600)),
        ((375, 500), (600, 800)),
        ((640, 480), (800, 600)),
        ((1000, 300), (1000, 300)),  # the longer side decides
        ((2000, 500), (1000, 250)),
        ((3000, 2), (1000, 1)),
    ],
)
def test_the_shorter_side_is_scaled_and_the_longer_one_bounded(stored, scaled):
    assert Scaling().size(*stored) == scaled


def test_an_image_is_scaled_and_normalised():
    image = Image.new("RGB", (40, 20), (255, 0, 51))
    wanted = replace(SCALING, mean=(0.5, 0.25, 0.1), std=(0.5, 1.0, 0.1))
    ready = wanted.prepare(wanted.apply(image))
    assert ready.shape == (1, 3, 60, 120)
    assert torch.allclose(ready[0, :, 3, 5], torch.tensor([1.0, -0.25, 1.0]), atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [{"shorter_px": 16}, {"longest_px": 79}, {"longest_px": 9000}, {"std": (1.0, 0.0, 1.0)}],
)
def test_a_scaling_that_cannot_be_is_refused(wrong):
    with pytest.raises(DataError, match="scaling"):
        replace(SCALING, **wrong)


def test_boxes_stay_on_what_they_were_around(files):
    """A box of a scaled or flipped image holds the colour of its class, and none is outside it."""
    seen = set()
    for scene in (each for number in range(1, 10) for each in batches(files)(number)):
        red_hw = scene.image_1chw[0, 0] - scene.image_1chw[0, 2]
        for box, label in zip(scene.objects.boxes_n4, scene.objects.classes_n, strict=True):
            left, top, right, bottom = box.round().long().tolist()
            inside = red_hw[top + 2 : bottom - 2, left + 2 : right - 2].median()
            assert (inside > 0) == (label == 0)
            seen.add(int(label))
    assert seen == {0, 1}


def test_half_of_the_images_are_flipped_and_by_their_own_epoch(files):
    def middles(flip):
        made = batches(files, flip=flip)
        return [
            scene.objects.boxes_n4[:, [0, 2]].mean().item() / scene.size[0]
            for number in range(1, 31)
            for scene in made(number)
        ]

    plain, mirrored = middles(False), middles(True)
    same = [a == pytest.approx(b) for a, b in zip(plain, mirrored, strict=True)]
    other = [a == pytest.approx(1 - b) for a, b in zip(plain, mirrored, strict=True)]
    assert all(map(max, same, other))
    assert 35 < sum(other) < 85  # of 120, by chance


def test_a_batch_depends_on_its_number_alone(files):
    first, second = batches(files), batches(files, workers=2)
    for number in (5, 1, 2, 9, 2):
        for one, other in zip(first(number), second(number), strict=True):
            assert torch.equal(one.image_1chw, other.image_1chw)
            assert torch.equal(one.objects.boxes_n4, other.objects.boxes_n4)


def test_shares_are_the_parts_of_the_whole_batch(files):
    shares = [Share(part, 4, part, 4) for part in range(4)]
    whole, parted = batches(files), batches(files, shares=shares)
    for number in (1, 2, 3):
        parts = [scene for share in shares for scene in parted(number, share)]
        assert len(parts) == 4
        for one, other in zip(whole(number), parts, strict=True):
            assert torch.equal(one.image_1chw, other.image_1chw)


def test_in_the_place_of_an_image_that_cannot_be_read_stands_another_with_its_own_boxes(files):
    def read(index):
        return b"no image" if index == 2 else files.read(index)

    broken = AnnotatedFiles(files.names, files.ids, files.objects, read)
    made = batches(broken, batch_images=6, flip=False)
    found = made(1)
    index_n = made.order(1)[0][1].tolist()
    scaled = scenes.scaled(files.objects[3], *(found[0].size[0] / 192, found[0].size[1] / 160))
    assert torch.allclose(found[index_n.index(2)].objects.boxes_n4, scaled.boxes_n4)
    assert list(made.aside.found()) == [2]


def test_only_what_could_not_be_read_of_batches_that_were_used_is_counted(files):
    def read(index):
        read_n.append(index)
        return b"no image" if index in bad else files.read(index)

    for bad in ({0}, {1}, {2}, {3}, {4}, {5}):
        read_n = []
        broken = AnnotatedFiles(files.names, files.ids, files.objects, read)
        made = batches(broken, batch_images=1)
        used = {made.order(1)[0][1].item()}
        made(1)
        made._pool.shutdown()  # waits for what is read ahead
        assert len(set(read_n)) >= 4
        assert made.aside.found().keys() == bad & used


def test_objects_scale_with_their_areas_and_flip_back_to_themselves():
    objects = row_objects((10, 20, 30, 60, 1))
    half = scenes.scaled(objects, 0.5, 0.25)
    assert half.boxes_n4.tolist() == [[5, 5, 15, 15]]
    assert half.area_n.tolist() == [100]
    twice = scenes.flipped(scenes.flipped(objects, 100), 100)
    assert torch.equal(twice.boxes_n4, objects.boxes_n4)
    assert scenes.flipped(objects, 100).boxes_n4.tolist() == [[70, 20, 90, 60]]


def test_flipping_mirrors_and_scaling_stretches():
    objects = row_objects((0, 0, 10, 20, 0), (5, 15, 15, 25, 1), (10, 20, 30, 25, 0))
    mirrored = scenes.flipped(objects, 30).boxes_n4
    assert mirrored[1:].tolist() == [[15, 15, 25, 25], [0, 20, 20, 25]]
    assert scenes.scaled(objects, 2, 0.5).boxes_n4[2].tolist() == [20, 10, 60, 12.5]


def test_an_image_without_objects_is_a_scene():
    content = samples.saved(Image.fromarray(np.zeros((50, 60, 3), np.uint8)), "PNG")
    empty = AnnotatedFiles(("a",), ("a",), (row_objects(),), lambda index: content)
    (scene,) = batches(empty, batch_images=1)(1)
    assert len(scene.objects) == 0
    assert scene.size == (96, 80)
