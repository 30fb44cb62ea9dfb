import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from resnets.core.errors import DataError
from resnets.data import imagenet, imagenet_classes, opening
from samples import archive

TRUTH = (490, 361, 171, 1000, 1)
LABELS = [65, 970, 230, 543, 278]
TRAIN = {"n01440764": 3, "n02119789": 1, "n15075141": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test may leave an index in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "resnets"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "imagenet"
    made.mkdir()
    return made


def content(name):
    """What stands in for an image: any bytes will do, of many lengths."""
    return f"image {name} ".encode() * (len(name) + sum(name.encode()) % 97)


def write_devkit(folder, truth=TRUTH, called=None):
    text = "".join(f"{number}\n" for number in truth).encode()
    members = {
        "ILSVRC2012_devkit_t12/readme.txt": b"about",
        "ILSVRC2012_devkit_t12/data/meta.mat": b"MATLAB 5.0",
        called or "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": text,
    }
    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(archive(members, "w:gz"))


def image_names(numbers=range(1, 6)):
    return [f"ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]


def write_validation(folder, names=None, called=imagenet.VALIDATION_TAR):
    names = image_names() if names is None else names
    (folder / called).write_bytes(archive({name: content(name) for name in names}))
    return folder / called


def train_names(counts=TRAIN):
    return [f"{wnid}/{wnid}_{i}.JPEG" for wnid, n in counts.items() for i in range(n)]


def write_train(folder, counts=TRAIN):
    inner = {
        f"{wnid}.tar": archive(
            {name.partition("/")[2]: content(name) for name in train_names({wnid: n})}
        )
        for wnid, n in counts.items()
    }
    (folder / imagenet.TRAIN_TAR).write_bytes(archive(inner))
    return folder / imagenet.TRAIN_TAR


def refused(where):
    with pytest.raises(DataError) as caught:
        opening.open_data(where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def holds(split, names):
    return split.names == tuple(names) and all(
        split.read(i) == content(name) for i, name in enumerate(names)
    )


def test_the_published_archives_are_read_where_they_lie(folder):
    write_devkit(folder)
    write_validation(folder)
    write_train(folder)
    before = sorted(folder.iterdir())
    data = opening.open_data(folder)
    assert (data.name, data.where) == ("imagenet", str(folder))
    assert data.classes == imagenet_classes.names()
    assert set(data.splits) == {"train", "validation"}
    assert holds(data.splits["validation"], image_names())
    assert data.splits["validation"].labels_n.tolist() == LABELS
    assert holds(data.splits["train"], train_names())
    assert data.splits["train"].labels_n.tolist() == [0, 0, 0, 278, 999, 999]
    assert data.splits["train"].labels_n.dtype is torch.int64
    assert sorted(folder.iterdir()) == before


def test_a_label_goes_with_its_images_number_whatever_the_order_in_the_tar(folder):
    write_devkit(folder)
    write_validation(folder, [f"./{name}" for name in reversed(image_names())])
    split = opening.open_data(folder).splits["validation"]
    assert split.names == tuple(image_names())
    assert split.labels_n.tolist() == LABELS
    assert split.read(0) == content("./" + image_names()[0])


def test_only_the_train_tar_gives_a_train_split(folder):
    write_train(folder)
    assert list(opening.open_data(folder).splits) == ["train"]


def test_the_path_of_a_tar_opens_that_tar_whatever_its_name(folder):
    write_devkit(folder)
    named = write_validation(folder, called="val.tar")
    assert holds(opening.open_data(named).splits["validation"], image_names())
    assert opening.open_data(named).where == str(named)
    train = write_train(folder)
    assert list(opening.open_data(train).splits) == ["train"]
    (folder / "other.tar").write_bytes(archive({"cat.jpg": b"x"}))
    assert "cat.jpg has no class" in refused(folder / "other.tar")
    (folder / "not.tar").write_bytes(b"cat" * 1000)
    assert "not a whole tar" in refused(folder / "not.tar")


def test_the_devkit_may_be_unpacked_or_in_the_folder_above(folder):
    (folder / "tars").mkdir()
    write_validation(folder / "tars")
    write_devkit(folder)
    assert opening.open_data(folder / "tars").splits["validation"].labels_n.tolist() == LABELS
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    (folder / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    assert opening.open_data(folder / "tars").splits["validation"].labels_n.tolist() == LABELS


def test_validation_images_unpacked_flat_get_the_devkits_labels(folder):
    write_devkit(folder)
    (folder / "val").mkdir()
    names = image_names([2, 5])
    for name in names:
        (folder / "val" / name).write_bytes(content(name))
    data = opening.open_data(folder / "val")
    assert holds(data.splits["validation"], names)
    assert data.splits["validation"].labels_n.tolist() == [LABELS[1], LABELS[4]]
    (folder / "val" / image_names([6])[0]).touch()
    assert "numbered 2 to 6, but the devkit has 5 labels" in refused(folder / "val")


def test_without_the_devkit_the_message_names_it(folder):
    write_validation(folder)
    assert "ILSVRC2012_devkit_t12.tar.gz is missing" in refused(folder)


@pytest.mark.parametrize("truth", [TRUTH[:4], (*TRUTH, 7), ()])
def test_a_devkit_with_another_number_of_labels_is_refused(folder, truth):
    write_validation(folder)
    write_devkit(folder, truth)
    assert f"5 images, but the devkit has {len(truth)} labels" in refused(folder)


@pytest.mark.parametrize("number", [0, 1001, -1, "cat"])
def test_a_label_that_is_no_class_is_refused(folder, number):
    write_validation(folder)
    write_devkit(folder, (*TRUTH[:4], number))
    assert "not numbers from 1 to 1000" in refused(folder)


def test_a_damaged_devkit_is_refused(folder):
    write_validation(folder)
    write_devkit(folder, called="ILSVRC2012_devkit_t12/data/other.txt")
    assert "has no ILSVRC2012_devkit_t12/data" in refused(folder)
    devkit = folder / "ILSVRC2012_devkit_t12.tar.gz"
    write_devkit(folder)
    devkit.write_bytes(devkit.read_bytes()[:90])
    assert "devkit_t12.tar.gz: damaged or cut off" in refused(folder)
    devkit.write_bytes(b"no tar")
    assert "devkit_t12.tar.gz: damaged or cut off" in refused(folder)


def test_a_number_that_is_missing_or_doubled_is_refused(folder):
    write_devkit(folder)
    write_validation(folder, image_names([1, 2, 3, 4, 6]))
    assert "5 images, but the devkit has 5 labels" in refused(folder)


def test_something_else_in_the_validation_tar_is_refused(folder):
    write_devkit(folder)
    write_validation(folder, [*image_names(), "cat.JPEG"])
    assert "cat.JPEG in it is no validation image" in refused(folder)


@pytest.mark.parametrize("wnid", ["n00004475", "cats"])
def test_something_else_in_the_train_tar_is_refused(folder, wnid):
    write_train(folder, {"n01440764": 1, wnid: 1})
    assert f"{wnid}.tar in it is no class of ImageNet" in refused(folder)


def cuts(whole):
    """Every boundary of blocks up to the end of the last file, and some places between."""
    end = len(whole.rstrip(b"\0"))
    return [*range(512, end, 512), 1, 700, end - 1]


def test_a_validation_tar_cut_off_anywhere_is_refused(folder):
    write_devkit(folder)
    tar = write_validation(folder)
    whole = tar.read_bytes()
    for at in cuts(whole):
        tar.write_bytes(whole[:at])
        assert imagenet.VALIDATION_TAR in refused(folder)


def test_a_train_tar_cut_off_anywhere_is_refused(folder, cache):
    tar = write_train(folder)
    whole = tar.read_bytes()
    for at in cuts(whole):
        tar.write_bytes(whole[:at])
        assert "not a whole tar" in refused(folder)
    assert not cache.exists()


def test_the_index_of_the_train_tar_is_kept_until_the_tar_changes(folder, cache, monkeypatch):
    write_train(folder)
    first = opening.open_data(folder)
    (kept,) = cache.iterdir()

    def scan(*_):
        raise AssertionError("scanned again")

    with monkeypatch.context() as patch:
        patch.setattr(imagenet, "_scan_train", scan)
        again = opening.open_data(folder)
        assert again.digest == first.digest
        assert holds(again.splits["train"], train_names())
    kept.write_bytes(kept.read_bytes()[:-9])
    assert opening.open_data(folder).digest == first.digest
    size = (folder / imagenet.TRAIN_TAR).stat().st_size
    other = {"n01440764": 2, "n02119789": 1, "n15075141": 3}
    os.utime(write_train(folder, other), (1e9, 1e9))
    assert (folder / imagenet.TRAIN_TAR).stat().st_size == size
    assert holds(opening.open_data(folder).splits["train"], train_names(other))


def test_an_inner_tar_without_its_closing_zeros_ends_where_the_outer_one_says(folder):
    first, second = train_names({"n01440764": 1, "n02119789": 1})
    whole = archive({Path(first).name: content(first)})
    inner = {
        "n01440764.tar": whole[: -(-len(whole.rstrip(b"\0")) // 512) * 512],
        "n02119789.tar": archive({Path(second).name: content(second)}),
    }
    (folder / imagenet.TRAIN_TAR).write_bytes(archive(inner))
    split = opening.open_data(folder).splits["train"]
    assert split.names == (first, second)
    assert (split.read(0), split.read(1)) == (content(first), content(second))


def test_where_the_cache_cannot_be_written_the_tar_is_read_all_the_same(folder, cache):
    cache.parent.write_text("a file in the place of the folder")
    write_train(folder)
    assert holds(opening.open_data(folder).splits["train"], train_names())


def test_class_folders_and_the_train_tar_are_the_same_data(folder, tmp_path):
    write_train(folder)
    for name in train_names():
        file = tmp_path / "unpacked" / "train" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(name))
    assert opening.open_data(tmp_path / "unpacked").digest == opening.open_data(folder).digest


def test_images_are_read_by_many_threads_at_once(folder):
    names = image_names(range(1, 201))
    write_devkit(folder, (7,) * 200)
    write_validation(folder, names)
    split = opening.open_data(folder).splits["validation"]
    together = threading.Barrier(8)

    def read(first):
        together.wait()
        return all(split.read(i) == content(names[i]) for i in range(first, 200, 3))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_a_tar_that_shrinks_while_it_is_open_is_noticed(folder):
    write_devkit(folder)
    tar = write_validation(folder)
    split = opening.open_data(folder).splits["validation"]
    with tar.open("r+b") as file:
        file.truncate(600)
    with pytest.raises(DataError, match="has changed since it was opened"):
        split.read(4)
