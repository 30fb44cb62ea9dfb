"""Evaluate classifiers on image files, by any protocol, one or several of them together."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core.processes import ALONE, Team
from resnets.core.progress import Bar
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.evaluation import views
from resnets.evaluation.answers import Answers
from resnets.evaluation.metrics import ByClass
from resnets.evaluation.views import LogScoresOf, Protocol

# Images read together, then scored together: decoding in the background would take the cores from
# the network in the middle of its parallel loops (docs/lab-log.md).
_IMAGES_TOGETHER = {"single-crop": 192, "ten-crop": 16, "multi-scale": 1}
_LEARN_FROM = 16  # images scored both ways, to see what rounding does to this network
_SIGMAS = 5


@dataclass(frozen=True, slots=True)
class Member:
    """One network of an ensemble, or the only one.

    Args:
        scores_of: Scores views, as fast as may be.
        preprocess: How the network wants its images.
        sure_scores_of: Scores views in float32; None where `scores_of` does, or where its
            rounding is to be accepted.
    """

    scores_of: LogScoresOf
    preprocess: Preprocess
    sure_scores_of: LogScoresOf | None = None


@dataclass(frozen=True, slots=True)
class Counted:
    """Exact counts by class, and of how many images the fast scores did not settle the count.

    `answers` are in the order of the files.
    """

    by_class: ByClass
    close_calls: int
    answers: Answers


def count(
    files: ImageFiles,
    members: Sequence[Member],
    protocol: Protocol,
    *,
    classes: int,
    decode: Callable[[bytes, str], Image.Image],
    at_once: int,
    bar: Bar,
    team: Team = ALONE,
) -> Counted:
    """Return exact counts over every file.

    An image's scores are the mean over its views, then over the members. Where the members have
    sure scores too, the fast ones only count where their rounding cannot change the count: an
    image whose class stands closer to the 1st or the 5th place than `_SIGMAS` times what rounding
    does to such distances, as measured on images from all over the set, is scored again.

    Memory holds the views of a few images at a time, whatever the number of files.

    Args:
        files: What to evaluate on.
        members: The networks.
        protocol: The way of testing.
        classes: How many there are.
        decode: Makes an 8-bit RGB image of a file's bytes and name.
        at_once: Views to score together.
        bar: Told of every image that this process scores.
        team: Who scores: each process its own few images at a time, which are those that one
            process alone would score together.

    Raises:
        ImageError: A file cannot be decoded.

    Source: He et al. 2015, sec. 3.4 and 4.1.
    """
    fast = [member.scores_of for member in members]
    sure = [member.sure_scores_of for member in members if member.sure_scores_of is not None]
    rounding = _Rounding(enabled=len(sure) == len(members))
    counted, close_calls, answers = ByClass.of(classes), 0, []
    for index_n, images in _few_at_a_time(files, members, protocol, decode, team):
        labels_n = files.labels_n[index_n]
        scores = _scores(images, fast, at_once)
        again = rounding.unsure(scores, labels_n)
        if len(again):
            surer = _scores([images[i] for i in again], sure, at_once)
            rounding.learn(scores[again], surer, labels_n[again])
            scores[again] = surer
            close_calls += len(again)
        counted += ByClass.count(scores, labels_n)
        answers.append(Answers.of(scores, labels_n, index_n))
        bar.advance(len(images))
    team.sum_([counted.counts_k3])
    (close_calls,) = team.sum_integers([close_calls])
    return Counted(counted, close_calls, Answers.together(answers, classes))


class _Rounding:
    """What computing fast does to the distance between two log scores, learnt as it goes."""

    def __init__(self, *, enabled: bool) -> None:
        self.enabled = enabled
        self.seen = 0  # images scored twice
        self.images = 0  # of them, those with scores that are numbers
        self.squares = 0.0  # mean over the other classes, summed over images

    def unsure(self, scores_nk: Tensor, labels_n: Tensor) -> list[int]:
        """Return which images to score again; all of them until enough is known."""
        if not self.enabled:
            return []
        if self.seen < _LEARN_FROM or not self.images:
            return list(range(len(labels_n)))
        tolerance = _SIGMAS * math.sqrt(self.squares / self.images)
        own = scores_nk.gather(1, labels_n[:, None])
        others = scores_nk.scatter(1, labels_n[:, None], -math.inf)
        # Of a single class there is no other; its -inf is far from anything.
        best = others.topk(max(1, min(5, scores_nk.shape[1] - 1))).values
        # Not `<`: with NaN nothing is sure.
        close = ~((own - best[:, [0, -1]]).abs() > tolerance).all(1)
        return close.nonzero().flatten().tolist()

    def learn(self, fast_nk: Tensor, sure_nk: Tensor, labels_n: Tensor) -> None:
        """Take note of how far both are apart, where both are numbers."""
        error = fast_nk - sure_nk
        error = error - error.gather(1, labels_n[:, None])
        error = error[error.isfinite().all(1)]
        self.squares += float(error.square().sum()) / max(1, error.shape[1] - 1)
        self.images += len(error)
        self.seen += len(labels_n)


def _scores(
    images: Sequence[Sequence[Sequence[np.ndarray]]],
    scores_of: Sequence[LogScoresOf],
    at_once: int,
) -> Tensor:
    each = [
        views.log_scores([image[m] for image in images], scores, at_once)
        for m, scores in enumerate(scores_of)
    ]
    return views.log_mean(torch.stack(each), dim=0)


def _few_at_a_time(
    files: ImageFiles,
    members: Sequence[Member],
    protocol: Protocol,
    decode: Callable[[bytes, str], Image.Image],
    team: Team,
) -> Iterator[tuple[Tensor, list[list[list[np.ndarray]]]]]:
    """Yield a few images at a time, not in their order: which, and views for each member."""
    wanted = [member.preprocess for member in members]

    def read(index: int) -> list[list[np.ndarray]]:
        image = decode(files.read(index), files.names[index])
        return [views.of_image(image, each, protocol) for each in wanted]

    together = _IMAGES_TOGETHER[protocol]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Those to learn from stand all over the set: a folder may begin with images of one kind.
        learnt_from = range(0, len(files), max(1, len(files) // _LEARN_FROM))[:_LEARN_FROM]
        chosen = set(learnt_from)
        rest = [index for index in range(len(files)) if index not in chosen]
        parts = [*_parts(learnt_from, together), *_parts(rest, together)]
        for part in parts[team.rank :: team.size]:
            yield torch.tensor(part), list(pool.map(read, part))


def _parts(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    for first in range(0, len(indices), size):
        yield list(indices[first : first + size])
