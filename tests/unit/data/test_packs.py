"""Reading packs: from any thread and process, and nothing damaged passes for an image."""

import gc
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import samples
from resnets.core import artifacts
from resnets.core.errors import DataError
from resnets.data import opening, packing, packs


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    at = tmp_path_factory.mktemp("data") / "photos"
    for split, name, i in (("train", "cat", 0), ("train", "dog", 1), ("val", "cat", 2)):
        path = at / split / name / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(samples.jpeg(i))
    (at / "val" / "dog").mkdir()
    (at / "val" / "dog" / "3.jpg").write_bytes(samples.jpeg(3))
    return at


@pytest.fixture
def pack(photos, tmp_path, monkeypatch):
    """Four images in two shards."""
    monkeypatch.setattr(packing, "_SHARD_BYTES", 5_000)
    index = packing.pack(opening.open_data(photos), tmp_path / "pack")
    assert len(index.shards_bytes) == 2
    return tmp_path / "pack"


def refused(folder):
    with pytest.raises(DataError) as caught:
        opening.open_data(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def everything(data):
    return [files.read(i) for files in data.splits.values() for i in range(len(files))]


def test_an_image_with_a_flipped_bit_is_named_with_its_shard_and_the_others_are_read(pack):
    change(pack / packs.shard_name(0), 700)
    data = opening.open_data(pack)
    with pytest.raises(DataError, match=r"shard-00000\.bin: cat/0\.jpg in it .* is damaged"):
        data.splits["train"].read(0)
    assert data.splits["train"].image(1).size == (90, 70)


def test_a_check_reads_every_image_and_names_the_damaged(pack):
    change(pack / packs.shard_name(1), -1)
    found = opening.open_data(pack).check()
    assert (found.images("train"), found.images("validation")) == (2, 2)
    assert found.unreadable_images == 1
    (case,) = found.cases("cannot-be-read")
    assert [place.name for place in case.images] == ["dog/3.jpg"]
    assert "shard-00001.bin: dog/3.jpg in it" in case.why


@pytest.mark.parametrize("by", [-1, 1])
def test_a_shard_that_is_not_as_long_as_it_was_is_refused_when_the_pack_is_opened(pack, by):
    shard = pack / packs.shard_name(1)
    os.truncate(shard, shard.stat().st_size + by)
    assert "shard-00001.bin: has " in refused(pack)


def test_a_missing_shard_is_refused_when_the_pack_is_opened(pack, photos):
    (pack / packs.shard_name(0)).unlink()
    assert "shard-00000.bin: this shard of the pack is missing; copy the pack again" in refused(
        pack
    )
    with pytest.raises(DataError, match="missing"):
        packing.pack(opening.open_data(photos), pack)


def test_a_shard_that_becomes_shorter_while_it_is_open_is_an_error_and_no_crash(pack):
    data = opening.open_data(pack)
    os.truncate(pack / packs.shard_name(1), 10)
    with pytest.raises(DataError, match=r"dog/3\.jpg in it .* is damaged"):
        data.splits["validation"].read(1)


@pytest.mark.parametrize("at", [0, 9, 300, -1])
def test_a_damaged_index_is_refused(pack, at):
    change(pack / packs.INDEX, at)
    assert "pack.safetensors: this index of a pack is damaged" in refused(pack)


def test_an_index_cut_short_is_refused(pack):
    os.truncate(pack / packs.INDEX, 400)
    assert "damaged or cut short; copy the pack again, or pack into a new folder" in refused(pack)


def test_another_file_in_the_place_of_the_index_is_refused(pack):
    artifacts.save_tensors(pack / packs.INDEX, {"a": torch.zeros(1)}, {"kind": "mean"})
    assert "not the index of a pack" in refused(pack)


def rewritten(pack, **changes):
    """Write the index with something else in it, and a checksum that is right."""
    tensors, about = artifacts.load_tensors(pack / packs.INDEX)
    for name, value in changes.items():
        (tensors if isinstance(value, torch.Tensor) else about)[name] = value
    artifacts.save_tensors(pack / packs.INDEX, tensors, about)


def test_a_newer_pack_is_refused_saying_so(pack):
    rewritten(pack, pack_format=3)
    assert "a pack of a newer resnets (format 3, this one reads up to 2); upgrade" in refused(pack)


def test_a_newer_file_of_tensors_is_refused_saying_so(pack, monkeypatch):
    tensors, about = artifacts.load_tensors(pack / packs.INDEX)
    monkeypatch.setattr(artifacts, "FORMAT", 2)
    artifacts.save_tensors(pack / packs.INDEX, tensors, about)
    monkeypatch.setattr(artifacts, "FORMAT", 1)
    assert "written by a newer resnets (format 2" in refused(pack)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pack_format": None}, "damaged"),
        ({"pack_format": 2}, "damaged"),  # which has boxes
        ({"splits": []}, "the splits do not add up"),
        ({"splits": [["train", 2], ["validation", 1]]}, "the splits do not add up"),
        ({"splits": [["train", 2], ["train", 2]]}, "the splits do not add up"),
        ({"splits": [["train", 4], ["validation", 0]]}, "the splits do not add up"),
        ({"splits": [["exam", 4]]}, "damaged"),
        ({"classes": ["cat"]}, "labels of no class"),
        ({"classes": "cat and dog"}, "damaged"),
        ({"classes": ["cat", 3]}, "damaged"),
        ({"resized_images": 5}, "more images are resized than there are"),
        ({"resized_images": True}, "damaged"),
        ({"origin": {}}, "damaged"),
        ({"left_out": [{"file": "a"}]}, "damaged"),
        ({"names": torch.zeros(3, dtype=torch.uint8)}, "damaged"),
        ({"names": torch.tensor(list(b'["a", "b"]'), dtype=torch.uint8)}, "do not add up"),
        ({"labels_n": torch.tensor([0, 1, 0, -1])}, "labels_n is out of range"),
        ({"shard_n": torch.tensor([0, 0, 0, 3])}, "shards without images"),
        ({"shard_n": torch.tensor([0, 0, 0, 1 << 30])}, "shards without images"),
        ({"start_n": torch.tensor([0, 0, 0])}, "start_n is not of 4 numbers"),
        ({"start_n": torch.zeros(4)}, "start_n is not of 4 numbers"),
        ({"start_n": torch.tensor([0, 0, 0, 1 << 62])}, "start_n is out of range"),
        ({"bytes_n": torch.tensor([1, 1, 1, 0])}, "bytes_n is out of range"),
        ({"crc32_n": torch.tensor([1, 1, 1, 1 << 32])}, "crc32_n is out of range"),
    ],
)
def test_an_edited_index_is_refused(pack, changes, told):
    rewritten(pack, **changes)
    message = refused(pack)
    assert "pack.safetensors" in message
    assert told in message


