import json
import os
import pickle
import resource
from pathlib import Path

import pytest

from resnets.core.errors import DataError
from resnets.data import imagenet_classes, labels, opening, shards
from samples import archive, shard


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test may leave an index in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "resnets"


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    return made


def rows(first, last, of=3):
    return [(f"{i:03d}.jpg", f"image {i}".encode() * i, i % of) for i in range(first, last)]


def refused(where):
    with pytest.raises(DataError) as caught:
        opening.open_data(where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def one(folder, **members):
    """A tar with one sound sample and these members, `_` standing for the dot in their names."""
    named = {name.replace("_", ".", 1): content for name, content in members.items()}
    (folder / "a.tar").write_bytes(archive({"x.jpg": b"x", "x.cls": b"1", **named}))
    return folder


def test_shards_are_read_where_they_lie(folder):
    (folder / "photos-train-000000.tar").write_bytes(shard(rows(0, 5)))
    (folder / "photos-train-000001.tar").write_bytes(shard(rows(5, 9)))
    (folder / "photos-val-000000.tar").write_bytes(shard(rows(9, 12)))
    before = sorted(folder.iterdir())
    data = opening.open_data(folder)
    assert (data.name, data.where, data.classes) == ("photos", str(folder), None)
    assert list(data.splits) == ["train", "validation"]
    train, validation = data.splits.values()
    assert train.names[:1] + train.names[-1:] == (
        "photos-train-000000.tar/000.jpg",
        "photos-train-000001.tar/008.jpg",
    )
    assert train.labels_n.tolist() == [i % 3 for i in range(9)]
    assert [train.read(i) for i in range(9)] == [content for _, content, _ in rows(0, 9)]
    assert [validation.read(i) for i in range(3)] == [content for _, content, _ in rows(9, 12)]
    assert len({*train.names, *validation.names}) == 12
    assert sorted(folder.iterdir()) == before


def test_folders_for_splits_and_a_list_of_classes_are_taken(folder):
    for split, part in (("train", rows(0, 4)), ("test", rows(4, 6))):
        (folder / split).mkdir()
        (folder / split / "000000.tar").write_bytes(shard(part))
    (folder / "classes.txt").write_text("cat\ndog\nold  horse\n\n", newline="\r\n")
    data = opening.open_data(folder)
    assert data.classes == ("cat", "dog", "old  horse")
    assert data.splits["validation"].names == ("test/000000.tar/004.jpg", "test/000000.tar/005.jpg")
    assert opening.open_data(folder / "train").splits.keys() == {"train"}


def test_one_shard_is_a_split_by_itself(folder):
    for name, split in (("a.tar", "validation"), ("a-train-0.tar", "train")):
        (folder / name).write_bytes(shard(rows(0, 4)))
        data = opening.open_data(folder / name)
        assert (data.name, data.where) == (name[:-4], str(folder / name))
        assert {name: len(files) for name, files in data.splits.items()} == {split: 4}


def test_a_key_ends_at_the_first_dot_and_folders_belong_to_it(folder):
    members = {
        "./a/b.c.jpg": b"1",
        "a/b.cls": b"4\n",
        "b/b.seg.png": b"mask",
        "b/b.JPEG": b"2",
        "b/b.cls": b" 0 ",
        "b/b.json": b"not read",
        "b/.hidden.jpg": b"",
        "b/__meta__.x__": b"",
        "README": b"",
        "notes.txt": b"no sample",
        "p.v1.webp": b"3",
        "p.v1.cls": b"999999",
    }
    (folder / "a.tar").write_bytes(archive(members))
    split = opening.open_data(folder).splits["validation"]
    assert split.names == ("a.tar/a/b.c.jpg", "a.tar/b/b.JPEG", "a.tar/p.v1.webp")
    assert split.labels_n.tolist() == [4, 0, 999_999]
    assert [split.read(i) for i in range(3)] == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    ("said", "found", "classes"),
    [
        ([{"label": 2}, {"label": 0}], [2, 0], None),
        ([{"class": 2, "other": 7}, {"label": 1, "class": 9}], [2, 1], None),
        ([{"label": "dog"}, {"class": " cat "}], [1, 0], ("cat", "dog")),
        ([{"label": "n02119789"}, {"label": "n01440764"}], [278, 0], imagenet_classes.names()),
        ([{"label": "\ud800"}, {"label": "b"}], [0, 1], ("?", "b")),
    ],
)
def test_without_cls_the_label_is_that_of_the_json(folder, said, found, classes):
    made = [(f"{i}.png", b"x", about) for i, about in enumerate(said)]
    (folder / "a.tar").write_bytes(shard(made, label="json"))
    data = opening.open_data(folder)
    assert data.splits["validation"].labels_n.tolist() == found
    assert data.classes == classes


