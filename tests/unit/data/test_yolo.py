import pytest

from resnets.core.errors import DataError
from resnets.data import opening
from samples import jpeg, write_yolo

NAMES = "names: [cat, dog]\n"


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folders_are_splits_and_shares_become_pixels(tmp_path):
    folder = write_yolo(
        tmp_path / "pets",
        {
            "train/a": "1 0.5 0.5 0.5 0.25\n\n0 0.25 0.5 0.5 1\n",
            "train/b": "",
            "train/c": None,
            "val/d": "0 0.1 0.2 0.5 0.2 0.3 0.8\r\n",
        },
    )
    data = opening.open_data(folder)
    assert (data.name, data.where) == ("pets", str(folder))
    assert (data.classes, data.category_ids) == (("cat", "dog"), (1, 2))
    assert list(data.splits) == ["train", "validation"]
    train = data.splits["train"]
    assert train.names == ("images/train/a.jpg", "images/train/b.jpg", "images/train/c.jpg")
    assert train.ids[0] == "images/train/a"
    assert train.read(2) == (folder / "images/train/c.jpg").read_bytes()
    assert [len(each) for each in train.objects] == [2, 0, 0]
    assert train.objects[0].boxes_n4.tolist() == [[15, 15, 45, 25], [0, 0, 30, 40]]
    assert train.objects[0].classes_n.tolist() == [1, 0]
    assert train.sizes_n2.tolist() == [[60, 40]] * 3
    (outline,) = data.splits["validation"].objects[0].boxes_n4.tolist()
    assert outline == pytest.approx([6, 8, 30, 32], abs=1e-4)
    assert train.flaws == ()


def test_odd_boxes_are_left_out_and_told(tmp_path):
    lines = [
        *("2 0.5 0.5 0.2 0.2", "-1 0.5 0.5 0.2 0.2", "0 nan 0.5 0.2 0.2", "0 0.5 0.5 0 0.2"),
        *("0 0.5 0.5 -0.1 0.2", "0 1.5 0.5 0.2 0.2", "0 1 0.5 0.2 0.2", "0 0 0 inf 1 1 1"),
        *("1.0 0.5 0.5 1e308 1e308",),
    ]
    folder = write_yolo(tmp_path, {"train/a": "\n".join(lines), "train/b": "0 0.5 0.5 1 1"})
    (folder / "images/train/b.jpg").write_bytes(b"")
    train = opening.open_data(folder).splits["train"]
    assert [flaw.kind for flaw in train.flaws] == [
        *("unknown-category", "unknown-category", "no-number", "degenerate", "degenerate"),
        *("outside", "clipped", "no-number", "no-number", "unsized"),
    ]
    assert [len(each) for each in train.objects] == [1, 0]


def test_a_split_without_a_label_file_has_no_annotations(tmp_path):
    folder = write_yolo(tmp_path, {"train/a": "0 0.5 0.5 1 1", "test/b": None})
    splits = opening.open_data(folder).splits
    assert {name: split.annotated for name, split in splits.items()} == {
        "train": True,
        "test": False,
    }


def test_without_folders_all_is_one_split(tmp_path):
    folder = write_yolo(tmp_path / "one", {"a": "0 0.5 0.5 1 1", "b": "1 0.5 0.5 1 1"})
    assert opening.open_data(folder).splits["validation"].names == ("images/a.jpg", "images/b.jpg")


def test_images_and_labels_in_each_split_are_found(tmp_path):
    for split in ("train", "valid"):
        write_yolo(tmp_path / split, {"a": "0 0.5 0.5 1 1"}, classes=None)
    (tmp_path / "data.yaml").write_text(
        f"train: ../train/images\nval: ../valid/images\n\nnc: 2\n{NAMES}\n"
        "roboflow:\n  workspace: me\n  url: https://here\n"
    )
    splits = opening.open_data(tmp_path).splits
    assert {name: split.names for name, split in splits.items()} == {
        "train": ("train/images/a.jpg",),
        "validation": ("valid/images/a.jpg",),
    }
    assert len(splits["train"].objects[0]) == 1
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\ndog\n\n")
    assert list(opening.open_data(tmp_path).splits) == ["train", "validation"]


