import pytest

from resnets.core.errors import DataError
from resnets.data import opening
from resnets.data.annotated import DetectionData
from resnets.data.files import FileData
from samples import archive, jpeg, shard, table, write_coco, write_table, write_voc, write_yolo


@pytest.mark.parametrize("name", ["cifar10-sample", "cifar10-scenes", "synthetic"])
def test_a_data_set_opens_by_its_name_and_says_it(name):
    opened = opening.open_data(name)
    assert opened.name == opened.where == name
    assert name in opening.NAMES


@pytest.mark.parametrize(
    ("name", "nearest"), [("cifar-10", "cifar10"), ("cifar10_sample", "cifar10-sample")]
)
def test_an_unknown_name_is_refused_suggesting_the_nearest(name, nearest):
    with pytest.raises(DataError) as caught:
        opening.open_data(name)
    message = str(caught.value)
    assert repr(name) in message
    assert nearest in message.split("did you mean ")[1].split("? ")[0].split(" or ")
    assert "resnets data list" in message
    assert "\n" not in message


def test_a_folder_that_is_not_there_is_refused_naming_it(tmp_path):
    with pytest.raises(DataError, match=r"none of that name.*nor is there a folder"):
        opening.open_data(tmp_path / "photos")


def test_a_file_in_the_place_of_a_folder_is_refused_saying_what_is_taken(tmp_path):
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"cat\.jpg: a file; --data takes a folder or one of "):
        opening.open_data(str(file))


def test_a_folder_without_images_of_cifar10_is_refused_saying_how_to_get_them(tmp_path):
    with pytest.raises(DataError, match=r"resnets data fetch cifar10"):
        opening.open_data(tmp_path)


def test_a_tilde_means_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(DataError, match="no data set is recognised") as caught:
        opening.open_data("~/data")
    assert str(caught.value).startswith(str(tmp_path / "data"))


ROWS = [("a.jpg", jpeg(0), 0), ("b.jpg", jpeg(1), 1)]


def listed(folder):
    (folder / "labels.csv").write_text("file,class_index\ncat/a.jpg,0\n")


def class_folders(folder):
    (folder / "cat").mkdir()
    (folder / "cat" / "a.jpg").write_bytes(jpeg(0))


def shards(folder):
    (folder / "train-0.tar").write_bytes(shard(ROWS))


def parquet(folder):
    write_table(folder / "data" / "train-00000-of-00001.parquet", table(ROWS))


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ((class_folders, shards), "tar shards and class folders are here; leave one"),
        ((class_folders, parquet), "Parquet files and class folders are here"),
        ((shards, parquet), "tar shards and Parquet files are here"),
        ((class_folders, listed, shards), "labels.csv and tar shards are here"),
        ((class_folders, listed, parquet), "labels.csv and Parquet files are here"),
    ],
)
def test_a_folder_that_could_be_two_data_sets_is_refused_naming_both(tmp_path, there, says):
    for make in there:
        make(tmp_path)
    with pytest.raises(DataError) as caught:
        opening.open_data(tmp_path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tar", [archive({"cat/a.jpg": b"x", "notes.txt": b""}), b"", b"cat" * 999])
def test_an_archive_beside_what_was_unpacked_from_it_is_left_aside(tmp_path, tar):
    class_folders(tmp_path)
    (tmp_path / "train-cats.tar").write_bytes(tar)
    (tmp_path / "others.tar").write_bytes(tar)
    assert opening.open_data(tmp_path).classes == ("cat",)
    listed(tmp_path)
    assert opening.open_data(tmp_path).splits["validation"].names == ("cat/a.jpg",)


def test_the_message_about_a_folder_or_file_names_all_that_is_taken(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for where in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError) as caught:
            opening.open_data(where)
        for kind in ("shard", "Parquet file", "ImageNet"):
            assert kind in str(caught.value)


def test_a_folder_that_may_not_be_listed_is_one_line(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)$"):
        opening.open_data(tmp_path)


BOX = {"image_id": 1, "bbox": [1, 1, 9, 9]}


@pytest.fixture
def boxes(tmp_path):
    """Three data sets with boxes, each beside what would otherwise be class folders."""
    write_voc(tmp_path / "voc", {"train": ["a", "b"]})
    write_coco(tmp_path / "coco", {"train": (2, [BOX]), "val": (1, [])})
    write_yolo(tmp_path / "yolo", {"train/a": "0 0.5 0.5 1 1", "val/b": "0 0.5 0.5 1 1"})
    for kind in ("voc", "coco", "yolo"):
        (tmp_path / kind / "more").mkdir()
        (tmp_path / kind / "more" / "x.jpg").write_bytes(jpeg(0))
    return tmp_path


@pytest.mark.parametrize("kind", ["voc", "coco", "yolo"])
def test_folders_of_a_data_set_with_boxes_are_no_classes(boxes, kind):
    data = opening.open_data(boxes / kind)
    assert isinstance(data, DetectionData)
    assert data.where == str(boxes / kind)
    assert opening.with_boxes(data) is data
    with pytest.raises(DataError, match="images with boxes, for detection; this needs one class"):
        opening.labelled(data)
    with pytest.raises(DataError, match="for detection"):
        opening.in_memory(data)


def test_what_has_one_class_an_image_has_no_boxes():
    data = opening.open_data("synthetic")
    assert opening.labelled(data) is data
    with pytest.raises(DataError, match=r"synthetic: images with one class each; this needs boxes"):
        opening.with_boxes(data)


def test_two_kinds_of_boxes_in_a_folder_are_refused_and_a_file_tells_which(boxes):
    write_yolo(boxes / "coco", {"train/a": "0 0.5 0.5 1 1"})
    with pytest.raises(DataError, match="COCO's JSON and YOLO's labels are here; leave one"):
        opening.open_data(boxes / "coco")
    data = opening.open_data(boxes / "coco/annotations/instances_train.json")
    assert data.splits["train"].names == ("train/0.jpg", "train/1.jpg")


@pytest.mark.parametrize(
    "beside",
    [
        "annotations/notes.json",
        "annotations/a.xml",
        "Annotations/a.xml",
        "labels/a.jpg",
        "data.yaml",
        "classes.txt",
        "config.json",
    ],
)
def test_class_folders_stay_class_folders(tmp_path, beside):
    for name in ("images/a.jpg", "cats/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(jpeg(0))
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    (tmp_path / beside).write_bytes(b'{"images": 3}' if beside == "config.json" else b"train: x\n")
    assert isinstance(opening.open_data(tmp_path), FileData)
