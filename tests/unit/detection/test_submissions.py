"""Files of detections: what is in them, what is refused, and that reading gives back the same."""

import json
import math

import pytest
import torch

from resnets.core.errors import DataError, StorageError
from resnets.detection import submissions
from resnets.detection.detections import Detections
from scenes import found

IDS, CATEGORIES = (9, 25, 7), (1, 90)
FOUND = (
    found((0, 10, 30.5, 40, 1, 0.75), (1, 2, 3, 4, 0, 0.25)),
    found(),
    found((5, 6, 7.25, 9, 0, 0.5)),
)


def same(one, other):
    return (
        torch.equal(one.boxes_n4, other.boxes_n4)
        and torch.equal(one.scores_n, other.scores_n)
        and torch.equal(one.classes_n, other.classes_n)
    )


def test_cocos_results_are_what_coco_says(tmp_path):
    submissions.write_coco(tmp_path / "found.json", IDS, FOUND, CATEGORIES)
    assert json.loads((tmp_path / "found.json").read_text()) == [
        {"image_id": 9, "category_id": 90, "bbox": [0, 10, 30.5, 30], "score": 0.75},
        {"image_id": 9, "category_id": 1, "bbox": [1, 2, 2, 2], "score": 0.25},
        {"image_id": 7, "category_id": 1, "bbox": [5, 6, 2.25, 3], "score": 0.5},
    ]


def test_what_was_written_is_read_back_to_the_last_bit(tmp_path):
    path, draw = tmp_path / "found.json", torch.Generator().manual_seed(0)
    corners = torch.rand(50, 2, generator=draw) * 600
    boxes = torch.cat([corners, corners + torch.rand(50, 2, generator=draw) * 300], dim=1)
    labels = torch.randint(2, (50,), generator=draw)
    many = Detections.of(boxes, torch.rand(50, generator=draw), labels)
    submissions.write_coco(path, ("a", "b"), [many, Detections.none()], CATEGORIES)
    first, second = submissions.read_coco(path, ("a", "b"), CATEGORIES)
    assert same(first, many)
    assert same(second, Detections.none())
    second, first = submissions.read_coco(path, ("b", "a"), CATEGORIES)
    assert same(first, many)


def test_results_in_any_order_come_back_sorted(tmp_path):
    path = tmp_path / "found.json"
    submissions.write_coco(path, IDS, FOUND, CATEGORIES)
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    assert all(map(same, submissions.read_coco(path, IDS, CATEGORIES), FOUND))


def test_no_results_are_results(tmp_path):
    path = tmp_path / "found.json"
    submissions.write_coco(path, IDS, [Detections.none()] * 3, CATEGORIES)
    assert json.loads(path.read_text()) == []
    assert list(map(len, submissions.read_coco(path, IDS, CATEGORIES))) == [0, 0, 0]


GOOD = {"image_id": 9, "category_id": 90, "bbox": [0, 10, 30, 30], "score": 0.75}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "result 2: expected a JSON object, got list"),
        ({**GOOD, "image_id": 10}, "result 2: image_id: must be an image of this split, got 10"),
        ({**GOOD, "image_id": "9"}, "image_id: must be an image of this split, got '9'"),
        ({**GOOD, "image_id": 9.0}, "image_id: must be an image of this split, got 9.0"),
        ({**GOOD, "image_id": [9]}, "image_id: must be"),
        ({**GOOD, "category_id": True}, "category_id: must be a category of this data set, got T"),
        ({**GOOD, "category_id": 2}, "category_id: must be a category of this data set, got 2"),
        ({"image_id": 9, "score": 1}, "category_id: must be a category of this data set, got None"),
        ({**GOOD, "bbox": [1, 2, 3]}, "bbox: must be left, top, width and height, got [1, 2, 3]"),
        ({**GOOD, "bbox": "abcd"}, "bbox: must be left, top, width and height, got 'abcd'"),
        ({**GOOD, "bbox": [0, 0, -1, 5]}, "bbox: width and height must not be negative"),
        ({**GOOD, "bbox": [0, 0, math.nan, 5]}, "bbox: must be a finite number, got nan"),
        ({**GOOD, "bbox": [0, 0, None, 5]}, "bbox: must be a finite number, got None"),
        ({**GOOD, "score": math.inf}, "score: must be a finite number, got inf"),
        ({**GOOD, "score": 10**400}, "score: must be a finite number, got 1000"),
        ({**GOOD, "score": "0.5"}, "score: must be a finite number, got '0.5'"),
    ],
)
def test_a_result_that_cannot_be_is_named(tmp_path, entry, message):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([GOOD, entry]))
    with pytest.raises(DataError) as caught:
        submissions.read_coco(path, IDS, CATEGORIES)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "not readable as JSON"),
        ("\xff", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"annotations": []}', "expected COCO's results, a JSON array"),
        ("", "not readable as JSON"),
    ],
)
def test_a_file_that_holds_no_results_is_refused(tmp_path, content, message):
    path = tmp_path / "found.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match=message):
        submissions.read_coco(path, IDS, CATEGORIES)


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        submissions.read_coco(tmp_path / "none.json", IDS, CATEGORIES)