def test_images_with_labels_beside_them_are_found_where_classes_are_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(0, 60, 40))
    (tmp_path / "a.txt").write_text("1 0.5 0.5 1 1\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    split = opening.open_data(tmp_path).splits["validation"]
    assert (split.names, split.objects[0].classes_n.tolist()) == (("a.jpg",), [1])


@pytest.mark.parametrize(
    "said",
    [
        "path: ../datasets/pets\ntrain: images/train2017\n",
        "path: /home/me/pets # where it was\ntrain: 'images/train2017'\nval:\ntest: null\n",
        "train: /home/me/pets/images/train2017/\n",
        "train: train2017.txt\n",
    ],
)
def test_a_data_yaml_finds_its_folders_wherever_the_data_was_moved(tmp_path, said):
    write_yolo(tmp_path, {"train2017/a": "0 0.5 0.5 1 1", "other/b": "0 0.5 0.5 1 1"}, None)
    (tmp_path / "train2017.txt").write_text("./images/train2017/a.jpg\n./images/train2017/x.jpg\n")
    (tmp_path / "data.yaml").write_text(said + NAMES)
    data = opening.open_data(tmp_path)
    assert {name: split.names for name, split in data.splits.items()} == {
        "train": ("images/train2017/a.jpg",)
    }
    named = opening.open_data(tmp_path / "data.yaml")
    assert named.where == str(tmp_path / "data.yaml")
    assert named.digest == data.digest
    missing = [flaw.name for flaw in data.splits["train"].flaws]
    assert missing == (["images/train2017/x.jpg"] if "txt" in said else [])


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        ("names: ['traffic light', \"dog's\", no]", ("traffic light", "dog's", "no")),
        ("names: [a, b,\n  c]", ("a", "b", "c")),
        ("names:\n- a\n- b # the other\n", ("a", "b")),
        ("names:\n  0: a\n  1: b\n", ("a", "b")),
        ("names: {1: b, 0: a}", ("a", "b")),
    ],
)
def test_names_are_read_in_the_forms_that_people_have(tmp_path, names, classes):
    write_yolo(tmp_path, {"train/a": "0 0.5 0.5 1 1"}, classes=None)
    (tmp_path / "data.yaml").write_text(f"# ours\ntrain: images/train\n{names}\n")
    assert opening.open_data(tmp_path).classes == classes


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("names: {0: a, 2: b}", "names: number the classes from 0 on"),
        ("names: [a, a]", "a class has no name, or that of another"),
        ("names: [a, '']", "a class has no name, or that of another"),
        ("names: *classes", "line 2: names: not understood: '*classes'"),
        ("names: []", "nothing names the classes; list them in classes.txt"),
        ("names: [a]\nval: [images/a, images/b]", "val: name one folder"),
        ("names: [a]\nval: images/nowhere", "val: 'images/nowhere' is not in"),
    ],
)
def test_a_data_yaml_that_says_something_else_is_refused(tmp_path, yaml, message):
    write_yolo(tmp_path, {"train/a": "0 0.5 0.5 1 1"}, classes=None)
    (tmp_path / "data.yaml").write_text(f"train: images/train\n{yaml}\n")
    assert message in refused(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["0 0.5 0.5 1", "0 0.5 0.5 1 1 0.9", "cat 0.5 0.5 1 1", "0.5 0.5 0.5 1 1", "inf 0 0 1 1"],
)
def test_a_line_of_something_else_is_refused_naming_it(tmp_path, line):
    folder = write_yolo(tmp_path, {"train/a": f"0 0.5 0.5 1 1\n{line}\n"})
    assert "labels/train/a.txt: line 2: expected class_index x y width height" in refused(folder)


def test_a_label_file_that_is_no_text_is_refused(tmp_path):
    folder = write_yolo(tmp_path, {"train/a": "0 0.5 0.5 1 1"})
    (folder / "labels/train/a.txt").write_bytes(b"\xff\xfe0")
    assert "a.txt: not a text" in refused(folder)


def test_without_names_of_classes_it_is_refused(tmp_path):
    folder = write_yolo(tmp_path, {"train/a": "0 0.5 0.5 1 1"}, classes=None)
    assert "nothing names the classes; list them in classes.txt, one a line" in refused(folder)