def test_names_of_classes_are_looked_up_in_the_list(folder):
    made = [("0.png", b"x", {"label": "dog"}), ("1.png", b"x", {"label": "ant"})]
    (folder / "a.tar").write_bytes(shard(made, label="json"))
    (folder / "classes.txt").write_text("dog\nbee\nant")
    data = opening.open_data(folder)
    assert data.classes == ("dog", "bee", "ant")
    assert data.splits["validation"].labels_n.tolist() == [0, 2]
    (folder / "classes.txt").write_text("dog\nbee")
    assert "'ant' is none of the 2 classes listed" in refused(folder)


def test_a_list_of_imagenets_classes_in_other_words_gives_imagenets_names(folder):
    (folder / "a.tar").write_bytes(shard(rows(0, 4)))
    lines = [f"{name.split(' (')[0].upper()}, and more" for name in imagenet_classes.names()]
    (folder / "classes.txt").write_text("\n".join(lines))
    assert opening.open_data(folder).classes == imagenet_classes.names()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"cat\n\ndog\nant", "empty name"),
        (b"cat\ncat\nant", "'cat' 2 times"),
        (b"cat\ndog", "a class index of 2, but a list of 2 classes"),
        (b"\xff\xfe", "not a text"),
    ],
)
def test_a_list_of_classes_that_cannot_be_theirs_is_refused(folder, content, says):
    (folder / "a.tar").write_bytes(shard(rows(0, 4)))
    (folder / "classes.txt").write_bytes(content)
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"y_jpg": b""}, "y.jpg has no class: no y.cls, and no label in a y.json; put one beside"),
        ({"y_jpg": b"", "y_json": b"{}"}, "y.jpg has no class"),
        ({"y_jpg": b"", "y_json": b"[1]"}, "y.jpg has no class"),
        ({"y_jpg": b"", "y_json": b"{"}, "y.json is not JSON"),
        ({"y_jpg": b"", "y_json": b"[" * 100_000}, "y.json is not JSON"),
        (
            {"y_jpg": b"", "y_json": b" " * (1 << 20) + b"{}"},
            "y.json is no label: it has 1,048,578",
        ),
        ({"y_jpg": b"", "y_json": b'{"label": true}'}, "y.json: a class index must be a whole"),
        ({"y_jpg": b"", "y_json": b'{"label": 1.5}'}, "got '1.5'"),
        ({"y_jpg": b"", "y_json": b'{"label": [3]}'}, "got '[3]'"),
        ({"y_jpg": b"", "y_json": b'{"label": " "}'}, "y.json: a class index"),
        ({"y_jpg": b"", "y_json": b'{"label": "cat"}'}, "both class indices (1) and names"),
        ({"y_jpg": b"", "y_cls": b"-1"}, "y.cls: a class index must be a whole number from 0 to "),
        ({"y_jpg": b"", "y_cls": b"1000000"}, "to 999,999, got"),
        ({"y_jpg": b"", "y_cls": b"cat"}, "y.cls: a class index"),
        ({"y_jpg": b"", "y_cls": b""}, "y.cls: a class index"),
        ({"y_jpg": b"", "y_cls": "\u0663".encode()}, "y.cls: a class index"),
        ({"y_cls": b"1"}, "y has a class and no image"),
        ({"y_txt": b"", "y_json": b'{"label": 1}'}, "y has a class and no image"),
        ({"y_jpg": b"", "y_png": b"", "y_cls": b"1"}, "y has jpg and png; a key, which ends at"),
        ({"y_1.jpg": b"", "y_2.jpg": b"", "y_cls": b"1"}, "y has 1.jpg and 2.jpg"),
        ({"y_jpg": b"", "y_1.cls": b"1", "y_2.cls": b"1"}, "y has 1.cls and 2.cls"),
        ({"./x_jpg": b""}, "x.jpg is in it twice"),
    ],
)
def test_a_sample_that_is_not_one_image_with_one_class_is_refused(folder, members, says):
    message = refused(one(folder, **members))
    assert says in message
    assert "a.tar" in message or "both class indices" in says


