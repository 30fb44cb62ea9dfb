import importlib.util
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resnets.core.errors import DataError
from resnets.data import imagenet_classes, opening, parquet
from samples import table, write_table

CLASSES = ["cat", "dog", "ant"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "photos"
    made.mkdir()
    return made


def rows(first, last):
    return [(f"{i:03d}.jpg", f"image {i}".encode() * i, i % 3) for i in range(first, last)]


def refused(where):
    with pytest.raises(DataError) as caught:
        opening.open_data(where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def holds(split, made):
    return [split.read(i) for i in range(len(split))] == [content for _, content, _ in made]


def test_the_layout_of_hugging_face_is_read(folder):
    parts = {
        "train-00000-of-00002": rows(0, 25),
        "train-00001-of-00002": rows(25, 40),
        "validation-00000-of-00001": rows(40, 47),
        "test-00000-of-00001": [(name, content, -1) for name, content, _ in rows(47, 50)],
    }
    for name, part in parts.items():
        write_table(folder / "data" / f"{name}.parquet", table(part, CLASSES), group_rows=10)
    (folder / "README.md").write_text("about")
    data = opening.open_data(folder)
    assert (data.name, data.where) == ("photos", str(folder))
    assert data.classes == ("cat", "dog", "ant")
    assert list(data.splits) == ["train", "validation"]
    train, validation = data.splits.values()
    assert train.names[24:26] == (
        "data/train-00000-of-00002.parquet/024.jpg",
        "data/train-00001-of-00002.parquet/025.jpg",
    )
    assert train.labels_n.tolist() == [i % 3 for i in range(40)]
    assert holds(train, rows(0, 40))
    assert holds(validation, rows(40, 47))


def test_a_file_by_itself_is_one_split(folder):
    for name, split in (("photos.parquet", "validation"), ("train.parquet", "train")):
        data = opening.open_data(write_table(folder / name, table(rows(0, 4))))
        assert (data.name, list(data.splits), data.classes) == (name[:-8], [split], None)


def test_a_table_that_others_wrote_is_known_by_its_types(folder):
    contents = [content for _, content, _ in rows(1, 5)]
    made = pa.table(
        {
            "when": [1, 2, 3, 4],
            "jpeg": pa.array(contents, pa.large_binary()),
            "class": pa.array(["dog", "cat", "dog", " ant "]).dictionary_encode(),
        }
    )
    data = opening.open_data(write_table(folder / "a.parquet", made))
    assert data.classes == ("ant", "cat", "dog")
    split = data.splits["validation"]
    assert split.names == tuple(f"a.parquet/{i}" for i in range(4))
    assert split.labels_n.tolist() == [2, 1, 2, 0]
    assert holds(split, rows(1, 5))


def test_wordnet_ids_and_imagenets_list_give_imagenets_names(folder):
    made = table([("a.jpg", b"1", "n02119789"), ("b.jpg", b"2", "n01440764")])
    data = opening.open_data(write_table(folder / "a.parquet", made))
    assert data.classes == imagenet_classes.names()
    assert data.splits["validation"].labels_n.tolist() == [278, 0]
    listed = [f"{name}, {i}" for i, name in enumerate(imagenet_classes.names())]
    write_table(folder / "a.parquet", table(rows(0, 3), listed))
    assert opening.open_data(folder).classes == imagenet_classes.names()


@pytest.mark.parametrize("second", ["000.jpg", "a\nb.jpg", "", None])
def test_images_without_a_name_of_their_own_are_called_by_their_rows(folder, second):
    made = table([("000.jpg", b"1", 0), (second, b"2", 1)])
    data = opening.open_data(write_table(folder / "a.parquet", made))
    assert data.splits["validation"].names == ("a.parquet/0", "a.parquet/1")


def test_of_several_columns_those_that_are_told_or_called_so_are_taken(folder):
    made = table(rows(1, 4), CLASSES)
    made = made.append_column("mask", pa.array([b"a", b"b", b"c"]))
    made = made.append_column("class", pa.array(["x", "y", "z"]))
    data = opening.open_data(write_table(folder / "a.parquet", made))
    assert data.classes == ("cat", "dog", "ant")
    assert holds(data.splits["validation"], rows(1, 4))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": [b"a"]}, "no column of labels (label, class, class_index) among image"),
        ({"label": [1]}, "no column of encoded images (bytes) among label; write it with one"),
        ({"image": ["a.jpg"], "label": [1]}, "no column of encoded images"),
        ({"a": [b"a"], "b": [b"b"], "label": [1]}, "several columns of encoded images (bytes) amo"),
        ({"image": [b"a"], "label": [-1]}, "row 0 has no label; leave such"),
        ({"image": [b"a", b"b"], "label": [1, None]}, "row 1 has no label"),
        ({"image": [b"a"], "label": [""]}, "row 0 has no label"),
        (
            {"image": [b"a"], "label": [-2]},
            "row 0: a label must be a class index from 0 to 999,999",
        ),
        ({"image": [b"a"], "label": [1_000_000]}, "got '1000000'"),
        ({"image": [b"a"], "label": [1.0]}, "got '1.0'"),
        ({"image": [b"a"], "label": [True]}, "got 'True'"),
        ({"image": [b"a"], "label": [[1, 2]]}, "got '[1, 2]'"),
        ({"image": [b"a"], "label": [{"a": 1}]}, "a label must be"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "no rows in the"),
    ],
)
def test_a_table_without_one_image_and_one_label_a_row_is_refused(folder, columns, says):
    write_table(folder / "a.parquet", pa.table(columns))
    message = refused(folder)
    assert says in message
    assert "photos" in message


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["cat", "dog"], "a class index of 2, but a list of 2 classes"),
        (["cat", "cat", "dog"], "'cat' 2 times"),
        (["cat", "", "dog"], "empty name"),
        ([1, 2, 3], "other things than names"),
        ({"0": "cat"}, "other things than names"),
    ],
)
def test_a_list_of_classes_that_cannot_be_theirs_is_refused(folder, names, says):
    write_table(folder / "a.parquet", table(rows(0, 3), names))
    assert says in refused(folder)


