import math

import numpy as np
import pytest
import torch

from resnets.data import drawn
from resnets.data.drawn import Drawn
from samples import jpeg

LABELS = {"cat": 0, "dog": 1}


def sound(*boxes, size=(60, 40), shares=False):
    """Boxes of one image, each a tuple of corners, perhaps with a category and more."""
    made = Drawn(shares=shares)
    for box, *rest in boxes:
        category, told = (*rest, "cat", {})[:2] if rest else ("cat", {})
        made.put(0, box, category, **(told if isinstance(told, dict) else {}))
    annotations, flaws = made.sound(["a.jpg"], np.array([size]), LABELS)
    return annotations[0], flaws


def kinds(flaws):
    return [flaw.kind for flaw in flaws]


def test_a_box_inside_stays_as_it_is():
    objects, flaws = sound(((1.5, 2, 30, 40), "dog"))
    assert flaws == ()
    assert objects.boxes_n4.tolist() == [[1.5, 2, 30, 40]]
    assert objects.boxes_n4.dtype == torch.float32
    assert (objects.classes_n.tolist(), objects.classes_n.dtype) == ([1], torch.int64)
    assert objects.area_n.tolist() == [28.5 * 38]
    assert objects.ignored_n.tolist() == objects.crowd_n.tolist() == [False]


def test_what_is_partly_outside_is_cut_off_and_told():
    objects, flaws = sound(((-5, -1, 30, 41),), ((50, 30, 1e300, math.nextafter(41, 42)),))
    assert objects.boxes_n4.tolist() == [[0, 0, 30, 40], [50, 30, 60, 40]]
    assert kinds(flaws) == ["clipped", "clipped"]
    assert flaws[0].name == "a.jpg"
    assert flaws[0].why == "cat at -5, -1, 30, 41 in 60 x 40 px"


def test_what_rounding_leaves_outside_is_cut_off_in_silence():
    objects, flaws = sound(((-0.01, 0, 60.015, 40),))
    assert objects.boxes_n4.tolist() == [[0, 0, 60, 40]]
    assert flaws == ()


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((10, 10, 10, 20), "degenerate"),
        ((20, 10, 10, 20), "degenerate"),
        ((10, 20, 20, 10), "degenerate"),
        ((10, 10, 10 + 1e-9, 20), "degenerate"),
        ((-20, 5, 0, 20), "outside"),
        ((60, 5, 70, 20), "outside"),
        ((5, 41, 7, 50), "outside"),
        ((math.nan, 5, 70, 20), "no-number"),
        ((1, 5, math.inf, 20), "no-number"),
        ((-math.inf, 5, 9, 20), "no-number"),
    ],
)
def test_what_has_nothing_inside_is_left_out_and_told(box, kind):
    objects, flaws = sound((box,), ((1, 1, 9, 9),))
    assert objects.boxes_n4.tolist() == [[1, 1, 9, 9]]
    assert kinds(flaws) == [kind]


def test_a_box_is_left_out_for_one_reason():
    objects, flaws = sound(((math.nan, 5, 1, 2), "owl"), ((9, 9, 9, 9), "owl"), ((99, 9, 98, 1),))
    assert len(objects) == 0
    assert kinds(flaws) == ["no-number", "unknown-category", "degenerate"]


def test_a_box_of_a_pixel_is_kept_and_told():
    objects, flaws = sound(((1, 1, 2, 30),))
    assert len(objects) == 1
    assert kinds(flaws) == ["thin"]


def test_the_same_box_again_is_kept_and_told_once_for_each_copy():
    box = (1, 1, 9, 9)
    objects, flaws = sound((box,), (box, "dog"), (box,), (box,), ((1, 1, 9, 8),))
    assert len(objects) == 5
    assert kinds(flaws) == ["doubled", "doubled"]


def test_boxes_in_an_image_of_unknown_size_are_left_out():
    objects, flaws = sound(((1, 1, 9, 9),), size=(0, 0))
    assert len(objects) == 0
    assert kinds(flaws) == ["unsized"]
    objects, flaws = sound(((0.1, 0.1, 0.9, math.inf),), size=(0, 0), shares=True)
    assert kinds(flaws) == ["no-number"]


def test_shares_become_pixels_of_the_image():
    objects, flaws = sound(((0.25, 0.25, 0.5, 1.0),), ((0.5, 0, 1.25, 1e308),), shares=True)
    assert objects.boxes_n4.tolist() == [[15, 10, 30, 40]]
    assert kinds(flaws) == ["no-number"]


def test_crowds_are_ignored_and_an_area_is_taken_where_it_can_be():
    box = (0, 0, 10, 10)
    told = [{"crowd": True}, {"ignored": True}, {"area": 7.5}, {"area": 9e9}, {"area": -1.0}]
    objects, _ = sound(*((box, "cat", each) for each in told))
    assert objects.crowd_n.tolist() == [True, False, False, False, False]
    assert objects.ignored_n.tolist() == [True, True, False, False, False]
    assert objects.area_n.tolist() == [100, 100, 7.5, 100, 100]


def test_boxes_go_to_their_images_in_whatever_order_they_come():
    made = Drawn()
    for image, left in ((2, 1), (0, 2), (2, 3), (0, 4)):
        made.put(image, (left, 0, 9, 9), "cat")
    found, flaws = made.sound(list("abc"), np.full((3, 2), 20), LABELS)
    assert [each.boxes_n4[:, 0].tolist() for each in found] == [[2, 4], [], [1, 3]]
    assert flaws == ()


def test_no_boxes_at_all_are_empty_images():
    found, flaws = Drawn().sound(["a", "b"], np.full((2, 2), 20), {})
    assert [len(each) for each in found] == [0, 0]
    assert found[1].boxes_n4.shape == (0, 4)
    assert flaws == ()


def test_a_size_that_nothing_says_is_read_from_the_header(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(0, 33, 22))
    (tmp_path / "b.jpg").write_bytes(b"<html>")
    said = np.array([[0, 0], [0, 9], [5, 6], [0, 0]])
    names = ["a.jpg", "a.jpg", "a.jpg", "b.jpg"]
    assert drawn.sizes(tmp_path, names, said).tolist() == [[33, 22], [33, 22], [5, 6], [0, 0]]


@pytest.mark.parametrize("said", [0, -3, 2.5, math.nan, math.inf, 10**400, None, "7", True, [7]])
def test_a_side_is_a_number_of_pixels_or_unknown(said):
    assert drawn.side(said) == 0
    assert drawn.side(7) == drawn.side(7.0) == 7