def test_a_name_of_any_bytes_stands_in_one_line(folder):
    (folder / "a.tar").write_bytes(
        archive({"a\nb.jpg": b"1", "a\nb.cls": b"1", "c\u3000é.jpg": b""})
    )
    assert r"c\u3000\xe9.jpg has no class" in refused(folder)
    latin = archive({"AAAA.jpg": b"1", "AAAA.cls": b"1"}).replace(b"AAAA", b"A\xe9A\xe9")
    sums = [sum(latin[at : at + 512]) - sum(latin[at + 148 : at + 156]) + 256 for at in (0, 1024)]
    for at, total in zip((0, 1024), sums, strict=True):
        latin = latin[: at + 148] + b"%06o\0 " % total + latin[at + 156 :]
    (folder / "a.tar").write_bytes(latin)
    data = opening.open_data(folder)
    assert data.splits["validation"].names == (r"a.tar/A\udce9A\udce9.jpg",)
    assert len(data.digest) == 64


def test_a_split_without_samples_is_refused(folder):
    (folder / "train-0.tar").write_bytes(shard(rows(0, 2)))
    (folder / "val-0.tar").write_bytes(archive({"notes.txt": b""}))
    assert "no image with its class in the validation tars; a shard has KEY.jpg" in refused(folder)


def test_a_shard_cut_off_anywhere_is_refused(folder):
    whole = shard(rows(1, 4))
    end = len(whole.rstrip(b"\0"))
    for at in (*range(0, end, 512), 1, 700, end - 1):
        (folder / "a.tar").write_bytes(whole[:at])
        assert "a.tar: not a whole tar" in refused(folder)


@pytest.mark.parametrize(("mode", "name"), [("w:gz", "a.tar.gz"), ("w:xz", "a.tar.xz")])
def test_a_compressed_tar_is_refused_with_what_to_do(folder, mode, name):
    members = {"x.jpg": b"x", "x.cls": b"1"}
    (folder / name).write_bytes(archive(members, mode))
    for where in (folder, folder / name):
        assert f"{name}: a compressed tar" in refused(where)
        assert "decompress it to a plain .tar first" in refused(where)
    (folder / name).rename(folder / "a.tar")
    assert "a.tar: a compressed tar" in refused(folder)


def test_a_shard_that_changes_while_it_is_open_is_noticed(folder):
    tar = folder / "a.tar"
    tar.write_bytes(shard(rows(0, 4)))
    split = opening.open_data(folder).splits["validation"]
    tar.write_bytes(shard(rows(1, 5)))
    os.utime(tar, (1e9, 1e9))
    with pytest.raises(DataError, match=r"a\.tar: has changed since it was opened"):
        split.read(2)
    tar.unlink()
    with pytest.raises(DataError, match=r"a\.tar: cannot be read \(No such file"):
        split.read(2)


def test_more_shards_than_a_process_may_open_are_read_also_in_another_process(folder):
    for i in range(60):
        (folder / f"{i:02d}.tar").write_bytes(shard(rows(i, i + 1)))
    open_now = len(list(Path("/proc/self/fd").iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 20, hard))
    try:
        split = opening.open_data(folder).splits["validation"]
        again = pickle.loads(pickle.dumps(split))
        contents = [content for _, content, _ in rows(0, 60)]
        assert [split.read(i) for i in range(60)] == contents
        assert [again.read(i) for i in range(60)] == contents
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_index_of_many_samples_is_kept_until_a_shard_changes(folder, cache, monkeypatch):
    tar = folder / "a.tar"
    made = [(f"{i}.png", b"x" * i, {"label": "dog" if i % 2 else "cat"}) for i in range(6)]
    tar.write_bytes(shard(made, label="json"))
    first = opening.open_data(folder)
    assert not cache.exists()
    monkeypatch.setattr(shards, "_KEPT_FROM", 6)
    opening.open_data(folder)
    (kept,) = cache.iterdir()

    def scan(*_):
        raise AssertionError("scanned again")

    with monkeypatch.context() as patch:
        patch.setattr(shards, "_scan", scan)
        again = opening.open_data(folder)
        assert (again.digest, again.classes) == (first.digest, ("cat", "dog"))
        assert [again.splits["validation"].read(i) for i in range(6)] == [c for _, c, _ in made]
    kept.write_bytes(kept.read_bytes()[:-9])
    assert opening.open_data(folder).digest == first.digest
    size = tar.stat().st_size
    tar.write_bytes(shard(made[::-1], label="json"))
    os.utime(tar, (1e9, 1e9))
    assert tar.stat().st_size == size
    assert opening.open_data(folder).splits["validation"].read(0) == b"xxxxx"


def test_indices_may_have_gaps_and_json_numbers_are_exact(folder):
    made = [("0.png", b"", {"label": 0}), ("1.png", b"", {"label": labels.HIGHEST})]
    assert json.dumps(labels.HIGHEST) == "999999"
    (folder / "a.tar").write_bytes(shard(made, label="json"))
    data = opening.open_data(folder)
    assert data.splits["validation"].labels_n.tolist() == [0, 999_999]
