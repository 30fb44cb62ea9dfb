import json

import pytest

from resnets.core.errors import DataError
from resnets.data import opening
from samples import coco_tree, jpeg, write_coco

BOX = {"image_id": 1, "bbox": [10, 5, 20, 15]}


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(folder, tree, name="annotations/instances_train.json"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return folder


def with_pictures(folder, inside, images=2):
    (folder / inside).mkdir(parents=True, exist_ok=True)
    for i in range(images):
        (folder / inside / f"{i}.jpg").write_bytes(jpeg(i, 60, 40))
    return folder


def test_splits_categories_and_objects_are_read(tmp_path):
    crowd = {
        "image_id": 3,
        "bbox": [0, 0, 60.005, 40],
        "iscrowd": 1,
        "area": 99.5,
        "category_id": 3,
    }
    folder = tmp_path / "pets"
    write_coco(
        folder,
        {"val2017": (1, []), "train2017": (3, [crowd, BOX])},
        categories=((3, "dog"), (1, "cat"), (90, "toothbrush")),
    )
    data = opening.open_data(folder)
    assert (data.name, data.where) == ("pets", str(folder))
    assert (data.classes, data.category_ids) == (("cat", "dog", "toothbrush"), (1, 3, 90))
    assert list(data.splits) == ["train", "validation"]
    train = data.splits["train"]
    assert train.names == ("train2017/0.jpg", "train2017/1.jpg", "train2017/2.jpg")
    assert train.ids == (1, 2, 3)
    assert train.read(1) == (folder / "train2017/1.jpg").read_bytes()
    assert train.sizes_n2.tolist() == [[60, 40]] * 3
    assert [len(each) for each in train.objects] == [1, 0, 1]
    assert train.objects[0].boxes_n4.tolist() == [[10, 5, 30, 20]]
    assert train.objects[0].area_n.tolist() == [300]
    last = train.objects[2]
    assert last.boxes_n4.tolist() == [[0, 0, 60, 40]]
    assert (last.classes_n.tolist(), last.area_n.tolist()) == ([1], [99.5])
    assert last.crowd_n.tolist() == last.ignored_n.tolist() == [True]
    assert train.flaws == ()


def test_several_years_are_splits_of_their_own(tmp_path):
    write_coco(tmp_path, {"train2014": (1, [BOX]), "train2017": (1, [BOX]), "minival2014": (1, [])})
    assert list(opening.open_data(tmp_path).splits) == ["2014/train", "2014/minival", "2017/train"]


def test_files_for_other_tasks_are_passed_over_and_test_images_have_no_annotations(tmp_path):
    write_coco(tmp_path, {"val2017": (1, [BOX])})
    written(tmp_path, {"annotations": [{"caption": "a cat"}]}, "annotations/captions_val2017.json")
    tests = coco_tree(2, [])
    del tests["annotations"]
    written(with_pictures(tmp_path, "test2017"), tests, "annotations/image_info_test2017.json")
    data = opening.open_data(tmp_path)
    assert {name: split.annotated for name, split in data.splits.items()} == {
        "validation": True,
        "test": False,
    }
    assert data.splits["test"].names == ("test2017/0.jpg", "test2017/1.jpg")


def test_a_split_whose_images_are_not_there_is_passed_over(tmp_path):
    write_coco(tmp_path, {"val2017": (1, [BOX]), "train2017": (2, [BOX])})
    for path in (tmp_path / "train2017").iterdir():
        path.unlink()
    assert list(opening.open_data(tmp_path).splits) == ["validation"]
    (tmp_path / "val2017/0.jpg").unlink()
    assert "none of its 2 images is here; put them beside annotations/" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "inside", "prefix", "split"),
    [
        ("annotations.json", "", "", "validation"),
        ("labels.json", "data", "data/", "validation"),
        ("instances_train.json", "images", "images/", "train"),
        ("_annotations.coco.json", "", "", "validation"),
        ("train/_annotations.coco.json", "train", "train/", "train"),
        ("valid/_annotations.coco.json", "valid", "valid/", "validation"),
        ("annotations/instances_default.json", "images", "images/", "validation"),
        ("annotations/test.json", "images/test", "images/test/", "test"),
    ],
)
def test_a_bare_pair_and_other_layouts_are_found(tmp_path, name, inside, prefix, split):
    written(with_pictures(tmp_path, inside), coco_tree(2, [BOX]), name)
    data = opening.open_data(tmp_path)
    assert list(data.splits) == [split]
    assert data.splits[split].names == (f"{prefix}0.jpg", f"{prefix}1.jpg")
    assert data.splits[split].image(0).size == (60, 40)


