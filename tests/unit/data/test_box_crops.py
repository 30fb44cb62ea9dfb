"""Crops of images with boxes are those of classification, and the boxes stay on their objects."""

import pytest
import torch

import samples
import scenes
from resnets.core.division import Share
from resnets.data import annotated, box_crops
from resnets.data.annotated import AnnotatedFiles
from resnets.data.box_crops import BoxCropBatches
from resnets.data.crops import ScaleCrop
from resnets.data.file_batches import Augmentation, FileBatches
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess

CPU = torch.device("cpu")
AUGMENT = ScaleCrop(shorter_px=(64, 80), crop_px=56)
VIEW = Preprocess(resize_px=64, crop_px=56, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


def one_shape(images):
    """Files with one bright shape each, and the class of it."""
    files = samples.shapes(4 * images, seed=3)
    alone = [i for i, there in enumerate(files.objects) if len(there) == 1][:images]
    assert len(alone) == images
    return annotated.of_one_class(files.take(torch.tensor(alone)))


def batches(files, labels_n, **changes):
    given = {"seed": 5, "batch_images": 6, "device": CPU, "workers": 1, **changes}
    return BoxCropBatches(files, labels_n, AUGMENT, VIEW, **given)


def test_images_are_cut_flipped_and_lit_as_for_classification():
    files, labels_n = one_shape(6)
    made = batches(files, labels_n)
    other = FileBatches(
        ImageFiles(files.names, labels_n, files.read),
        torch.tensor(VIEW.mean).view(1, 1, 3),
        Augmentation(AUGMENT),
        seed=5,
        batch_images=6,
        device=CPU,
        std=VIEW.std,
        workers=1,
    )
    for number in (1, 2):
        ours, theirs = made(number), other(number)
        torch.testing.assert_close(ours.images_nchw, theirs.images_nchw)
        assert torch.equal(ours.labels_n, theirs.labels_n)


def test_a_box_is_where_its_object_is_in_the_crop():
    files, labels_n = one_shape(6)
    made, seen = batches(files, labels_n), 0
    for number in range(1, 9):
        crops = made(number)
        for image_chw, label, objects in zip(
            crops.images_nchw, crops.labels_n.tolist(), crops.objects, strict=True
        ):
            if not len(objects):
                continue
            colours = (image_chw.permute(1, 2, 0) * torch.tensor(VIEW.std)) + torch.tensor(
                VIEW.mean
            )
            strong, weak = (0, 2) if label == 0 else (2, 0)
            bright = colours[..., strong] - colours[..., weak] > 0.3
            rows, columns = bright.any(1).nonzero(), bright.any(0).nonzero()
            if not len(rows):
                continue  # the corner of a circle's box
            left, top, right, bottom = objects.boxes_n4[0].tolist()
            assert columns.min() == pytest.approx(left, abs=3) or label == 0
            assert left - 2 <= columns.min() <= columns.max() <= right + 1
            assert top - 2 <= rows.min() <= rows.max() <= bottom + 1
            if label == 1:
                assert columns.max() + 1 == pytest.approx(right, abs=3)
                assert rows.min() == pytest.approx(top, abs=3)
                assert rows.max() + 1 == pytest.approx(bottom, abs=3)
            seen += 1
    assert seen > 30


def test_what_is_left_of_boxes_in_a_crop():
    there = scenes.objects((0, 0, 50, 20, 1), (40, 30, 60, 50, 0), (10, 0, 20, 50, 2))
    found = box_crops.inside(there, (20, 10, 60, 50), 80)
    assert found.boxes_n4.tolist() == [[0, 0, 60, 20], [40, 40, 80, 80]]
    assert found.classes_n.tolist() == [1, 0]
    none = box_crops.inside(there, (60, 0, 70, 10), 80)
    assert len(none) == 0


def test_shares_of_a_batch_are_together_the_batch():
    files, labels_n = one_shape(6)
    whole = batches(files, labels_n)(2)
    shares = [Share(part=part, parts=2, slice=part, slices=2) for part in range(2)]
    made = batches(files, labels_n, shares=shares)
    parts = [made(2, share) for share in shares]
    assert torch.equal(torch.cat([part.images_nchw for part in parts]), whole.images_nchw)
    assert parts[0].keys + parts[1].keys == whole.keys
    for ours, theirs in zip(parts[0].objects + parts[1].objects, whole.objects, strict=True):
        assert torch.equal(ours.boxes_n4, theirs.boxes_n4)


def test_in_the_place_of_an_image_that_cannot_be_read_stands_another_with_its_own_label():
    files, labels_n = one_shape(6)
    bad = int((labels_n.roll(-1) != labels_n).nonzero()[0])  # whose successor has another class

    def read(index):
        return b"no image" if index == bad else files.read(index)

    damaged = AnnotatedFiles(files.names, files.ids, files.objects, read)
    made = batches(damaged, labels_n)
    crops = made(1)
    wanted = labels_n.clone()
    wanted[bad] = labels_n[(bad + 1) % len(labels_n)]
    ((_, index_n),) = made.order(1)
    assert crops.labels_n.tolist() == wanted[index_n].tolist()
    assert list(made.aside.found()) == [bad]
