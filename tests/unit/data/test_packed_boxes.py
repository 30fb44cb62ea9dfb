"""Packs of data with boxes: what was packed comes back, and boxes go with images that shrink."""

from dataclasses import fields

import numpy as np
import pytest
import torch

import samples
from resnets.cli import listing
from resnets.core import artifacts
from resnets.core.errors import DataError
from resnets.data import opening, packing, packs
from resnets.data.annotated import Objects

SIZE = (60, 40)


def voc(folder):
    """Two years with a difficult object, a clipped box, an empty image, and one that is missing."""
    rows = {
        "a": [("cat", (1, 1, 30, 20), 0), ("dog", (11, 11, 60, 40), 1)],
        "b": [("dog", (31, 1, 90, 40), 0)],
        "c": [],
    }
    made = samples.write_voc(
        folder / "VOC2007", {"train": ["a", "b"], "val": ["c", "gone"]}, rows | {"gone": []}, SIZE
    )
    (made / "JPEGImages/gone.jpg").unlink()
    samples.write_voc(folder / "VOC2012", {"train": ["d"]}, {"d": [("cat", (5, 5, 9, 9), 0)]}, SIZE)
    return folder


def coco(folder):
    """With a crowd, areas that are not the boxes', and a split that nobody annotated."""
    train = [
        {"image_id": 1, "bbox": [10, 5, 30, 20], "area": 123.5},
        {"image_id": 1, "bbox": [0, 0, 60, 40], "iscrowd": 1, "category_id": 3, "area": 2000},
        {"image_id": 2, "bbox": [1, 2, 3, 4]},
    ]
    samples.write_coco(folder, {"train2017": (3, train), "val2017": (1, [])}, size=SIZE)
    (folder / "test2017").mkdir()
    (folder / "test2017/0.jpg").write_bytes(samples.jpeg(9, *SIZE))
    tree = samples.coco_tree(1, [], size=SIZE)
    del tree["annotations"]
    artifacts.write_json(folder / "annotations/image_info_test2017.json", tree)
    return folder


def yolo(folder):
    labels = {"train/a": "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.2 0.2", "train/b": "", "val/c": None}
    labels["val/d"] = "1 0.5 0.5 1 1"
    return samples.write_yolo(folder, labels, size=SIZE)


MAKERS = {"voc": voc, "coco": coco, "yolo": yolo}


@pytest.fixture(params=MAKERS)
def data(request, tmp_path):
    return MAKERS[request.param](tmp_path / "data")


def pack(data, out, **settings):
    return packing.pack(opening.open_data(data), out, **settings)


def same_objects(one, other):
    for field in fields(Objects):
        assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def same(one, other):
    for name in ("name", "classes", "category_ids", "content", "digest"):
        assert getattr(one, name) == getattr(other, name), name
    assert list(one.splits) == list(other.splits)
    for name, files in one.splits.items():
        twin = other.splits[name]
        for each in ("names", "ids", "annotated", "flaws"):
            assert getattr(files, each) == getattr(twin, each), each
        assert (files.sizes_n2 is None) == (twin.sizes_n2 is None) == (not files.annotated)
        if files.annotated:
            assert torch.equal(files.sizes_n2, twin.sizes_n2)
        for i in range(len(files)):
            same_objects(files.objects[i], twin.objects[i])
            assert files.read(i) == twin.read(i)


def test_a_pack_is_the_same_data_as_what_was_packed(data, tmp_path):
    index = pack(data, tmp_path / "pack")
    packed, whole = opening.open_data(tmp_path / "pack"), opening.open_data(data)
    same(packed, whole)
    assert packed.where == str(tmp_path / "pack")
    assert (index.resized_images, index.left_out) == (0, ())
    names = {path.name for path in (tmp_path / "pack").iterdir()}
    assert (
        {"pack.safetensors", "shard-00000.bin"}
        <= names
        <= {*("pack.safetensors", "shard-00000.bin", artifacts.LOCK)}
    )


def test_a_check_finds_the_same_in_a_pack(data, tmp_path):
    pack(data, tmp_path / "pack")
    checks = [opening.open_data(at).check().to_dict() for at in (data, tmp_path / "pack")]
    assert checks[0] == checks[1]


def test_boxes_areas_and_sizes_shrink_with_their_images(data, tmp_path):
    index = pack(data, tmp_path / "pack", shorter_px=20)
    packed, whole = opening.open_data(tmp_path / "pack"), opening.open_data(data)
    assert index.resized_images == sum(map(len, whole.splits.values()))
    for name, files in whole.splits.items():
        small = packed.splits[name]
        if files.annotated:
            assert small.sizes_n2.tolist() == [[30, 20]] * len(files)
        for i in range(len(files)):
            assert small.image(i).size == (30, 20)
            before, after = files.objects[i], small.objects[i]
            assert torch.allclose(after.boxes_n4, before.boxes_n4 / 2)
            assert torch.allclose(after.area_n, before.area_n / 4)
            for kept in ("classes_n", "ignored_n", "crowd_n"):
                assert torch.equal(getattr(after, kept), getattr(before, kept))
    assert packed.digest != whole.digest


