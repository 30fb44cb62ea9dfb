import math

import numpy as np
import pytest
import torch
from PIL import Image

import scenes
from resnets.core.errors import ModelError
from resnets.data.box_crops import BoxCrops
from resnets.data.preprocess import Preprocess
from resnets.detection import anchors, boxes, localizing
from resnets.detection.localizer import PerClass
from resnets.detection.localizing import PerClassLearning, View

WANTED = Preprocess(resize_px=64, crop_px=48, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
SIDES = (48, 64, 100)


def crops(labels, objects, keys=None):
    draw = torch.Generator().manual_seed(2)
    images_nchw = torch.randn(len(labels), 3, 64, 64, generator=draw)
    given = tuple(range(len(labels))) if keys is None else keys
    return BoxCrops(images_nchw, torch.tensor(labels), tuple(objects), given)


OBJECTS = (
    scenes.objects((4, 6, 40, 38, 3)),
    scenes.objects(),
    scenes.objects((0, 0, 64, 64, 1), (30, 30, 50, 60, 1)),
)


def part(whole, index):
    return BoxCrops(
        whole.images_nchw[index : index + 1],
        whole.labels_n[index : index + 1],
        whole.objects[index : index + 1],
        whole.keys[index : index + 1],
    )


def test_the_loss_of_a_batch_is_the_mean_over_its_images_whatever_they_are_computed_with(localizer):
    loss_of = localizing.per_class(PerClassLearning(), localizer.spec.anchors)
    whole = crops([3, 0, 1], OBJECTS)
    with torch.no_grad():
        together = loss_of(localizer, whole)
        alone = [loss_of(localizer, part(whole, index)) for index in range(3)]
    assert set(together) == {"loss", "proposal_class_loss", "proposal_box_loss"}
    for name, value in together.items():
        assert float(value) == pytest.approx(np.mean([float(one[name]) for one in alone]), rel=1e-4)
    both = together["proposal_class_loss"] + together["proposal_box_loss"]
    assert float(together["loss"]) == pytest.approx(float(both), rel=1e-6)


class Knowing(torch.nn.Module):
    """Says of every anchor what is true of the objects, in place of a network."""

    def __init__(self, spec, objects):
        super().__init__()
        self.spec, self.objects = spec, objects

    def forward(self, images_nchw, classes_ng):
        rows, columns = (side // 16 for side in images_nchw.shape[2:])
        cell_m4 = anchors.of_map(self.spec, rows, columns)
        shape = (rows, columns, len(self.spec))
        logits, deltas = [], []
        for there in self.objects:
            if not len(there):
                logits.append(torch.full((len(cell_m4),), -50.0))
                deltas.append(torch.zeros(len(cell_m4), 4))
                continue
            overlaps_mk = boxes.iou(cell_m4, there.boxes_n4)
            best_m, object_m = overlaps_mk.max(1)
            most_k = overlaps_mk.max(0).values
            positive_m = (best_m > 0.7) | (overlaps_mk == most_k).any(1)
            logits.append(torch.where(positive_m, 50.0, -50.0))
            deltas.append(boxes.encode(there.boxes_n4[object_m], cell_m4))
        return PerClass(
            torch.stack(logits).view(-1, 1, *shape), torch.stack(deltas).view(-1, 1, *shape, 4)
        )


def test_who_says_what_is_true_has_no_loss_and_is_right(localizer):
    """The loss, the matching and the metric agree."""
    spec = localizer.spec.anchors
    knowing = Knowing(spec, OBJECTS)
    loss_of = localizing.per_class(PerClassLearning(anchors=64), spec)
    found = loss_of(knowing, crops([3, 0, 1], OBJECTS))
    assert float(found["loss"]) == pytest.approx(0, abs=1e-6)
    wrong = loss_of(knowing, crops([3, 0, 1], (OBJECTS[2], OBJECTS[0], OBJECTS[1])))
    assert float(wrong["loss"]) > 1


def test_half_of_the_anchors_that_are_sampled_have_the_object_where_so_many_do(localizer):
    """Eight of an image, 1:1: the loss of equal logits counts them."""
    spec = localizer.spec.anchors
    there = scenes.objects((0, 0, 64, 64, 1))

    class Equal(torch.nn.Module):
        def forward(self, images_nchw, classes_ng):
            logits = torch.full((1, 1, 4, 4, len(spec)), 3.0, requires_grad=True)
            self.logits = logits
            return PerClass(logits, torch.zeros(1, 1, 4, 4, len(spec), 4))

    equal = Equal()
    found = localizing.per_class(PerClassLearning(), spec)(equal, crops([1], [there]))
    found["proposal_class_loss"].backward()
    slope = equal.logits.grad.flatten()
    assert int((slope != 0).sum()) == 8
    assert int((slope < 0).sum()) <= 4
    positive = int((slope < 0).sum())
    wanted = (positive * math.log1p(math.exp(-3)) + (8 - positive) * math.log1p(math.exp(3))) / 8
    assert float(found["proposal_class_loss"].detach()) == pytest.approx(wanted, rel=1e-5)


def bright(pixels_hwc):
    rows, columns = (pixels_hwc[..., 0] > 128).any(1), (pixels_hwc[..., 0] > 128).any(0)
    (down,), (across,) = rows.nonzero(), columns.nonzero()
    return torch.tensor([[across[0], down[0], across[-1] + 1, down[-1] + 1]], dtype=torch.float32)


@pytest.mark.parametrize("sides", [(), SIDES], ids=["central", "whole"])
@pytest.mark.parametrize("size", [(160, 120), (90, 131)])
def test_a_box_in_a_view_is_told_where_it_is_in_the_image_as_stored(sides, size):
    pixels_hwc = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels_hwc[45:80, 40:62] = 255
    image = Image.fromarray(pixels_hwc)
    seen = localizing.views(image, WANTED, sides)
    assert [view.flipped for view in seen] == ([False, True] * len(sides) or [False])
    for view in seen:
        found = view.back(bright(view.pixels_hwc))
        scale = max(1, 1 / min(view.factors))
        assert (found - torch.tensor([[40.0, 45, 62, 80]])).abs().max() <= scale + 0.01


def test_the_central_view_is_that_of_classification():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8))
    from resnets.data import preprocess

    (view,) = localizing.views(image, WANTED)
    assert np.array_equal(view.pixels_hwc, preprocess.central(image, WANTED))


