import shutil

import pytest

import samples
from resnets.core.errors import DataError
from resnets.data import imagenet_classes, opening
from resnets.data.files import FileData

WNIDS = imagenet_classes.wnids()[7:9]  # cock and hen
SIZE = (60, 40)


def write(base, images, told, split="train"):
    """Write images and annotations, by their names within the split."""
    for name in images:
        path = base / f"{split}/{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(samples.jpeg(len(name), *SIZE))
    for name, objects in told.items():
        above = base.parent.parent if base.name == "CLS-LOC" else base
        path = above / f"Annotations/CLS-LOC/{split}/{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = objects if isinstance(objects, bytes) else samples.voc_xml(objects, SIZE)
        path.write_bytes(content)


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("images_in", ["ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", ""])
def test_what_is_published_is_opened_wherever_its_images_stand(tmp_path, images_in):
    base, (cock, hen) = tmp_path / images_in, WNIDS
    one, two = f"{cock}/{cock}_1", f"{hen}/{hen}_2"
    write(base, [one, two], {one: [(cock, (0, 4, 19, 30), 0)], two: [(hen, (1, 1, 9, 9), 0)]})
    validation = "ILSVRC2012_val_00000001"
    write(base, [validation], {validation: [(hen, (5, 6, 7, 8), 0)] * 2}, split="val")
    data = opening.open_data(tmp_path)
    assert (data.name, data.where) == (tmp_path.name, str(tmp_path))
    assert data.classes == imagenet_classes.names()
    assert list(data.splits) == ["train", "validation"]
    train = data.splits["train"]
    assert train.ids == (f"{cock}_1", f"{hen}_2")
    assert train.names == (f"train/{one}.JPEG", f"train/{two}.JPEG")
    assert train.objects[0].boxes_n4.tolist() == [[0, 4, 20, 31]]
    assert train.objects[1].classes_n.tolist() == [8]
    assert train.image(0).size == SIZE
    assert data.splits["validation"].objects[0].boxes_n4.tolist() == [[5, 6, 8, 9]] * 2
    assert imagenet_classes.index_by_devkit_id()[data.category_ids[8]] == 8


def test_images_to_validate_on_may_stand_in_folders_of_their_classes(tmp_path):
    name = "ILSVRC2012_val_00000007"
    write(tmp_path, [f"{WNIDS[0]}/{name}"], {name: [(WNIDS[0], (0, 0, 9, 9), 0)]}, split="val")
    data = opening.open_data(tmp_path)
    assert data.splits["validation"].names == (f"val/{WNIDS[0]}/{name}.JPEG",)


def test_a_name_that_two_files_have_is_nobodys_without_its_folder(tmp_path):
    told = {"cat/1": [("cat", (0, 0, 9, 9), 0)], "1": [("dog", (0, 0, 9, 9), 0)]}
    write(tmp_path, ["cat/1", "dog/1"], told)
    train = opening.open_data(tmp_path).splits["train"]
    assert train.names == ("train/cat/1.JPEG",)
    assert [(flaw.kind, flaw.name) for flaw in train.flaws] == [("missing-image", "train/1")]


def test_images_without_an_annotation_are_passed_over_and_the_reverse_is_a_flaw(tmp_path):
    told = {f"cat/{i}": [("cat", (0, 0, 9, 9), 0)] for i in (1, 3)}
    write(tmp_path, ["cat/1", "cat/2"], told)
    train = opening.open_data(tmp_path).splits["train"]
    assert train.ids == ("1",)
    assert [(flaw.kind, flaw.name) for flaw in train.flaws] == [("missing-image", "train/cat/3")]


def test_a_box_that_tells_the_images_side_for_its_last_pixel_ends_there(tmp_path):
    write(tmp_path, ["cat/1"], {"cat/1": [("cat", (0, 0, 60, 39), 0)]})
    train = opening.open_data(tmp_path).splits["train"]
    assert train.objects[0].boxes_n4.tolist() == [[0, 0, 60, 40]]
    assert train.flaws == ()


def test_one_who_is_on_the_devkits_list_of_bad_boxes_is_left_out(tmp_path):
    names = [f"ILSVRC2012_val_{number:08d}" for number in (1, 2, 3)]
    told = {name: [("cat", (0, 0, 9, 9), 0)] for name in names}
    write(tmp_path, names, told, split="val")
    place = tmp_path / "devkit/data/ILSVRC2015_clsloc_validation_blacklist.txt"
    place.parent.mkdir(parents=True)
    place.write_text("2\n36\n")
    assert opening.open_data(tmp_path).splits["validation"].ids == (names[0], names[2])
    place.write_text("two\n")
    assert "not a list of numbers" in refused(tmp_path)


def test_classification_takes_the_same_folder_with_all_its_images(tmp_path):
    write(tmp_path, ["cat/1", "cat/2", "dog/3"], {"cat/1": [("cat", (0, 0, 9, 9), 0)]})
    write(tmp_path, ["cat/4", "dog/5"], {"cat/4": [("dog", (0, 0, 9, 9), 0)]}, split="val")
    data = opening.open_data(tmp_path)
    found = opening.labelled(data)
    assert isinstance(found, FileData)
    assert (found.name, found.where) == (data.name, data.where)
    assert {name: len(files) for name, files in found.splits.items()} == {
        "train": 3,
        "validation": 2,
    }
    assert opening.labelled(data) is found


def test_annotations_alone_and_damaged_ones_are_refused(tmp_path):
    write(tmp_path, [], {"cat/1": [("cat", (0, 0, 9, 9), 0)]})
    assert "none of the 1 images of its annotations is in" in refused(tmp_path)
    shutil.rmtree(tmp_path / "Annotations")
    write(tmp_path, ["cat/1"], {"cat/1": b"<!DOCTYPE a><annotation/>"})
    assert "document type" in refused(tmp_path)
