"""Real ImageNet images with their labels, in ../shared/data."""

from pathlib import Path

import numpy as np
import pytest

from resnets.data import folders, imagenet_classes, images, opening

pytestmark = pytest.mark.real

SHARED = Path(__file__).parents[3] / "shared" / "data"


def opened(name):
    if not (SHARED / name / "labels.csv").is_file():
        pytest.fail(f"{SHARED / name} is missing; it holds the ImageNet images of these tests")
    return opening.open_data(SHARED / name)


@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [("imagenet-val-650", 650, 456), ("imagenet-fullsize-150", 150, 150)],
)
def test_every_image_of_a_sample_is_read(name, count, classes):
    data = opened(name)
    assert (data.name, data.classes) == (name, None)
    found = data.check()
    assert found.summary() == {
        "data": name,
        "validation_images": count,
        "classes": classes,
        "unreadable_images": 0,
        "repeated_images": 0,
        "digest": data.digest,
    }
    assert {each.kind.severity for each in found.findings} <= {"warning", "note"}
    assert found.cases("alike") == found.cases("alike-in-classes") == ()


def test_photos_that_were_resized_and_saved_again_are_found_and_no_others(tmp_path):
    split = opened("imagenet-fullsize-150").splits["validation"]
    for index in range(len(split)):
        image = split.image(index)
        for name, made in (("train", image), ("val", image.resize((256, 200)))):
            folder = tmp_path / name / f"{index:03d}"
            folder.mkdir(parents=True)
            made.save(folder / "a.jpg", quality=80)
    found = opening.open_data(tmp_path).check()
    cases = found.cases("alike-in-splits")
    assert all(len({at.class_name for at in case.images}) == 1 for case in cases)
    assert len(cases) >= 148


def test_the_validation_sample_has_the_size_it_says():
    split = opened("imagenet-val-650").splits["validation"]
    for index in range(0, 650, 50):
        image = images.decode(split.read(index), split.names[index])
        assert image.size == (227, 227)
        assert np.asarray(image).std() > 5


def test_the_shipped_names_and_ids_are_those_of_the_labels():
    split = opened("imagenet-fullsize-150").splits["validation"]
    wnids = imagenet_classes.wnids()
    for name, label in zip(split.names, split.labels_n.tolist(), strict=True):
        wnid, _, called = Path(name).stem.partition("_")
        assert wnids[label] == wnid
        first = imagenet_classes.names()[label].split(" (")[0].split(",")[0]
        assert called.replace("_", " ").lower() == first.lower()


def test_class_folders_of_real_images_get_imagenets_labels(tmp_path):
    split = opened("imagenet-fullsize-150").splits["validation"]
    for index in (0, 40, 149):
        at = tmp_path / split.names[index].partition("_")[0]
        at.mkdir()
        (at / split.names[index]).write_bytes(split.read(index))
    found = folders.read(tmp_path).splits["validation"]
    expected = {split.names[i]: int(split.labels_n[i]) for i in (0, 40, 149)}
    assert {
        Path(name).name: label
        for name, label in zip(found.names, found.labels_n.tolist(), strict=True)
    } == expected