def test_boxes_stay_inside_images_whose_sides_shrink_by_factors_that_are_no_floats(tmp_path):
    folder, sides = tmp_path / "VOC2007", [(97, 61), (333, 71), (53, 211)]
    rows = {f"{i}": [("cat", (1, 1, *size), 0)] for i, size in enumerate(sides)}
    samples.write_voc(folder, {"train": list(rows)}, rows)
    for i, size in enumerate(sides):
        (folder / f"JPEGImages/{i}.jpg").write_bytes(samples.jpeg(i, *size))
        (folder / f"Annotations/{i}.xml").write_bytes(samples.voc_xml(rows[f"{i}"], size))
    for shorter_px in (3, 7, 29, 47):
        out = tmp_path / f"{shorter_px}"
        pack(folder, out, shorter_px=shorter_px)
        (files,) = opening.open_data(out).splits.values()
        for i in range(3):
            image, objects = files.example(i)
            assert objects.boxes_n4.tolist() == [[0, 0, *image.size]]
            assert files.sizes_n2[i].tolist() == list(image.size)


def test_a_box_is_still_around_what_it_was_around(tmp_path):
    """A bright square on a dark ground, found again by its pixels."""
    from PIL import Image

    picture = np.zeros((120, 200, 3), np.uint8)
    picture[30:90, 40:160] = 255
    folder = samples.write_voc(
        tmp_path / "VOC2007", {"train": ["a"]}, {"a": [("cat", (41, 31, 160, 90), 0)]}, (200, 120)
    )
    (folder / "JPEGImages/a.jpg").write_bytes(
        samples.saved(Image.fromarray(picture), "JPEG", quality=95)
    )
    pack(folder, tmp_path / "pack", shorter_px=50)
    (files,) = opening.open_data(tmp_path / "pack").splits.values()
    image, objects = files.example(0)
    rows, columns = np.nonzero(np.asarray(image)[..., 0] > 128)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert objects.boxes_n4[0].tolist() == pytest.approx(found, abs=0.6)


def test_an_image_of_another_size_than_its_annotation_says_stays_one(tmp_path):
    folder = samples.write_voc(
        tmp_path / "VOC2007", {"train": ["a"]}, {"a": [("cat", (11, 11, 50, 40), 0)]}, SIZE
    )
    (folder / "JPEGImages/a.jpg").write_bytes(samples.jpeg(0, 40, 60))  # turned since
    pack(folder, tmp_path / "pack", shorter_px=20)
    (files,) = opening.open_data(tmp_path / "pack").splits.values()
    assert files.image(0).size == (20, 30)
    assert files.sizes_n2.tolist() == [[30, 20]]
    assert files.objects[0].boxes_n4.tolist() == [[5, 5, 25, 20]]
    assert len(opening.open_data(tmp_path / "pack").check().cases("size-mismatch")) == 1


def test_the_quality_of_what_was_resized_tells_packs_apart(tmp_path):
    data = voc(tmp_path / "data")
    digests = set()
    for quality in (60, 90):
        pack(data, tmp_path / f"{quality}", shorter_px=20, quality=quality)
        digests.add(opening.open_data(tmp_path / f"{quality}").digest)
    assert len(digests) == 2


def test_what_cannot_be_decoded_is_left_out_with_its_boxes(tmp_path):
    data = coco(tmp_path / "data")
    (data / "train2017/0.jpg").write_bytes(b"no image")
    told = listing.pack(str(data), tmp_path / "pack", None, None, whole=True)
    assert (told["images"], told["boxes"], told["left_out_images"]) == (4, 1, 1)
    assert told["left_out"][0]["split"] == "train"
    packed = opening.open_data(tmp_path / "pack")
    train = packed.splits["train"]
    assert train.ids == (2, 3)
    assert [len(each) for each in train.objects] == [1, 0]
    assert train.objects[0].boxes_n4.tolist() == [[1, 2, 4, 6]]
    assert packed.digest == told["digest"]


class StoppedError(Exception):
    """What a test stops packing with."""


@pytest.mark.parametrize("after", range(1, 4))
def test_packing_that_was_stopped_continues_to_the_same_bytes(tmp_path, monkeypatch, after):
    data = voc(tmp_path / "data")
    monkeypatch.setattr(packing, "_JOURNAL_BYTES", 1)
    pack(data, tmp_path / "expected", shorter_px=20)
    add, left = packing._Writer.add, iter(range(after))

    def counted(writer, made):
        if next(left, None) is None:
            raise StoppedError
        add(writer, made)

    with monkeypatch.context() as patch:
        patch.setattr(packing._Writer, "add", counted)
        with pytest.raises(StoppedError):
            pack(data, tmp_path / "pack", shorter_px=20)
    pack(data, tmp_path / "pack", shorter_px=20)
    for name in (packs.INDEX, packs.shard_name(0)):
        assert (tmp_path / "pack" / name).read_bytes() == (
            tmp_path / "expected" / name
        ).read_bytes()


