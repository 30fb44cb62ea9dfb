"""Whatever stands in an annotation: sound boxes, or one kind of error."""

import json
import math
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damage import damaged
from resnets.core.errors import DataError
from resnets.data import opening, plain_yaml
from resnets.data.annotated import Annotations
from resnets.data.drawn import Drawn
from samples import coco_tree, voc_xml, write_coco, write_voc, write_yolo

fuzz = settings(deadline=None, max_examples=150)
XML = voc_xml([("cat", (1, 2, 30, 20), 0), ("dog", (-4, 2, 99, 20), 1)])
TREE = coco_tree(2, [{"image_id": 1, "bbox": [10, 5, 20, 15], "area": 7}, {"image_id": 2}])
LABEL = b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.2 0.3 0.5 0.5\n"
YAML = b"path: .\ntrain: images/train\nnames:\n  0: cat\n  1: 'dog'\n"


def sound(annotations, sizes):
    """Say whether every box is inside its image and has an area, and nothing is not a number."""
    for objects, (width, height) in zip(annotations, sizes, strict=True):
        left, top, right, bottom = objects.boxes_n4.numpy().T
        assert ((left >= 0) & (top >= 0) & (right > left) & (bottom > top)).all()
        assert ((right <= width) & (bottom <= height)).all()
        assert np.isfinite(objects.area_n.numpy()).all()
        assert (objects.area_n.numpy() >= 0).all()
        assert (objects.ignored_n | ~objects.crowd_n).all()
    return True


def opened(folder):
    """Open a data set, or meet one clear line."""
    try:
        data = opening.open_data(folder)
    except DataError as err:
        lines = str(err).splitlines()
    else:
        lines = [check(data)]
    assert len(lines) == 1


def check(data):
    """Look at all that was read; return a line."""
    assert len(data.digest) == 64
    for split in data.splits.values():
        assert len(set(split.names)) == len(split.names) == len(split.ids) == len(split.objects)
        labels = Annotations.of(split.objects).every.classes_n
        assert ((labels >= 0) & (labels < len(data.classes))).all()
        if split.annotated:
            assert sound(split.objects, split.sizes_n2.tolist())
        for index in range(len(split)):
            assert split.read(index)
    return data.digest


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return write_voc(tmp_path_factory.mktemp("voc"), {"train": ["a", "b"]}, {"a": XML, "b": XML})


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco"), {"train": (2, [])})


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolo")
    return write_yolo(folder, {"train/a": LABEL.decode(), "train/b": "0 0.5 0.5 1 1"})


def test_what_is_to_be_damaged_is_sound(voc, coco, yolo):
    (coco / "annotations/instances_train.json").write_text(json.dumps(TREE))
    for folder, boxes in ((voc, 4), (coco, 1), (yolo, 3)):
        (split,) = opening.open_data(folder).splits.values()
        assert sum(map(len, split.objects)) == boxes


@fuzz
@given(damaged(XML) | st.binary(max_size=60))
def test_any_annotation_in_xml_is_an_error_or_boxes(voc, content):
    (voc / "Annotations/a.xml").write_bytes(content)
    opened(voc)


number = st.floats() | st.integers(-5, 90) | st.sampled_from(["", " 7 ", "1e999", "0x1", "１"])


@fuzz
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=4),
            st.tuples(number, number, number, number),
            number,
        ),
        max_size=4,
    ),
    st.tuples(number, number),
)
def test_any_numbers_in_xml_are_sound_boxes(voc, objects, size):
    rows = [(escape(name), box, difficult) for name, box, difficult in objects]
    (voc / "Annotations/a.xml").write_bytes(voc_xml(rows, size))
    opened(voc)


@fuzz
@given(st.binary(max_size=40) | st.text("ab./\n ", max_size=12).map(str.encode))
def test_any_list_of_images_is_an_error_or_a_split(voc, content):
    (voc / "Annotations/a.xml").write_bytes(XML)
    (voc / "ImageSets/Main/val.txt").write_bytes(content)
    opened(voc)
    (voc / "ImageSets/Main/val.txt").unlink()


@fuzz
@given(damaged(json.dumps(TREE).encode()) | st.binary(max_size=60))
def test_any_json_bytes_are_an_error_or_boxes(coco, content):
    (coco / "annotations/instances_train.json").write_bytes(content)
    opened(coco)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(st.text(max_size=3), inside),
    max_leaves=6,
)


@fuzz
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["images", "annotations", "categories"]),
            st.integers(0, 1),
            st.sampled_from(
                ["id", "file_name", "width", "height", "image_id", "bbox", "category_id", "iscrowd"]
            ),
            anything | st.lists(number, min_size=4, max_size=4),
        ),
        max_size=4,
    )
)
def test_any_values_in_json_are_an_error_or_boxes(coco, changes):
    tree = json.loads(json.dumps(TREE))
    for key, at, name, value in changes:
        tree[key][at][name] = value
    (coco / "annotations/instances_train.json").write_text(json.dumps(tree))
    opened(coco)


@fuzz
@given(
    damaged(LABEL)
    | st.lists(
        st.lists(number.map(str), min_size=4, max_size=9).map(lambda n: " ".join(["0", *n]))
    ).map(lambda lines: "\n".join(lines).encode())
)
def test_any_label_file_is_an_error_or_boxes(yolo, content):
    (yolo / "data.yaml").write_bytes(YAML)
    (yolo / "labels/train/a.txt").write_bytes(content)
    opened(yolo)


@fuzz
@given(damaged(YAML))
def test_any_data_yaml_is_an_error_or_boxes(yolo, content):
    (yolo / "labels/train/a.txt").write_bytes(LABEL)
    (yolo / "data.yaml").write_bytes(content)
    opened(yolo / "data.yaml")


@fuzz
@given(st.text("a:-[]{},'\"# \n0\\&|", max_size=30))
def test_any_text_is_an_error_or_values(text):
    try:
        found = plain_yaml.read(f"a: {text}", ("a",), "here")["a"]
    except DataError as err:
        found = str(err).splitlines()
    assert isinstance(found, str | list | dict | None)
    assert not isinstance(found, list) or all(isinstance(each, str) for each in found)


@fuzz
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.tuples(*[st.floats() | st.integers(-9, 70)] * 4)),
        max_size=12,
    ),
    st.booleans(),
)
def test_every_box_is_kept_or_told_and_what_is_kept_is_sound(boxes, shares):
    drawn = Drawn(shares=shares)
    for image, box in boxes:
        drawn.put(image, box, "cat", area=math.nan)
    sizes = np.array([[60, 40], [1, 1], [0, 0]])
    annotations, flaws = drawn.sound(list("abc"), sizes, {"cat": 0})
    assert sound(annotations, sizes.tolist())
    gone = [flaw for flaw in flaws if flaw.kind not in ("clipped", "thin", "doubled")]
    assert sum(map(len, annotations)) + len(gone) == len(boxes)
