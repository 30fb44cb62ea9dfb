"""What a classifier answered to each image, and exact counts of where it went wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from resnets.evaluation.metrics import TopK

NO_ANSWER: Final = -1  # what is said of an image with a score that is NaN


@dataclass(frozen=True, slots=True)
class Answers:
    """One answer an image: a few numbers, however many classes there are.

    An answer is right exactly where `count_topk` counts a hit at 1.

    Args:
        classes: How many the classifier knows.
        index_n: int64, which image of its split each is.
        labels_n: int64, in [0, classes).
        predicted_n: int64, the class with the highest score, of equal ones the lowest; `NO_ANSWER`
            where a score is NaN.
        probability_n: float64, the softmax score of that class; NaN where there is none.
        of_label_n: float64, the softmax score of the image's own class; NaN where there is none.
    """

    classes: int
    index_n: Tensor
    labels_n: Tensor
    predicted_n: Tensor
    probability_n: Tensor
    of_label_n: Tensor

    def __len__(self) -> int:
        return len(self.labels_n)

    @property
    def right_n(self) -> Tensor:
        """Whether each answer is right: bool, shape (n,)."""
        return self.predicted_n == self.labels_n

    @staticmethod
    def of(scores_nk: Tensor, labels_n: Tensor, index_n: Tensor) -> "Answers":
        """Return the answers that scores give: logits, or logarithms of softmax scores.

        Args:
            scores_nk: One row an image, on any device.
            labels_n: int64, in [0, k).
            index_n: int64, which image of its split each row is.
        """
        scores, labels = scores_nk.detach().cpu().double(), labels_n.cpu()
        softmax = scores.softmax(1)
        predicted = scores.argmax(1)  # of equal ones the first
        predicted[scores.isnan().any(1)] = NO_ANSWER
        return Answers(
            classes=scores.shape[1],
            index_n=index_n.cpu(),
            labels_n=labels,
            predicted_n=predicted,
            probability_n=softmax.gather(1, predicted.clamp(min=0)[:, None]).squeeze(1),
            of_label_n=softmax.gather(1, labels[:, None]).squeeze(1),
        )

    @staticmethod
    def together(parts: Iterable["Answers"], classes: int) -> "Answers":
        """Return the answers of parts of a split in the order of its images."""
        nothing = torch.empty(0, dtype=torch.int64)
        first = Answers.of(torch.empty(0, classes), nothing, nothing)
        every = [first, *parts]
        index_n = torch.cat([each.index_n for each in every])
        order = index_n.argsort(stable=True)
        return Answers(
            classes=classes,
            index_n=index_n[order],
            labels_n=torch.cat([each.labels_n for each in every])[order],
            predicted_n=torch.cat([each.predicted_n for each in every])[order],
            probability_n=torch.cat([each.probability_n for each in every])[order],
            of_label_n=torch.cat([each.of_label_n for each in every])[order],
        )

    def confident_mistakes(self, top: int) -> list[int]:
        """Return the places of wrong answers, the surest first; those without an answer last."""
        wrong = (~self.right_n).nonzero().flatten()
        sure = self.probability_n[wrong].nan_to_num(nan=-1.0)
        order = sure.argsort(descending=True, stable=True)[:top]
        return wrong[order].tolist()

    def unsure_hits(self, top: int) -> list[int]:
        """Return the places of right answers, the least sure first."""
        right = self.right_n.nonzero().flatten()
        sure = self.probability_n[right].nan_to_num(nan=2.0)
        return right[sure.argsort(stable=True)[:top]].tolist()


Confusion = Mapping[tuple[int, int], int]  # (own class, answer) -> images; only where there are any


def confusion(answers: Answers) -> Confusion:
    """Count the images of each class by what was answered, `NO_ANSWER` included."""
    columns = answers.classes + 1
    cells = answers.labels_n * columns + (answers.predicted_n - NO_ANSWER)
    found, counts = cells.unique(return_counts=True)
    return {
        (cell // columns, cell % columns + NO_ANSWER): count
        for cell, count in zip(found.tolist(), counts.tolist(), strict=True)
    }


@dataclass(frozen=True, slots=True)
class Mixup:
    """How many images of one class were taken for another."""

    label: int
    predicted: int
    images: int


def most_confused(counts: Confusion, top: int) -> list[Mixup]:
    """Return the commonest mistakes, the commonest first; of equal ones the lower classes."""
    wrong = [Mixup(*pair, images) for pair, images in counts.items() if pair[0] != pair[1]]
    return sorted(wrong, key=lambda each: (-each.images, each.label, each.predicted))[:top]


@dataclass(frozen=True, slots=True)
class OfClass:
    """Exact counts of one class.

    Args:
        label: Which.
        images: That are of it.
        hits: Of these, those that were answered rightly.
        answered: Images of any class that were taken for it.
    """

    label: int
    images: int
    hits: int
    answered: int

    @property
    def wrong(self) -> int:
        """Images of the class that were taken for another."""
        return self.images - self.hits

    @property
    def error_percent(self) -> float | None:
        """The share of its images that were taken for another; None where there is no image."""
        return 100 * self.wrong / self.images if self.images else None

    @property
    def interval_percent(self) -> tuple[float, float] | None:
        """The 95 % score interval of that error.

        Source: Wilson 1927, the score interval of a proportion.
        """
        if not self.images:
            return None
        return TopK(self.images, self.hits, self.hits).interval1_percent

    @property
    def precision_percent(self) -> float | None:
        """The share of the answers of this class that were right; None where there were none."""
        return 100 * self.hits / self.answered if self.answered else None

    @property
    def recall_percent(self) -> float | None:
        """The share of its images that were found; None where there is no image."""
        return 100 * self.hits / self.images if self.images else None


def by_class(answers: Answers) -> tuple[OfClass, ...]:
    """Count each class, in the order of the labels."""
    k = answers.classes
    images = answers.labels_n.bincount(minlength=k).tolist()
    hits = answers.labels_n[answers.right_n].bincount(minlength=k).tolist()
    said = answers.predicted_n[answers.predicted_n != NO_ANSWER]
    answered = said.bincount(minlength=k).tolist()
    return tuple(map(OfClass, range(k), images, hits, answered))