@pytest.mark.parametrize("about", [b"{}", b"[]", b'{"info": {"features": [1]}}', b'{"info": null}'])
def test_what_datasets_did_not_write_is_left_aside(folder, about):
    made = table(rows(0, 3)).replace_schema_metadata({b"huggingface": about})
    assert opening.open_data(write_table(folder / "a.parquet", made)).classes is None


def test_files_with_other_classes_are_refused(folder):
    write_table(folder / "train.parquet", table(rows(0, 3), CLASSES))
    write_table(folder / "val.parquet", table(rows(0, 3), CLASSES[::-1]))
    assert "val.parquet: has other names of classes than train.parquet" in refused(folder)
    write_table(folder / "val.parquet", table([("a.jpg", b"1", "cat")]))
    assert "has other names of classes" in refused(folder)


def test_an_image_that_is_only_a_path_is_named_when_it_is_read(folder):
    made = table([("a.jpg", b"1", 0), ("b.jpg", None, 1)])
    split = opening.open_data(write_table(folder / "a.parquet", made)).splits["validation"]
    assert split.read(0) == b"1"
    with pytest.raises(DataError, match=r"a\.parquet: row 1 holds no image; `datasets` can embed"):
        split.read(1)


def test_a_row_group_too_large_for_memory_is_refused_with_what_to_do(folder, monkeypatch):
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 1000)
    write_table(folder / "a.parquet", table([(f"{i}", bytes([i]) * 30, 0) for i in range(30)]), 10)
    opening.open_data(folder)
    write_table(folder / "a.parquet", table([(f"{i}", bytes([i]) * 30, 0) for i in range(40)]), 40)
    assert (
        "a.parquet: has a row group of 0.0 GB, which has to be read as a whole; write"
        in refused(folder)
    )


def test_without_pyarrow_the_message_says_what_to_install(folder, monkeypatch):
    write_table(folder / "a.parquet", table(rows(0, 3)))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "pyarrow" else find(n))
    assert 'needs pyarrow: pip install "resnets[parquet]"' in refused(folder)


