from dataclasses import fields, replace

import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import annotated, opening
from resnets.data.annotated import AnnotatedFiles, Annotations, DetectionData, Objects
from resnets.data.flaws import Flaw
from samples import jpeg, write_coco, write_voc


def objects(*boxes, label=0):
    made = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    n = len(made)
    sides = made[:, 2:] - made[:, :2]
    no = torch.zeros(n, dtype=torch.bool)
    return Objects(made, torch.full((n,), label), no, no, sides.prod(1))


def same(one, other):
    return all(
        torch.equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(Objects)
    )


EACH = [objects((0, 0, 5, 5), (1, 1, 30, 20)), Objects.none(), objects((2, 2, 9, 9), label=1)]


def some(tag="", each=EACH, **more):
    names = tuple(f"{tag}{i}.jpg" for i in range(len(each)))
    return AnnotatedFiles(
        names, tuple(range(len(each))), Annotations.of(each), lambda i: jpeg(i, 30, 20), **more
    )


def test_annotations_give_back_the_objects_of_each_image():
    found = Annotations.of(EACH)
    assert len(found) == 3
    assert all(map(same, found, EACH))
    assert same(found[-1], EACH[2])
    assert [len(each) for each in found[1:]] == [0, 1]
    assert found.image_n.tolist() == [0, 0, 2]
    with pytest.raises(IndexError):
        found[3]


def test_annotations_of_nothing_are_empty():
    assert len(Annotations.of([])) == 0
    assert Annotations.of([]).every.boxes_n4.shape == (0, 4)


def test_objects_within_the_image_are_the_same_value():
    assert EACH[0].within(30, 20) is EACH[0]


def test_objects_are_cut_off_at_the_edge_of_a_smaller_picture():
    found = EACH[0].within(20, 4)
    assert found.boxes_n4.tolist() == [[0, 0, 5, 4], [1, 1, 20, 4]]
    assert EACH[2].within(2, 20).boxes_n4.shape == (0, 4)
    assert len(Objects.none().within(1, 1)) == 0


def test_taking_images_takes_what_is_said_of_them():
    flaws = (Flaw("thin", "0.jpg"), Flaw("clipped", "2.jpg"), Flaw("missing-image", "gone"))
    whole = some(sizes_n2=torch.tensor([[30, 20], [31, 21], [32, 22]]), flaws=flaws)
    assert whole.flaw_counts == {"clipped": 1, "missing-image": 1, "thin": 1}
    part = whole.take(torch.tensor([2, 0]))
    assert (part.names, part.ids) == (("2.jpg", "0.jpg"), (2, 0))
    assert same(part.objects[0], EACH[2])
    assert same(part.objects[1], EACH[0])
    assert part.sizes_n2.tolist() == [[32, 22], [30, 20]]
    assert part.read(0) == jpeg(2, 30, 20)
    assert part.flaws == flaws[:2]
    assert len(whole.take(torch.tensor([], dtype=torch.int64))) == 0


def test_an_example_is_a_picture_with_objects_inside_it():
    image, there = some(each=[objects((20, 10, 90, 90), (40, 40, 50, 50))]).example(0)
    assert image.size == (30, 20)
    assert there.boxes_n4.tolist() == [[20, 10, 30, 20]]


def test_joined_splits_are_one_after_the_other():
    one, other = some("a"), some("b", each=EACH[2:])
    both = annotated.join([one, other])
    assert both.names == (*one.names, *other.names)
    assert same(both.objects[3], EACH[2])
    assert [both.read(i) for i in range(4)] == [*map(one.read, range(3)), other.read(0)]
    assert both.sizes_n2 is None
    sized = replace(one, sizes_n2=torch.ones(3, 2, dtype=torch.int64))
    assert annotated.join([sized, replace(other, sizes_n2=torch.zeros(1, 2))]).sizes_n2.shape == (
        4,
        2,
    )
    assert annotated.join([one]) is one


def test_splits_that_are_no_whole_are_refused():
    with pytest.raises(DataError, match=r"0\.jpg: is in two"):
        annotated.join([some(), some()])
    with pytest.raises(DataError, match="with and without annotations"):
        annotated.join([some("a"), some("b", annotated=False)])


def data(**splits):
    return DetectionData("a", "/a", ("cat", "dog"), (1, 2), splits)


