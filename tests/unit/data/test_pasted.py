import numpy as np
import torch

from resnets.data import opening, pasted, sample
from resnets.detection import boxes


def test_the_scenes_are_the_same_ones_everywhere():
    data = opening.open_data("cifar10-scenes")
    assert data.digest.startswith("a86704560a13a1d7")
    assert data.name == data.where == "cifar10-scenes"
    assert {name: len(files) for name, files in data.splits.items()} == {"train": 1249, "test": 255}


def test_every_picture_stands_in_one_scene_inside_it_and_on_no_other():
    data, whole = pasted.make(), sample.load()
    for name, pictures in (("train", whole.train), ("test", whole.test)):
        files = data.splits[name]
        every = files.objects.every
        counts = files.classes_n.bincount().tolist()
        assert counts == pictures.labels_n.bincount().tolist()
        assert int(every.boxes_n4.min()) >= 0
        assert (every.boxes_n4[:, 2:].amax(0) <= torch.tensor([144, 96])).all()
        for objects in files.objects[:50]:
            overlap = boxes.iou(objects.boxes_n4, objects.boxes_n4)
            assert torch.equal(overlap, torch.eye(len(objects)))


def test_what_is_in_a_box_is_a_picture_of_its_class():
    data, whole = pasted.make(), sample.load()
    files, own = data.splits["test"], whole.test
    unscaled = 0
    for index, objects in enumerate(files.objects):
        scene = np.asarray(files.image(index))
        for box, label in zip(
            objects.boxes_n4.long().tolist(), objects.classes_n.tolist(), strict=True
        ):
            left, top, right, bottom = box
            if right - left == 32:
                seen = torch.from_numpy(scene[top:bottom, left:right].copy())
                same = (own.images_nhwc == seen).flatten(1).all(1)
                assert same.any()
                assert set(own.labels_n[same].tolist()) == {label}
                unscaled += 1
    assert unscaled > 20
