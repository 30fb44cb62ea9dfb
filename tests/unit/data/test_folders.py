import pytest
from PIL import Image

from resnets.core.errors import DataError
from resnets.data import imagenet_classes, opening


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(folder / name, "PNG")


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_folder_a_class_is_one_validation_split(tmp_path):
    put(tmp_path, "dog/b.jpg", "dog/a.png", "cat/a.JPEG")
    data = opening.open_data(tmp_path)
    assert (data.name, data.where) == (tmp_path.name, str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert list(data.splits) == ["validation"]
    split = data.splits["validation"]
    assert split.names == ("cat/a.JPEG", "dog/a.png", "dog/b.jpg")
    assert split.labels_n.tolist() == [0, 1, 1]
    assert split.read(1) == (tmp_path / "dog/a.png").read_bytes()


def test_files_further_down_belong_to_the_class_and_others_are_left_out(tmp_path):
    put(tmp_path, "cat/x/y/a.png", "cat/.hidden.png", "cat/.cache/b.png", ".git/c.png", "top.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / "folder.png").mkdir()
    put(tmp_path, "cat/folder.png/z.Tiff")
    (tmp_path / "README").write_text("")
    (tmp_path / "cat" / "x" / "loop").symlink_to(tmp_path / "cat")
    data = opening.open_data(tmp_path)
    assert data.splits["validation"].names == ("cat/folder.png/z.Tiff", "cat/x/y/a.png")


@pytest.mark.parametrize("held", ["val", "validation", "test", "Val"])
def test_split_folders_are_splits(tmp_path, held):
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", f"{held}/cat/c.png", f"{held}/dog/d.png")
    (tmp_path / "annotations").mkdir()
    data = opening.open_data(tmp_path)
    assert data.classes == ("cat", "dog")
    assert {name: split.names for name, split in data.splits.items()} == {
        "train": ("cat/a.png", "dog/b.png"),
        "validation": ("cat/c.png", "dog/d.png"),
    }
    assert data.splits["validation"].read(0) == (tmp_path / held / "cat/c.png").read_bytes()


def test_a_test_split_counts_where_there_is_no_validation_split(tmp_path):
    put(tmp_path, "val/cat/a.png", "test/cat/b.png")
    assert opening.open_data(tmp_path).splits["validation"].names == ("cat/a.png",)
    put(tmp_path, "validation/cat/a.png")
    assert "both validation and val are here" in refused(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    put(tmp_path, "car/a.png", "train/b.png", "plane/c.png")
    assert opening.open_data(tmp_path).classes == ("car", "plane", "train")


def test_a_folder_called_train_is_the_train_split(tmp_path):
    put(tmp_path, "train/cat/a.png")
    assert list(opening.open_data(tmp_path / "train").splits) == ["train"]
    assert list(opening.open_data(tmp_path).splits) == ["train"]


def test_wordnet_ids_give_imagenets_labels_and_names_even_for_some_of_the_classes(tmp_path):
    put(tmp_path, "train/n03888257/a.png", "val/n01440764/b.png", "val/n03888257/c.png")
    data = opening.open_data(tmp_path)
    assert data.name == tmp_path.name
    assert data.classes == imagenet_classes.names()
    assert data.splits["train"].labels_n.tolist() == [701]
    assert data.splits["validation"].labels_n.tolist() == [0, 701]


def test_all_thousand_classes_are_imagenet(tmp_path):
    for wnid in imagenet_classes.wnids():
        (tmp_path / wnid).mkdir()
        (tmp_path / wnid / "a.JPEG").touch()
    data = opening.open_data(tmp_path)
    assert data.name == "imagenet"
    assert data.splits["validation"].labels_n.tolist() == list(range(1000))


def test_an_id_that_is_not_of_the_thousand_makes_them_ordinary_names(tmp_path):
    put(tmp_path, "n01440764/a.png", "n00004475/b.png")
    assert opening.open_data(tmp_path).classes == ("n00004475", "n01440764")


def test_a_class_without_images_is_a_class_all_the_same(tmp_path):
    # Who makes the folders first and fills them later finds out by `resnets data check`.
    put(tmp_path, "train/cat/a.png", "train/dog/b.png", "val/dog/c.png")
    for name in ("train/bee", "val/bee", "val/cat"):
        (tmp_path / name).mkdir()
    data = opening.open_data(tmp_path)
    assert data.classes == ("bee", "cat", "dog")
    assert data.splits["train"].labels_n.tolist() == [1, 2]
    assert data.splits["validation"].labels_n.tolist() == [2]


def test_a_split_in_which_no_class_has_images_is_refused(tmp_path):
    put(tmp_path, "train/v/a.png")
    for name in "vwxyz":
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "train" / name).mkdir(exist_ok=True)
    message = refused(tmp_path)
    assert "val: no image in class folders v, w, x and 2 more" in message
    assert ".jpeg" in message


def test_splits_with_other_classes_are_refused(tmp_path):
    put(tmp_path, "train/cat/a.png", "val/cat/b.png", "val/dog/c.png")
    assert "dog only in validation" in refused(tmp_path)


def test_a_split_without_class_folders_is_refused(tmp_path):
    put(tmp_path, "train/cat/a.png", "val/b.png")
    assert "val: no class folders are here" in refused(tmp_path)


def test_a_folder_without_images_says_what_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    message = refused(tmp_path)
    assert "no data set is recognised" in message
    assert "labels.csv" in message
    assert "one folder of images a class" in message


@pytest.mark.parametrize("beside", [(), ("annotations/a.png",)])
def test_cocos_folders_of_images_are_no_classes(tmp_path, beside):
    put(tmp_path, "train2017/a.png", "val2017/b.png", *beside)
    told = refused(tmp_path)
    assert "train2017, val2017 are COCO's names of splits" in told
    assert "annotations/instances_*.json" in told
    put(tmp_path, "cat/c.png")
    assert "train2017" in opening.open_data(tmp_path).classes
