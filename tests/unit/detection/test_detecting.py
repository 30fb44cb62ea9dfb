"""From what the network says to detections: thresholds, votes, scales, ensembles."""

from dataclasses import replace

import pytest
import torch

from resnets.core.errors import ModelError
from resnets.detection import detecting
from resnets.detection.detecting import Found

TESTING = detecting.Testing(smallest_score=0.0)


def found(boxes, scores):
    """What was said of regions of one class: boxes and their probabilities."""
    scores_r = torch.tensor(scores)
    return Found(torch.stack([scores_r, 1 - scores_r], 1), torch.tensor(boxes)[:, None].float())


ABOUT = [[0, 0, 100, 100], [0, 0, 100, 90], [10, 0, 110, 100], [200, 200, 260, 260]]


def test_of_boxes_that_overlap_the_likeliest_is_told():
    boxes_n4, scores_n, classes_n = detecting.told(found(ABOUT, [0.6, 0.9, 0.7, 0.8]), TESTING)
    assert boxes_n4.tolist() == [ABOUT[1], ABOUT[3]]
    assert scores_n.tolist() == pytest.approx([0.9, 0.8])
    assert classes_n.tolist() == [0, 0]


def test_what_is_unlikely_is_not_told_and_neither_is_what_is_no_number():
    testing = replace(TESTING, smallest_score=0.5)
    boxes_n4, _, _ = detecting.told(found(ABOUT, [0.4, 0.5, float("nan"), 0.8]), testing)
    assert boxes_n4.tolist() == [ABOUT[3]]


def test_classes_do_not_suppress_each_other():
    scores_rk = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    boxes_rk4 = torch.tensor(ABOUT[:2]).float()[:, None].expand(-1, 2, -1)
    _, scores_n, classes_n = detecting.told(Found(scores_rk, boxes_rk4), TESTING)
    assert classes_n.tolist() == [1, 0]
    assert scores_n.tolist() == pytest.approx([0.8, 0.5])


def test_only_so_many_are_told_over_all_classes():
    boxes_n4, scores_n, _ = detecting.told(
        found(ABOUT, [0.6, 0.9, 0.7, 0.8]), replace(TESTING, most=1)
    )
    assert scores_n.tolist() == pytest.approx([0.9])
    assert len(boxes_n4) == 1


def test_refined_boxes_are_the_mean_of_those_near_by_their_scores():
    testing = replace(TESTING, refined=True, voting_iou=0.75)
    boxes_n4, scores_n, _ = detecting.told(found(ABOUT, [0.6, 0.9, 0.3, 0.8]), testing)
    # The third one overlaps the second by 0.74 and has no vote.
    expected = (0.9 * torch.tensor(ABOUT[1]) + 0.6 * torch.tensor(ABOUT[0])) / 1.5
    assert torch.allclose(boxes_n4[0], expected)
    assert boxes_n4[1].tolist() == ABOUT[3]
    assert scores_n.tolist() == pytest.approx([0.9, 0.8])


def test_a_box_without_an_area_is_left_as_it_is():
    point = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert torch.equal(detecting.voted(point, point, torch.tensor([[0.5]]), 0.5), point)


def image_of(files, index=0):
    return files.image(index)


def test_detections_lie_in_the_image_as_stored_and_fall_in_score(spec, make, files, scaling):
    image = image_of(files)
    told = detecting.detect([make(spec).eval()], image, scaling, TESTING)
    assert 0 < len(told) <= TESTING.most
    assert told.scores_n.tolist() == sorted(told.scores_n.tolist(), reverse=True)
    assert told.boxes_n4.min() >= 0
    assert told.boxes_n4[:, 2].max() <= image.width
    assert told.boxes_n4[:, 3].max() <= image.height


def test_an_ensemble_of_one_detector_twice_finds_what_it_finds_alone(spec, make, files, scaling):
    detector = make(spec).eval()
    alone = detecting.detect([detector], image_of(files), scaling, TESTING)
    twice = detecting.detect([detector, detector], image_of(files), scaling, TESTING)
    # Every proposal comes twice and is suppressed once.
    assert torch.allclose(alone.boxes_n4, twice.boxes_n4, atol=1e-3)
    assert torch.allclose(alone.scores_n, twice.scores_n, atol=1e-5)


def test_an_ensemble_averages_what_its_detectors_say(spec, make, files, scaling):
    def saying(label):
        detector = make(spec).eval()
        with torch.no_grad():
            detector.scores.weight.zero_()
            detector.scores.bias.copy_(torch.eye(3)[label] * 50)
        return detector

    told = detecting.detect([saying(0), saying(2)], image_of(files), scaling, TESTING)
    assert told.scores_n[0].item() == pytest.approx(0.5)  # the other is sure of background


def test_at_its_own_scale_alone_a_pyramid_changes_nothing(spec, make, files, scaling):
    detector, image = make(spec).eval(), image_of(files)
    alone = detecting.detect([detector], image, scaling, TESTING)
    named = replace(TESTING, scales_px=(scaling.shorter_px,))
    again = detecting.detect([detector], image, scaling, named)
    assert torch.equal(alone.boxes_n4, again.boxes_n4)


def test_of_several_scales_a_region_looks_at_the_two_that_make_it_as_large_as_224_px(
    spec, make, files, scaling
):
    detector, image = make(spec).eval(), image_of(files)
    view = detecting._View(detector, image, scaling, (80, 160, 320))
    assert [view.factors[n] for n in view.pyramid] == pytest.approx([0.5, 1, 2], rel=0.01)
    sides = torch.tensor([20.0, 111.0, 130.0, 300.0, 600.0])
    regions_r4 = torch.stack([sides * 0, sides * 0, sides, sides], 1)
    # Between its factors: 224 / side of 11, 2.02, 1.7, 0.75, 0.37.
    assert view._lower(regions_r4).tolist() == [1, 1, 1, 0, 0]
    both = [view._at(n, regions_r4[3:4]) for n in view.pyramid[:2]]
    assert torch.equal(view._pooled(regions_r4)[3:4], torch.maximum(*both))
    told = detecting.detect([detector], image, scaling, replace(TESTING, scales_px=(80, 320)))
    assert len(told)


def test_every_region_is_judged_again_where_its_object_was_found(spec, make, files, scaling):
    detector, image = make(spec).eval(), image_of(files)
    judged = []
    plain = detector.backbone.each

    def each(pooled_rchw):
        judged.append(len(pooled_rchw))
        return plain(pooled_rchw)

    detector.backbone.each = each
    detecting.detect([detector], image, scaling, TESTING)
    once = sum(judged)
    judged.clear()
    detecting.detect([detector], image, scaling, replace(TESTING, refined=True))
    assert sum(judged) == 2 * once > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"smallest_score": -0.1}, "testing.smallest_score"),
        ({"iou": 1.5}, "testing.iou"),
        ({"most": 0}, "testing.most"),
        ({"scales_px": (600, 400)}, "must ascend"),
    ],
)
def test_testing_that_cannot_be_is_refused(wrong, told):
    with pytest.raises(ModelError, match=told):
        replace(TESTING, **wrong)
