"""Real data sets with boxes, in ../shared/data."""

import json
from pathlib import Path

import pytest

from resnets.data import opening

pytestmark = pytest.mark.real

SHARED = Path(__file__).parents[3] / "shared" / "data"


def opened(name):
    if not (SHARED / name).is_dir():
        pytest.fail(f"{SHARED / name} is missing; it holds the images with boxes of these tests")
    return opening.open_data(SHARED / name)


def severities(report):
    return {each.kind.code: each.kind.severity for each in report.findings}


def test_the_blood_cells_are_read():
    data = opened("bccd/BCCD")
    assert (data.name, data.classes) == ("BCCD", ("Platelets", "RBC", "WBC"))
    assert {name: len(split) for name, split in data.splits.items()} == {
        "train": 205,
        "validation": 87,
        "test": 72,
    }
    assert len(data.select(["trainval"])) == 292
    first = data.select(["trainval"])
    objects = first.objects[first.ids.index("BloodImage_00000")]
    assert objects.boxes_n4[0].tolist() == [259, 176, 491, 376]
    assert data.classes[int(objects.classes_n[0])] == "WBC"
    report = data.check()
    assert {each.name: sum(each.counts.values()) for each in report.by_class} == {
        "Platelets": 361,
        "RBC": 4155,
        "WBC": 372,
    }
    assert severities(report) == {"thin": "warning"}  # two slips of the hand
    assert report.refusal is None


def test_the_sample_of_coco_is_read():
    data = opened("coco128")
    assert (data.name, len(data.classes), data.classes[0]) == ("coco", 80, "person")
    assert (data.category_ids[0], data.category_ids[-1]) == (1, 90)
    (train,) = data.splits.values()
    tree = json.loads((SHARED / "coco128/annotations/instances_train2017.json").read_bytes())
    said = {each["id"]: each for each in tree["images"]}
    assert set(train.ids) == set(said)
    of = {id_: [each for each in tree["annotations"] if each["image_id"] == id_] for id_ in said}
    for id_, objects in zip(train.ids, train.objects, strict=True):
        assert len(objects) == len(of[id_])
        for i, each in enumerate(of[id_]):
            left, top, width, height = each["bbox"]
            there = [left, top, left + width, top + height]
            assert objects.boxes_n4[i].tolist() == pytest.approx(there, abs=0.02)
            assert objects.area_n[i].item() == pytest.approx(each["area"], rel=1e-6)
            assert data.category_ids[int(objects.classes_n[i])] == each["category_id"]
            assert bool(objects.crowd_n[i]) == bool(each["iscrowd"])
    report = data.check()
    assert report.summary() == {
        "data": "coco",
        "train_images": 128,
        "train_boxes": 939,
        "classes": 71,
        "unreadable_images": 0,
        "repeated_images": 0,
        "digest": data.digest,
    }
    assert report.boxes.flags["crowd"] == 10
    assert len(report.cases("empty-image")) == 2
    assert set(severities(report).values()) <= {"warning", "note"}
    assert train.flaws == ()