def test_splits_are_selected_by_name_and_trainval_is_both():
    whole = data(train=some("a"), validation=some("b"), test=some("c"))
    assert whole.select(["trainval"]).names == (*some("a").names, *some("b").names)
    assert whole.select(["test"]).names == some("c").names
    years = DetectionData(
        "a", "/a", ("cat",), (1,), {f"2007/{k}": v for k, v in whole.splits.items()}
    )
    assert years.select(["2007/trainval", "2007/test"]).names[-1] == "c2.jpg"
    with pytest.raises(DataError, match=r"split 'trian': there is none.*did you mean train"):
        whole.select(["trian"])
    for names in (["train", "trainval"], []):
        with pytest.raises(DataError, match="name each split once"):
            whole.select(names)


CHANGES = {
    "a box": lambda o: replace(o, boxes_n4=o.boxes_n4 + 0.5),
    "a class": lambda o: replace(o, classes_n=o.classes_n + 1),
    "ignored": lambda o: replace(o, ignored_n=~o.ignored_n),
    "a crowd": lambda o: replace(o, crowd_n=~o.crowd_n),
    "an area": lambda o: replace(o, area_n=o.area_n + 1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_digest_tells_objects_apart(what):
    changed = [EACH[0], EACH[1], CHANGES[what](EACH[2])]
    assert data(train=some()).digest == data(train=some()).digest
    assert data(train=some()).digest != data(train=some(each=changed)).digest


def test_the_digest_tells_names_classes_and_whose_objects_they_are_apart():
    moved = [EACH[1], EACH[0], EACH[2]]
    digests = {
        data(train=some()).digest,
        data(train=some("x")).digest,
        data(test=some()).digest,
        data(train=some(each=moved)).digest,
        data(train=some(annotated=False)).digest,
        replace(data(train=some()), classes=("cat", "owl")).digest,
        replace(data(train=some("\ud800\udcff"))).digest,
    }
    assert len(digests) == 7


BOX = {"image_id": 1, "bbox": [10, 10, 20, 20]}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two splits with everything that can be wrong, and one that nobody annotated."""
    folder = tmp_path_factory.mktemp("data") / "boxes"
    wrong = [
        *(BOX, BOX, {**BOX, "iscrowd": 1, "category_id": 3}),
        {"image_id": 2, "bbox": [50, 30, 20, 20]},
        {"image_id": 2, "bbox": [50, 30, 0, 20]},
        {"image_id": 2, "bbox": [80, 30, 5, 20]},
        {"image_id": 2, "bbox": ["a", 30, 5, 20]},
        {"image_id": 2, "bbox": [1, 1, 5, 20], "category_id": 9},
        {"image_id": 77, "bbox": [1, 1, 5, 20]},
        {"image_id": 3, "bbox": [0, 0, 8, 0.5]},
    ]
    write_coco(
        folder, {"train": (4, wrong), "val": (2, [BOX])}, ((1, "cat"), (3, "dog"), (4, "owl"))
    )
    (folder / "train/1.jpg").write_bytes(jpeg(1, 50, 40))
    (folder / "train/2.jpg").unlink()
    (folder / "train/3.jpg").write_bytes(jpeg(3)[:300])
    (folder / "val/1.jpg").write_bytes(jpeg(0, 60, 40))
    return opening.open_data(folder).check()


def test_a_check_counts_boxes_and_images(report):
    assert report.summary() == {
        "data": "boxes",
        "train_images": 3,
        "validation_images": 2,
        "train_boxes": 4,
        "validation_boxes": 1,
        "classes": 2,
        "unreadable_images": 1,
        "repeated_images": 2,
        "digest": report.digest,
    }
    assert [(each.name, dict(each.counts)) for each in report.by_class] == [
        ("cat", {"train": 3, "validation": 1}),
        ("dog", {"train": 1, "validation": 0}),
        ("owl", {"train": 0, "validation": 0}),
    ]
    assert report.boxes.flags == {"crowd": 1}
    assert report.sizes["box_px"].greatest == 20
    assert report.refusal is None


def test_a_check_finds_what_is_wrong_with_boxes(report):
    found = {
        each.kind.code: [(case.images[0].name, case.why) for case in each.cases]
        for each in report.findings
        if each.kind.of != "class"
    }
    assert found.pop("leaked") == [("train/0.jpg", "")]
    assert found == {
        "truncated": found["truncated"],
        "missing-image": [("2.jpg", "")],
        "size-mismatch": [("train/1.jpg", "50 x 40 px, annotated as 60 x 40 px")],
        "no-number": [("train/1.jpg", "1 at nan, 30, nan, 50 in 60 x 40 px")],
        "unknown-category": [("train/1.jpg", "9 at 1, 1, 6, 21 in 60 x 40 px")],
        "unlisted-image": [("instances_train.json", "image_id 77, annotation 8")],
        "degenerate": [("train/1.jpg", "1 at 50, 30, 50, 50 in 60 x 40 px")],
        "outside": [("train/1.jpg", "1 at 80, 30, 85, 50 in 60 x 40 px")],
        "clipped": [("train/1.jpg", "1 at 50, 30, 70, 50 in 60 x 40 px")],
        "doubled": [("train/0.jpg", "1 at 10, 10, 30, 30 in 60 x 40 px")],
        "empty-image": [("train/3.jpg", ""), ("val/1.jpg", "")],
    }
    assert [case.class_name for case in report.cases("unmeasured-class")] == ["dog"]
    assert [case.class_name for case in report.cases("empty-class")] == ["owl"]


def test_a_class_of_hardly_any_images_is_told_with_them_and_what_is_spelt_so(tmp_path):
    names = [f"i{number:02d}" for number in range(24)]
    objects = {
        name: [("platelet", (5, 5, 30, 30), 0), ("cell 1", (5, 5, 20, 20), 0)] for name in names
    }
    objects["i07"].append(("platlet", (10, 10, 30, 30), 0))
    objects["i08"].append(("cell 2", (10, 10, 30, 30), 0))
    for name in ("i09", "i10", "i11"):
        objects[name].append(("owl", (10, 10, 30, 30), 0))
    folder = write_voc(tmp_path, {"train": names}, objects)
    (folder / "JPEGImages/i10.jpg").write_bytes(b"no image")
    report = opening.open_data(folder).check()
    found = {case.class_name: case for case in report.cases("few-images")}
    assert {name: case.why for name, case in found.items()} == {
        "cell 2": "1 image",  # numbers are meant
        "owl": "2 images",
        "platlet": "1 image; misspelt for platelet?",
    }
    assert [at.name for at in found["owl"].images] == ["JPEGImages/i09.jpg", "JPEGImages/i11.jpg"]
    assert "platlet: 1 image; misspelt for platelet? (JPEGImages/i07.jpg)" in str(report)


def test_classes_are_judged_by_images_and_not_by_boxes(report):
    assert [(c.class_name, c.why) for c in report.cases("few-images")] == [
        ("cat", "2 images"),
        ("dog", "1 image"),
    ]


def test_a_check_shows_as_text_and_json(report):
    text = str(report)
    assert text.startswith(
        "boxes: 5 images (3 train, 2 validation) with 5 boxes in 2 of 3 classes; 1 cannot be read\n"
    )
    assert "error    1 image annotated, but not there: left out; put back" in text
    assert "warning  1 box partly outside of the image: cut off at its edge\n" in text
    assert "\nboxes by class\n" in text
    assert "\nflags    crowd 1\n" in text
    tree = report.to_dict()
    assert tree["by_class"][1] == {
        "class": "dog",
        "train_boxes": 1,
        "validation_boxes": 0,
        "unreadable_boxes": 0,
    }
    assert (tree["flags"], tree["unannotated"]) == ({"crowd": 1}, [])
    (clipped,) = [each for each in tree["findings"] if each["finding"] == "clipped"]
    assert clipped["of"] == "box"
    assert clipped["cases"][0]["images"] == [{"split": "train", "file": "train/1.jpg"}]


def test_a_split_without_annotations_is_told_and_not_measured_on(tmp_path):
    boxes = {"a": [("cat", (1, 1, 9, 9), 1)], "b": [("cat", (1, 1, 9, 9), 0)]}
    write_voc(tmp_path, {"train": ["a", "b"], "test": ["c", "d", "e"]}, boxes)
    report = opening.open_data(tmp_path).check()
    assert report.boxes.unannotated == ("test",)
    assert "3 test without annotations) with 2 boxes" in str(report)
    assert report.boxes.flags == {"difficult": 1}
    assert not report.cases("empty-image")
    assert not report.cases("unmeasured-class")


def test_without_a_box_nothing_can_be_trained_on(tmp_path):
    report = opening.open_data(write_voc(tmp_path / "a", {"train": ["a", "b"]})).check()
    assert report.refusal == "no box is in any of the 2 train images"
