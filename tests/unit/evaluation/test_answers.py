import math

import pytest
import torch

from resnets.evaluation import answers
from resnets.evaluation.answers import NO_ANSWER, Answers, Mixup, OfClass

NAN, INF = float("nan"), float("inf")


def given(scores, labels):
    return Answers.of(torch.tensor(scores), torch.tensor(labels), torch.arange(len(labels)))


def said(predicted, labels, probabilities=None, classes=3):
    """Answers as they are, of classes 0, 1, 2."""
    n = len(labels)
    sure = torch.tensor(probabilities or [0.5] * n, dtype=torch.float64)
    return Answers(
        classes, torch.arange(n), torch.tensor(labels), torch.tensor(predicted), sure, sure
    )


def test_an_answer_is_the_highest_score_with_its_softmax_and_that_of_the_own_class():
    found = given([[0.0, math.log(3.0)], [math.log(4.0), 0.0]], [0, 0])
    assert found.predicted_n.tolist() == [1, 0]
    assert found.right_n.tolist() == [False, True]
    assert found.probability_n.tolist() == pytest.approx([0.75, 0.8])
    assert found.of_label_n.tolist() == pytest.approx([0.25, 0.8])
    assert len(found) == found.classes == 2


def test_log_scores_give_the_same_answers_as_logits():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    labels, index = torch.arange(50) % 7, torch.arange(50)
    a, b = Answers.of(logits, labels, index), Answers.of(logits.log_softmax(1), labels, index)
    assert torch.equal(a.predicted_n, b.predicted_n)
    assert a.probability_n.tolist() == pytest.approx(b.probability_n.tolist(), rel=1e-5)


def test_equal_scores_are_the_lowest_class():
    found = given([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [-INF, -INF, -INF]], [0, 2, 0])
    assert found.predicted_n.tolist() == [0, 1, 0]


@pytest.mark.parametrize("scores", [[NAN, 1.0, 0.0], [1.0, NAN, 0.0], [NAN, NAN, NAN]])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_score_that_is_nan_is_no_answer_and_never_right(scores, label):
    found = given([scores], [label])
    assert found.predicted_n.tolist() == [NO_ANSWER]
    assert found.right_n.tolist() == [False]
    assert found.probability_n.isnan().all()


def test_an_infinite_score_is_an_answer_without_a_probability():
    found = given([[INF, 1.0]], [0])
    assert found.predicted_n.tolist() == [0]
    assert found.probability_n.isnan().all()


def test_every_type_of_number_gives_float64():
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        found = Answers.of(torch.zeros(1, 2, dtype=dtype), torch.tensor([0]), torch.tensor([0]))
        assert found.probability_n.dtype == torch.float64
        assert found.probability_n.tolist() == [0.5]


def test_the_only_class_is_always_right():
    found = given([[-3.0], [9.0]], [0, 0])
    assert found.right_n.all()
    assert found.probability_n.tolist() == [1.0, 1.0]
    assert answers.confusion(found) == {(0, 0): 2}


def test_parts_together_are_in_the_order_of_the_images():
    scores = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    whole = Answers.of(scores, labels, torch.arange(6))
    parts = [Answers.of(scores[i], labels[i], i) for i in (torch.tensor([4, 1]), torch.tensor([5]))]
    rest = torch.tensor([3, 0, 2])
    found = Answers.together([*parts, Answers.of(scores[rest], labels[rest], rest)], 3)
    for name in ("index_n", "labels_n", "predicted_n", "probability_n", "of_label_n"):
        assert torch.equal(getattr(found, name), getattr(whole, name))


def test_no_parts_are_no_answers():
    found = Answers.together([], 4)
    assert (len(found), found.classes) == (0, 4)
    assert answers.confusion(found) == {}
    assert [each.images for each in answers.by_class(found)] == [0, 0, 0, 0]
    assert found.confident_mistakes(5) == found.unsure_hits(5) == []


def test_confusions_are_counted_by_hand():
    found = said([0, 1, 1, 2, NO_ANSWER, 1], [0, 0, 0, 2, 2, 1])
    counts = answers.confusion(found)
    assert counts == {(0, 0): 1, (0, 1): 2, (2, 2): 1, (2, NO_ANSWER): 1, (1, 1): 1}
    assert answers.most_confused(counts, 5) == [Mixup(0, 1, 2), Mixup(2, NO_ANSWER, 1)]
    assert answers.most_confused(counts, 1) == [Mixup(0, 1, 2)]


def test_equally_common_mistakes_stand_by_their_classes():
    counts = {(2, 0): 1, (0, 2): 1, (0, 1): 1, (1, 1): 9, (1, 0): 2}
    pairs = [(each.label, each.predicted) for each in answers.most_confused(counts, 9)]
    assert pairs == [(1, 0), (0, 1), (0, 2), (2, 0)]


def test_a_thousand_classes_make_no_more_counts_than_images():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(1000, (200,), generator=draw)
    found = Answers.of(torch.randn(200, 1000, generator=draw), labels, torch.arange(200))
    counts = answers.confusion(found)
    assert len(counts) <= 200
    assert sum(counts.values()) == 200


def test_classes_are_counted_by_hand():
    found = said([0, 1, 1, 2, NO_ANSWER], [0, 0, 0, 2, 2], classes=4)
    zero, one, two, three = answers.by_class(found)
    assert zero == OfClass(0, images=3, hits=1, answered=1)
    assert one == OfClass(1, images=0, hits=0, answered=2)
    assert two == OfClass(2, images=2, hits=1, answered=1)
    assert three == OfClass(3, images=0, hits=0, answered=0)
    assert zero.wrong == 2
    assert zero.error_percent == pytest.approx(200 / 3)
    assert zero.recall_percent == pytest.approx(100 / 3)
    assert zero.precision_percent == 100.0
    assert one.precision_percent == 0.0


def test_a_class_without_images_has_no_error_and_one_without_answers_no_precision():
    empty = answers.by_class(said([0], [0]))[2]
    assert empty.error_percent is None
    assert empty.interval_percent is None
    assert empty.recall_percent is None
    assert empty.precision_percent is None


def test_the_interval_of_a_class_is_the_published_score_interval():
    # Newcombe 1998, Two-sided confidence intervals for the single proportion, Table I, method 3.
    found = OfClass(0, images=148, hits=148 - 15, answered=0).interval_percent
    assert [round(end / 100, 4) for end in found] == [0.0624, 0.1605]


def test_mistakes_stand_by_their_probability_and_equal_ones_by_their_place():
    found = said([1, 0, 1, 1, 1], [0, 0, 0, 0, 0], [0.6, 0.99, 0.9, 0.6, 0.7])
    assert found.confident_mistakes(9) == [2, 4, 0, 3]
    assert found.confident_mistakes(2) == [2, 4]
    assert found.confident_mistakes(0) == []


def test_what_has_no_probability_is_no_confident_mistake_and_no_unsure_hit():
    found = said([1, NO_ANSWER, 0, 0], [0, 0, 0, 0], [0.4, NAN, NAN, 0.9])
    assert found.confident_mistakes(9) == [0, 1]
    assert found.unsure_hits(9) == [3, 2]


def test_right_answers_stand_by_what_they_lack():
    found = said([0, 0, 1, 0], [0, 0, 0, 0], [0.9, 0.4, 0.1, 0.4])
    assert found.unsure_hits(9) == [1, 3, 0]
    assert found.unsure_hits(1) == [1]