def test_the_likeliest_anchor_of_all_views_tells_the_box(localizer):
    draw = np.random.default_rng(4)
    images = [
        Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in ((96, 80), (70, 90), (96, 80))
    ]
    asked_ng = torch.tensor([[0, 3], [4, 4], [2, 1]])
    for sides in ((), SIDES):
        seen = [localizing.views(image, WANTED, sides) for image in images]
        sizes = [image.size for image in images]
        found = localizing.locate(localizer, seen, WANTED, asked_ng, sizes)
        for n, image in enumerate(images):
            for g, label in enumerate(asked_ng[n].tolist()):
                wanted = one_by_one(localizer, seen[n], label, image.size)
                assert found[n, g].tolist() == pytest.approx(wanted, abs=1e-2)


def one_by_one(model, seen, label, size):
    """Return the best box of a class, by going through the views one at a time."""
    best, told = -math.inf, None
    mean, std = torch.tensor(WANTED.mean), torch.tensor(WANTED.std)
    for view in seen:
        pixels = torch.from_numpy(view.pixels_hwc) / 255
        with torch.no_grad():
            said = model(((pixels - mean) / std).permute(2, 0, 1)[None], torch.tensor([[label]]))
        logits = said.logits_ngyxa.flatten()
        rows, columns = said.logits_ngyxa.shape[2:4]
        cell_m4 = anchors.of_map(model.spec.anchors, rows, columns)
        place = int(logits.argmax())
        if float(logits[place]) > best:
            best = float(logits[place])
            box = boxes.decode(said.deltas_ngyxa4.view(-1, 4)[place], cell_m4[place])
            told = boxes.clip(view.back(box), size[1], size[0]).tolist()
    return told


def test_a_flipped_view_exchanges_left_and_right():
    view = View(np.zeros((10, 40, 3), np.uint8), (0, 0), (2.0, 0.5), flipped=True)
    assert view.back(torch.tensor([[4.0, 2, 10, 6]])).tolist() == [[15, 4, 18, 12]]


THERE = scenes.objects((0, 0, 10, 10, 2), (20, 0, 30, 10, 2), (0, 0, 10, 10, 1, "ignored"))


@pytest.mark.parametrize(
    ("guesses", "place"),
    [
        ([(2, 0, 0, 10, 10)], 0),
        ([(2, 0, 0, 10, 5)], 0),  # half of it is enough
        ([(2, 0, 0, 10, 4.9)], None),
        ([(3, 0, 0, 10, 10)], None),
        ([(1, 0, 0, 10, 10)], None),  # ignored
        ([(-1, 0, 0, 10, 10)], None),
        ([(3, 0, 0, 10, 10), (2, 100, 0, 110, 10), (2, 21, 0, 30, 10)], 2),
        ([(2, math.nan, 0, 10, 10)], None),
        ([(2, 0, 0, math.inf, 10)], None),
        ([(2, 5, 5, 5, 5)], None),
    ],
)
def test_a_guess_is_right_with_the_class_and_half_of_any_of_its_boxes(guesses, place):
    classes_g = torch.tensor([row[0] for row in guesses])
    boxes_g4 = torch.tensor([row[1:] for row in guesses], dtype=torch.float32)
    assert localizing.place_of_right(classes_g, boxes_g4, THERE) == place


def test_an_image_learns_from_one_anchor_at_least():
    with pytest.raises(ModelError, match=r"learning\.anchors: must be positive"):
        PerClassLearning(anchors=0)