def test_an_index_of_images_elsewhere_in_a_shard_is_noticed_when_they_are_read(pack):
    start_n = packs.load(pack).start_n
    rewritten(pack, start_n=torch.where(torch.arange(4) == 0, 1, start_n))
    with pytest.raises(DataError, match=r"cat/0\.jpg in it \(byte 1 on\) is damaged"):
        opening.open_data(pack).splits["train"].read(0)


def test_a_pack_is_read_from_many_threads(pack, photos):
    expected = everything(opening.open_data(photos))
    data = opening.open_data(pack)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: everything(data), range(40)):
            assert found == expected


def test_a_pack_that_is_sent_to_another_process_opens_its_shards_there(pack, photos):
    data = opening.open_data(pack)
    sent = pickle.loads(pickle.dumps(data.splits["validation"]))
    del data
    assert sent.image(1).size == (90, 70)
    assert sent.read(1) == opening.open_data(photos).splits["validation"].read(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pack_is_read_on_both_sides_of_a_fork(pack, photos):
    data, expected = opening.open_data(pack), everything(opening.open_data(photos))
    child = os.fork()
    same = all(everything(data) == expected for _ in range(50))
    if not child:
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert same


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files as Linux lists them")
def test_a_pack_leaves_no_file_open(pack):
    def files_open():
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = files_open()
    data = opening.open_data(pack)
    assert files_open() == before + 2  # the shards
    del data
    (pack / packs.shard_name(1)).unlink()
    refused(pack)
    assert files_open() == before


def test_some_of_the_images_of_a_pack_are_those_of_these_indices(pack, photos):
    some = opening.open_data(pack).splits["train"].take(torch.tensor([1]))
    assert some.read(0) == opening.open_data(photos).splits["train"].read(1)


def test_an_index_does_not_say_where_the_data_lay(pack, photos):
    """So that a pack can be given away, and is the same wherever it was made."""
    assert str(photos.parent).encode() not in (pack / packs.INDEX).read_bytes()


def test_the_same_pack_in_another_folder_is_the_same_data(pack, tmp_path):
    digest = opening.open_data(pack).digest
    pack.rename(tmp_path / "elsewhere")
    moved = opening.open_data(tmp_path / "elsewhere")
    assert (moved.digest, moved.where) == (digest, str(tmp_path / "elsewhere"))
    assert replace(moved, content="other").digest != digest