def test_vocs_files_count_pixels_from_one_and_there_is_one_for_each_class(tmp_path):
    folder = tmp_path / "Main"
    names = ("cat", "dog", "tvmonitor")
    submissions.write_voc(folder, ("000001", "000002", "2008_000003"), FOUND, names)
    assert sorted(path.name for path in folder.iterdir()) == [
        "comp4_det_test_cat.txt",
        "comp4_det_test_dog.txt",
        "comp4_det_test_tvmonitor.txt",
    ]
    assert (folder / "comp4_det_test_cat.txt").read_text() == (
        "000001 0.25 2.0 3.0 3.0 4.0\n2008_000003 0.5 6.0 7.0 7.25 9.0\n"
    )
    assert (folder / "comp4_det_test_dog.txt").read_text() == "000001 0.75 1.0 11.0 30.5 40.0\n"
    assert (folder / "comp4_det_test_tvmonitor.txt").read_text() == ""


def test_names_that_would_break_vocs_format_are_refused(tmp_path):
    with pytest.raises(DataError, match="'a b': VOC's result files take names without spaces"):
        submissions.write_voc(tmp_path / "out", ("1", "a b", "3"), FOUND, ("cat", "dog"))
    with pytest.raises(DataError, match=r"'\.\./dog': VOC's"):
        submissions.write_voc(tmp_path / "out", IDS, FOUND, ("cat", "../dog"))
    assert not (tmp_path / "out").exists()


def test_ilsvrcs_file_counts_pixels_from_zero(tmp_path):
    submissions.write_ilsvrc(tmp_path / "found.txt", (1, 2, 3), FOUND, (5, 200))
    assert (tmp_path / "found.txt").read_text() == (
        "1 200 0.75 0.0 10.0 29.5 39.0\n1 5 0.25 1.0 2.0 2.0 3.0\n3 5 0.5 5.0 6.0 6.25 8.0\n"
    )


WRITERS = {
    "coco": lambda path, said: submissions.write_coco(path / "f", IDS, said, CATEGORIES),
    "voc": lambda path, said: submissions.write_voc(path, IDS, said, ("cat", "dog")),
    "ilsvrc": lambda path, said: submissions.write_ilsvrc(path / "f", IDS, said, CATEGORIES),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_diverged_is_refused_and_nothing_is_written(tmp_path, kind):
    for said in (found((0, 0, math.nan, 5, 0, 0.5)), found((0, 0, 5, 5, 0, math.nan))):
        with pytest.raises(DataError, match="image 7: a score or a box is not a finite number"):
            WRITERS[kind](tmp_path, [FOUND[0], FOUND[1], said])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", WRITERS)
def test_a_place_that_cannot_be_written_is_said(tmp_path, kind):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StorageError, match="cannot write"):
        WRITERS[kind](tmp_path / "file", FOUND)
    assert (tmp_path / "file").read_text() == "kept"
