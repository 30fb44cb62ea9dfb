"""COCO's own tool judges COCO's numbers."""

import contextlib
import io
from dataclasses import astuple

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from resnets.core.random import generator
from resnets.data.annotated import Objects
from resnets.detection import coco_ap
from resnets.detection.detections import Detections

CLASSES, IMAGES = 4, 30


def boxes(count, draw):
    """From a few pixels to most of an image: small, medium and large ones in COCO's words."""
    sides = 8 * 40 ** torch.rand(count, 2, generator=draw)
    corners = torch.rand(count, 2, generator=draw) * 300
    return torch.cat([corners, corners + sides], dim=1)


def image(seed, index):
    """Return objects, a tenth of them crowds, and detections near them and elsewhere, with ties."""
    draw = generator(seed, "scene", index)
    count = int(torch.randint(0, 9, (), generator=draw))
    own, labels = boxes(count, draw), torch.randint(CLASSES - 1, (count,), generator=draw)
    crowd = torch.rand(count, generator=draw) < 0.1
    areas = (own[:, 2:] - own[:, :2]).prod(1) * (0.3 + 0.7 * torch.rand(count, generator=draw))
    near = own.repeat(3, 1) + 6 * torch.randn(3 * count, 4, generator=draw)
    far = boxes(150 if index % 7 == 0 else 10, draw)  # more than COCO looks at
    guessed = torch.cat([labels.repeat(3), torch.randint(CLASSES, (len(far),), generator=draw)])
    scores = torch.randint(1, 40, (len(guessed),), generator=draw) / 40
    found = Detections.of(torch.cat([near, far]), scores, guessed)
    return Objects(own, labels, crowd, crowd, areas), found


def annotated(boxes_n4, classes_n, image_id):
    left, top, right, bottom = boxes_n4.double().unbind(1)
    boxes = torch.stack([left, top, right - left, bottom - top], dim=1).tolist()
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box}
        for box, label in zip(boxes, classes_n.tolist(), strict=True)
    ]


def judged(there, found):
    """Return COCO's twelve numbers, and the AP of each class."""
    annotations, results = [], []
    for number, (own, said) in enumerate(zip(there, found, strict=True)):
        for each, area, crowd in zip(
            annotated(own.boxes_n4, own.classes_n, number), own.area_n, own.crowd_n, strict=True
        ):
            more = {"area": float(area), "iscrowd": int(crowd), "id": len(annotations) + 1}
            annotations.append(each | more)
        for each, score in zip(
            annotated(said.boxes_n4, said.classes_n, number), said.scores_n.tolist(), strict=True
        ):
            results.append(each | {"score": score})
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(len(there))],
        "categories": [{"id": label + 1} for label in range(CLASSES)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge.stats, judge.eval["precision"][:, :, :, 0, -1].mean((0, 1))


@pytest.mark.parametrize("seed", range(3))
def test_cocos_numbers_are_those_of_cocos_own_tool(seed):
    there, found = zip(*(image(seed, index) for index in range(IMAGES)), strict=True)
    by_class, _, *ours = astuple(coco_ap.measure(found, there, CLASSES))
    twelve, each_class = judged(there, found)
    assert all(0.01 < value < 0.99 for value in twelve)
    np.testing.assert_allclose(ours, twelve, rtol=0, atol=1e-12)
    assert each_class[-1] == -1  # the last class has no object
    assert np.isnan(by_class[-1])
    np.testing.assert_allclose(by_class[:-1], each_class[:-1], rtol=0, atol=1e-12)