def test_a_pack_of_a_pack_is_the_same_data(tmp_path):
    pack(voc(tmp_path / "data"), tmp_path / "a", shorter_px=20)
    pack(tmp_path / "a", tmp_path / "b")
    same(*(opening.open_data(tmp_path / name) for name in "ab"))


def test_other_boxes_are_other_data(tmp_path):
    data = yolo(tmp_path / "data")
    pack(data, tmp_path / "pack")
    (data / "labels/train/a.txt").write_text("0 0.5 0.5 0.4 0.4")
    with pytest.raises(DataError, match="a pack of other data"):
        pack(data, tmp_path / "pack")


def rewritten(pack_folder, **changes):
    tensors, about = artifacts.load_tensors(pack_folder / packs.INDEX)
    for name, value in changes.items():
        (tensors if isinstance(value, torch.Tensor) else about)[name] = value
    artifacts.save_tensors(pack_folder / packs.INDEX, tensors, about)


def coded(text):
    return torch.tensor(list(text), dtype=torch.uint8)


NO_NUMBER = float("nan")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pack_format": 1}, "damaged"),  # its split is none of class folders'
        ({"classes": None}, "no names"),
        ({"classes": ["cat"]}, "categories as classes"),
        ({"category_ids": [1, "2"]}, "damaged"),
        ({"category_ids": 3}, "damaged"),
        ({"annotated": []}, "as many annotations"),
        ({"annotated": [1]}, "damaged"),
        ({"ids": coded(b"[1]")}, "as many annotations"),
        ({"ids": coded(b"[1, null]")}, "damaged"),
        ({"ids": coded(b"{")}, "damaged"),
        ({"flaws": coded(b"[]")}, "as many annotations"),
        ({"flaws": coded(b'[[["clipped", 3, ""]]]')}, "damaged"),
        ({"flaws": coded(b'[[["nothing", "", ""]]]')}, "damaged"),
        ({"boxes_m4": torch.zeros(2, 3)}, "not as long"),
        ({"boxes_m4": torch.zeros(8)}, "damaged"),
        ({"boxes_m4": torch.zeros(2, 4)}, "boxes that are none"),
        ({"boxes_m4": torch.tensor([[0, 0, 1, 1], [0, 0, NO_NUMBER, 1]])}, "boxes that are none"),
        ({"boxes_m4": torch.tensor([[0, 0, 1, 1], [-5.0, 0, 1, 1]])}, "boxes that are none"),
        ({"boxes_m4": torch.ones(2, 4, dtype=torch.float64)}, "damaged"),
        ({"area_m": torch.tensor([1, float("inf")])}, "boxes that are none"),
        ({"classes_m": torch.tensor([0, 20])}, "boxes of no class"),
        ({"classes_m": torch.tensor([0, -1])}, "boxes of no class"),
        ({"classes_m": torch.tensor([0])}, "not as long"),
        ({"ignored_m": torch.tensor([0, 1])}, "damaged"),
        ({"starts_n": torch.tensor([0, 1])}, "which image a box is of"),
        ({"starts_n": torch.tensor([0, 3, 2])}, "which image a box is of"),
        ({"starts_n": torch.tensor([1, 1, 2])}, "which image a box is of"),
        ({"starts_n": torch.tensor([0, 1, 1 << 40])}, "which image a box is of"),
        ({"sizes_n2": torch.tensor([[1, 1]])}, "not as long"),
        ({"sizes_n2": torch.tensor([[1, 1], [1, -1]])}, "images of no size"),
    ],
)
def test_an_edited_index_is_refused_in_one_line(tmp_path, changes, told):
    rows = {"a": [("cat", (1, 1, 9, 9), 0), ("dog", (2, 2, 9, 9), 0)], "b": []}
    samples.write_voc(tmp_path / "data", {"test": ["a", "b"]}, rows)
    pack(tmp_path / "data", tmp_path / "pack")
    rewritten(tmp_path / "pack", **changes)
    with pytest.raises(DataError) as caught:
        opening.open_data(tmp_path / "pack")
    assert told in str(caught.value)
    assert "pack.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_box_a_pack_is_one_too(tmp_path):
    samples.write_voc(tmp_path / "data", {"train": ["a"]}, {"a": []})
    pack(tmp_path / "data", tmp_path / "pack", shorter_px=20)
    assert len(opening.open_data(tmp_path / "pack").splits["train"].objects[0]) == 0