def test_one_json_is_a_data_set_of_one_split(tmp_path):
    write_coco(tmp_path, {"val2017": (1, [BOX]), "train2017": (2, [BOX])})
    path = tmp_path / "annotations/instances_val2017.json"
    data = opening.open_data(path)
    assert (data.where, list(data.splits)) == (str(path), ["validation"])
    assert data.digest == opening.open_data(data.where).digest


def test_odd_annotations_are_left_out_and_told(tmp_path):
    odd = [
        {**BOX, "image_id": 9},
        {**BOX, "image_id": [1]},
        {**BOX, "image_id": 2, "category_id": 2},
        {**BOX, "bbox": None},
        {**BOX, "bbox": [1, 2, 3]},
        {**BOX, "bbox": [1, 2, True, 10**400]},
        {**BOX, "category_id": None},
        {**BOX, "iscrowd": "yes", "area": "big"},
    ]
    write_coco(tmp_path, {"train": (3, odd)})
    (tmp_path / "train/1.jpg").unlink()
    train = opening.open_data(tmp_path).splits["train"]
    assert train.names == ("train/0.jpg", "train/2.jpg")
    assert train.flaw_counts == {
        "missing-image": 1,
        "no-number": 3,
        "unknown-category": 1,
        "unlisted-image": 2,
    }
    (objects,) = [each for each in train.objects if len(each)]
    assert (objects.area_n.tolist(), objects.crowd_n.tolist()) == ([300], [False])


def test_sizes_that_are_not_said_are_read_from_the_pictures(tmp_path):
    tree = coco_tree(2, [BOX])
    del tree["images"][0]["width"]
    tree["images"][1]["height"] = "40"
    split = opening.open_data(written(with_pictures(tmp_path, "train"), tree)).splits["train"]
    assert split.sizes_n2.tolist() == [[60, 40], [60, 40]]


CHANGES = {
    "is not whole": (lambda t: json.dumps(t)[:-30], "not whole JSON"),
    "is too deep": (lambda t: json.dumps(t)[:-1] + ', "a": ' + "[" * 100_000, "not whole JSON"),
    "has no images": (
        lambda t: {**t, "images": {}},
        'not COCO\'s JSON, which has a list of "images"',
    ),
    "lists no images": (lambda t: {**t, "images": []}, "lists no images"),
    "has no categories": (lambda t: {**t, "categories": []}, 'lists no "categories"'),
    "has an annotation that is none": (
        lambda t: {**t, "annotations": [3]},
        '"annotations" must be a list of objects',
    ),
    "has a category without id": (
        lambda t: {**t, "categories": [{"name": "cat"}]},
        "a category's id must be a whole number, got None",
    ),
    "has a category without name": (
        lambda t: {**t, "categories": [{"id": 1}]},
        "category 1 must have a name, got None",
    ),
    "has two categories of one id": (
        lambda t: {**t, "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
        "two categories have the id 1",
    ),
    "has two categories of one name": (
        lambda t: {**t, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]},
        "two categories are called 'a'; rename one",
    ),
    "has an image without id": (
        lambda t: {**t, "images": [{"file_name": "0.jpg", "id": {}}]},
        "the image '0.jpg' has no id",
    ),
    "has two images of one id": (
        lambda t: {**t, "images": [{"file_name": f"{i}.jpg", "id": 1} for i in range(2)]},
        "the image '1.jpg' has the id 1 of another",
    ),
    "has an image twice": (
        lambda t: {**t, "images": [{"file_name": "0.jpg", "id": i} for i in range(2)]},
        "lists '0.jpg' 2 times; leave one",
    ),
    "has an image without name": (
        lambda t: {**t, "images": [{"file_name": ["0.jpg"], "id": 1}]},
        "an image must have a file_name, got list",
    ),
    "leads out of the folder": (
        lambda t: {**t, "images": [{"file_name": "../../0.jpg", "id": 1}]},
        "'../../0.jpg' leads out of the folder",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_json_is_refused_that(tmp_path, what):
    change, message = CHANGES[what]
    written(with_pictures(tmp_path, "train"), change(coco_tree(2, [BOX])))
    said = refused(tmp_path)
    assert message in said
    assert str(tmp_path) in said


def test_categories_must_agree_between_files(tmp_path):
    write_coco(tmp_path, {"train": (1, [BOX])}, ((1, "cat"),))
    tree = coco_tree(2, [], ((1, "dog"),))
    written(with_pictures(tmp_path, "val"), tree, "annotations/instances_val.json")
    assert "category 1 is 'dog' here and 'cat' in another file" in refused(tmp_path)
