import pytest
import torch

from resnets.evaluation.metrics import ByClass, TopK, count_topk

NAN, INF = float("nan"), float("inf")


def counted(logits, labels):
    return count_topk(torch.tensor(logits), torch.tensor(labels))


def test_hits_are_counted_by_hand():
    falling = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]
    assert counted([falling], [0]) == TopK(1, 1, 1)
    assert counted([falling], [1]) == TopK(1, 0, 1)
    assert counted([falling], [4]) == TopK(1, 0, 1)
    assert counted([falling], [5]) == TopK(1, 0, 0)
    assert counted([falling], [6]) == TopK(1, 0, 0)
    assert counted([falling] * 4, [0, 4, 5, 0]) == TopK(4, 2, 3)


def test_negative_scores_and_every_type_of_number_count_alike():
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        logits = torch.tensor([[-3.0, -1.0, -2.0, -9.0, -8.0, -7.0]], dtype=dtype)
        assert count_topk(logits, torch.tensor([1])) == TopK(1, 1, 1)
        assert count_topk(logits, torch.tensor([3])) == TopK(1, 0, 0)


def test_ties_go_to_the_lower_class():
    flat = [1.0] * 7
    assert counted([flat] * 7, list(range(7))) == TopK(7, 1, 5)
    assert counted([[0.0, 2.0, 2.0]], [1]) == TopK(1, 1, 1)
    assert counted([[0.0, 2.0, 2.0]], [2]) == TopK(1, 0, 1)


def test_with_fewer_than_five_classes_every_image_is_a_top_5_hit():
    for classes in (1, 2, 4, 5):
        logits = [[float(c) for c in range(classes)]] * classes
        assert counted(logits, list(range(classes))) == TopK(classes, 1, classes)


@pytest.mark.parametrize("label", range(6))
def test_a_network_that_gives_nan_for_all_hits_nothing(label):
    assert counted([[NAN] * 6], [label]) == TopK(1, 0, 0)


@pytest.mark.parametrize("classes", [1, 2, 3, 4])
def test_a_network_that_gives_nan_for_few_classes_hits_nothing(classes):
    assert counted([[NAN] * classes] * classes, list(range(classes))) == TopK(classes, 0, 0)


def test_a_nan_for_the_true_class_is_no_hit_and_one_for_another_counts_against():
    assert counted([[NAN, 1.0, 0.0, 0.0, 0.0, 0.0]], [0]) == TopK(1, 0, 0)
    assert counted([[NAN, 1.0, 0.0, 0.0, 0.0, 0.0]], [1]) == TopK(1, 0, 1)
    assert counted([[NAN, NAN, NAN, NAN, NAN, 1.0]], [5]) == TopK(1, 0, 0)


def test_infinite_scores_rank_like_any_other():
    assert counted([[INF, 1.0, 0.0]], [0]) == TopK(1, 1, 1)
    assert counted([[-INF, -INF, -INF, -INF, -INF, -INF]], [0]) == TopK(1, 1, 1)
    assert counted([[-INF, 0.0, 0.0, 0.0, 0.0, 0.0]], [0]) == TopK(1, 0, 0)


def test_no_image_counts_nothing():
    assert count_topk(torch.empty(0, 10), torch.empty(0, dtype=torch.int64)) == TopK()


def test_counts_of_two_parts_add():
    assert TopK(3, 1, 2) + TopK(5, 2, 4) == TopK(8, 3, 6)
    assert TopK(3, 1, 2) + TopK() == TopK(3, 1, 2)


def test_errors_are_in_percent_of_the_images():
    counts = TopK(images=8, hit1=5, hit5=7)
    assert counts.error1_percent == 37.5
    assert counts.error5_percent == 12.5


# Newcombe 1998, Two-sided confidence intervals for the single proportion, Table I, method 3.
@pytest.mark.parametrize(
    ("wrong", "images", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_the_published_score_interval(wrong, images, low, high):
    found = TopK(images, images - wrong, images).interval1_percent
    assert [round(end / 100, 4) for end in found] == [low, high]


def test_the_interval_of_cifar10s_8_75_percent_is_worked_out_by_hand():
    # p = .0875, n = 10,000, z = 1.959964, z^2 = 3.841459
    # centre (.0875 + .000192073) / 1.000384146 = .0876584
    # half   1.959964 sqrt(.0875 * .9125 / 10,000 + 3.841459 / 4e8) / 1.000384146 = .0055394
    low, high = TopK(10_000, 9_125, 10_000).interval1_percent
    assert low == pytest.approx(8.21190, abs=2e-5)
    assert high == pytest.approx(9.31978, abs=2e-5)


@pytest.mark.parametrize("images", [1, 7, 10_000])
def test_the_interval_stays_inside_0_and_100_percent(images):
    for wrong in (0, 1, images):
        low, high = TopK(images, images - wrong, images).interval1_percent
        assert 0 <= low <= 100 * wrong / images <= high <= 100
        assert low < high


def test_the_interval_of_the_top_5_error_is_of_the_top_5_error():
    counts = TopK(images=263, hit1=100, hit5=263 - 81)
    assert counts.interval5_percent == TopK(263, 263 - 81, 263).interval1_percent
    assert [round(end / 100, 4) for end in counts.interval5_percent] == [0.2553, 0.3662]
    assert counts.interval5_percent != counts.interval1_percent


def test_counts_by_class_are_worked_out_by_hand():
    falling = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]
    found = ByClass.count(torch.tensor([falling] * 5), torch.tensor([0, 0, 4, 5, 1]))
    assert found[0] == TopK(2, 2, 2)
    assert found[1] == found[4] == TopK(1, 0, 1)
    assert found[5] == TopK(1, 0, 0)
    assert found[2] == found[3] == found[6] == TopK(0, 0, 0)
    assert found.total == TopK(5, 2, 4)