def test_a_file_that_changes_while_it_is_open_is_noticed(folder):
    file = write_table(folder / "a.parquet", table(rows(0, 20)), 5)
    split = opening.open_data(folder).splits["validation"]
    assert split.read(0) == b""
    write_table(file, table(rows(1, 21)), 5)
    os.utime(file, (1e9, 1e9))
    with pytest.raises(DataError, match=r"a\.parquet: has changed since it was opened"):
        split.read(7)
    file.unlink()
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read \(No such file"):
        split.read(7)


class Watched:
    """Counts the row groups that are read, and how many of them are held."""

    def __init__(self, monkeypatch, kept_bytes):
        self.groups = []
        column = parquet._column
        monkeypatch.setattr(parquet, "_KEPT_BYTES", kept_bytes)

        def read(file, group):
            self.groups.append(group)
            return column(file, group)

        monkeypatch.setattr(parquet, "_column", read)


def opened(folder, count=40, group_rows=10):
    made = [(f"{i}.jpg", i.to_bytes(2, "big") * 500, 0) for i in range(count)]
    write_table(folder / "a.parquet", table(made), group_rows)
    split = opening.open_data(folder).splits["validation"]
    images = split.read.args[0]
    assert isinstance(images, parquet._Images)
    return split, images, [content for _, content, _ in made]


def test_in_their_order_each_row_group_is_read_once_and_memory_is_bounded(folder, monkeypatch):
    watched = Watched(monkeypatch, kept_bytes=21_000)
    split, images, contents = opened(folder)
    for i, content in enumerate(contents):
        assert split.read(i) == content
        assert sum(images.bytes_of.values()) <= 21_000
        assert len(images.reading) == len(images.bytes_of) <= 2
    assert watched.groups == [0, 1, 2, 3]
    assert split.read(0) == contents[0]  # not kept any more
    assert split.read(35) == contents[35]
    assert watched.groups == [0, 1, 2, 3, 0]


def test_a_set_that_fits_is_read_once_whatever_the_order(folder, monkeypatch):
    watched = Watched(monkeypatch, kept_bytes=1 << 20)
    split, _, contents = opened(folder)
    for i in (39, 0, 20, 10, 30, 5, 25, 15, 38):
        assert split.read(i) == contents[i]
    assert sorted(watched.groups) == [0, 1, 2, 3]


def test_threads_read_each_row_group_once_and_get_the_right_images(folder, monkeypatch):
    watched = Watched(monkeypatch, kept_bytes=1 << 20)
    split, _, contents = opened(folder)
    together = threading.Barrier(8)

    def read(first):
        together.wait()
        return all(split.read(i % 40) == contents[i % 40] for i in range(first, first + 40))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))
    assert sorted(watched.groups) == [0, 1, 2, 3]


def test_threads_that_wait_for_a_row_group_that_fails_all_learn_why(folder):
    split, _, _ = opened(folder)
    (folder / "a.parquet").unlink()

    def read(index):
        with pytest.raises(DataError, match="cannot be read"):
            split.read(index)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, [3, 3, 3, 3, 13]))


def _read_in(process, split, index):
    process.put(split.read(index))


def test_the_images_can_be_sent_to_another_process(folder):
    split, _, contents = opened(folder)
    assert split.read(0) == contents[0]
    sent = pickle.loads(pickle.dumps(split))
    assert [sent.read(i) for i in (3, 39)] == [contents[3], contents[39]]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_lock_that_was_held(folder):
    split, images, contents = opened(folder)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with images.lock:  # as another thread may when a process forks
        worker = context.Process(target=_read_in, args=(queue, split, 17))
        worker.start()
        assert queue.get() == contents[17]
    worker.join()


def test_nothing_is_written_beside_the_files(folder):
    write_table(folder / "a.parquet", table(rows(0, 3)))
    opening.open_data(folder).splits["validation"].read(0)
    assert [path.name for path in folder.iterdir()] == ["a.parquet"]
    assert pq.ParquetFile(folder / "a.parquet").metadata.num_rows == 3
