import io
import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.core.errors import ImageError
from resnets.data import images
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.evaluation import over_files, views
from resnets.evaluation.metrics import ByClass, TopK
from resnets.evaluation.over_files import Member

WANTED = Preprocess(resize_px=12, crop_px=10)
CLASSES = 7
FIRST = over_files._LEARN_FROM  # images that are read together first, all scored for sure
WINDOW = over_files._IMAGES_TOGETHER["single-crop"]  # read together after those


class Counter:
    """A bar that only counts."""

    def __init__(self):
        self.done = 0

    def advance(self, amount, note=""):
        self.done += amount

    def say(self, line):
        raise AssertionError(line)


def scorer(seed, classes=CLASSES):
    """Scores a view by its four quarters' mean colours, so that every view has its own."""
    weight = torch.randn(12, classes, generator=torch.Generator().manual_seed(seed))

    def scores_of(images_nhwc):
        pooled = torch.nn.functional.adaptive_avg_pool2d(
            images_nhwc.float().permute(0, 3, 1, 2) / 64, 2
        )
        return (pooled.flatten(1) @ weight).log_softmax(1)

    return scores_of


def picture(seed):
    draw = np.random.default_rng(seed)
    blocks = draw.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((16 + seed % 5, 13), Image.Resampling.NEAREST)


def encoded(image):
    made = io.BytesIO()
    image.save(made, "PNG")
    return made.getvalue()


def made_files(count, classes=CLASSES):
    contents = [encoded(picture(seed)) for seed in range(count)]
    labels = torch.arange(count) * 5 % classes
    names = tuple(f"{i}.png" for i in range(count))
    return ImageFiles(names, labels, contents.__getitem__)


FILES = made_files(FIRST + WINDOW + 6)


def first(count):
    return ImageFiles(FILES.names[:count], FILES.labels_n[:count], FILES.read)


def counted(
    files, members, protocol="single-crop", *, classes=CLASSES, decode=images.decode, at_once=16
):
    bar = Counter()
    found = over_files.count(
        files, members, protocol, classes=classes, decode=decode, at_once=at_once, bar=bar
    )
    assert bar.done == len(files)
    return found


def by_hand(files, scorers, protocol="single-crop", classes=CLASSES):
    """One image at a time, one view at a time, softmax averaged in double precision."""
    total = ByClass.of(classes)
    for i in range(len(files)):
        seen = views.of_image(images.decode(files.read(i), files.names[i]), WANTED, protocol)
        each = [
            scores_of(torch.from_numpy(view.copy())[None])[0].double().exp()
            for scores_of in scorers
            for view in seen
        ]
        mean = torch.stack(each).mean(0, keepdim=True)
        total += ByClass.count(mean, files.labels_n[i : i + 1])
    return total


def same(found, expected):
    return torch.equal(found.counts_k3, expected.counts_k3)


# Counts.


@pytest.mark.parametrize(
    "count", [1, FIRST, FIRST + 1, FIRST + WINDOW, FIRST + WINDOW + 1, len(FILES)]
)
def test_every_file_is_counted_once_however_many_there_are(count):
    found = counted(first(count), [Member(scorer(0), WANTED)])
    assert found.by_class.total.images == count
    assert same(found.by_class, by_hand(first(count), [scorer(0)]))
    assert found.close_calls == 0


@pytest.mark.parametrize("protocol", ["single-crop", "ten-crop", "multi-scale"])
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_the_counts_of_every_protocol_are_those_worked_out_view_by_view(protocol, at_once):
    found = counted(first(35), [Member(scorer(0), WANTED)], protocol, at_once=at_once)
    assert same(found.by_class, by_hand(first(35), [scorer(0)], protocol))


def test_no_file_counts_nothing():
    found = counted(first(0), [Member(scorer(0), WANTED)])
    assert found.by_class.total == TopK()


@pytest.mark.parametrize("protocol", ["single-crop", "ten-crop"])
def test_of_several_networks_the_scores_are_averaged_and_not_the_logarithms(protocol):
    # One says the opposite of the other, less surely on most: the two means differ.
    one, other = scorer(0), scorer(1)
    found = counted(FILES, [Member(one, WANTED), Member(other, WANTED)], protocol)
    assert same(found.by_class, by_hand(FILES, [one, other], protocol))
    of_logs = ByClass.of(CLASSES)
    for i in range(len(FILES)):
        seen = views.of_image(images.decode(FILES.read(i), ""), WANTED, protocol)
        stacked = torch.from_numpy(np.stack(seen))
        both = torch.stack([one(stacked).mean(0), other(stacked).mean(0)]).mean(0)
        of_logs += ByClass.count(both[None], FILES.labels_n[i : i + 1])
    assert not same(found.by_class, of_logs)  # so the test can tell them apart


def test_each_network_of_an_ensemble_sees_the_images_as_it_wants_them():
    seen = {}

    def noting(name):
        def scores_of(images_nhwc):
            seen.setdefault(name, set()).add(tuple(images_nhwc.shape[1:]))
            return torch.zeros(len(images_nhwc), CLASSES)

        return scores_of

    small, large = Preprocess(resize_px=8, crop_px=8), Preprocess(resize_px=20, crop_px=18)
    counted(first(3), [Member(noting("small"), small), Member(noting("large"), large)])
    assert seen == {"small": {(8, 8, 3)}, "large": {(18, 18, 3)}}


# Reading.


def test_a_file_that_cannot_be_decoded_is_named():
    def read(index):
        return b"hello" if index == 17 else FILES.read(index)

    files = ImageFiles(FILES.names, FILES.labels_n, read)
    with pytest.raises(ImageError, match=r"^17\.png: not an image"):
        counted(files, [Member(scorer(0), WANTED)])


@pytest.mark.parametrize(("protocol", "window"), [("single-crop", WINDOW), ("ten-crop", 16)])
def test_no_more_images_are_decoded_ahead_than_are_scored_together(protocol, window):
    lock, waiting, most = threading.Lock(), 0, 0

    def decode(content, name):
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        return images.decode(content, name)

    class Scored(Counter):
        def advance(self, amount, note=""):
            nonlocal waiting
            super().advance(amount)
            waiting -= amount

    bar = Scored()
    member = Member(scorer(0), WANTED)
    over_files.count(FILES, [member], protocol, classes=CLASSES, decode=decode, at_once=16, bar=bar)
    assert bar.done == len(FILES)
    assert waiting == 0
    assert most == window


# Rounding.


def noisy(scores_of, size, seed):
    """The same scores with an error of at most `size`, another one for every view and class."""
    draw = torch.Generator().manual_seed(seed)

    def rounded(images_nhwc):
        scores = scores_of(images_nhwc)
        return scores + size * (2 * torch.rand(scores.shape, generator=draw) - 1)

    return rounded


def logging(scores_of, log):
    def noted(images_nhwc):
        log.append(len(images_nhwc))
        return scores_of(images_nhwc)

    return noted


def from_table(table):
    """Scores an image by its number, which is its colour."""

    def scores_of(images_nhwc):
        return table[images_nhwc[:, 0, 0, 0].long()]

    return scores_of


def coloured(labels):
    contents = [encoded(Image.new("RGB", (10, 10), (i, i, i))) for i in range(len(labels))]
    names = tuple(f"{i}.png" for i in range(len(labels)))
    return ImageFiles(names, labels, contents.__getitem__)


NUMBERED = [encoded(Image.new("RGB", (10, 10), (i, i, i))) for i in range(200)]
WHOLE = Preprocess(resize_px=10, crop_px=10)


@settings(max_examples=25)
@given(
    classes=st.sampled_from([1, 2, 3, 5, 6, 7, 50]),
    size=st.floats(0, 3),
    seed=st.integers(0, 10**6),
)
def test_whatever_the_noise_of_the_fast_scores_the_counts_are_those_of_the_sure_ones(
    classes, size, seed
):
    draw = torch.Generator().manual_seed(seed)
    table = torch.randn(200, classes, generator=draw).log_softmax(1)
    labels = torch.randint(classes, (200,), generator=draw)
    files = ImageFiles(tuple(map(str, range(200))), labels, NUMBERED.__getitem__)
    sure = from_table(table)
    found = counted(
        files, [Member(noisy(sure, size, seed), WHOLE, sure)], classes=classes, at_once=100
    )
    assert same(found.by_class, ByClass.count(table, labels))


def test_most_images_are_scored_once_where_rounding_is_small():
    sure, log = scorer(0), []
    member = Member(noisy(sure, 1e-4, 0), WANTED, logging(sure, log))
    found = counted(FILES, [member])
    assert same(found.by_class, by_hand(FILES, [sure]))
    assert FIRST <= found.close_calls == sum(log) < FIRST + 10


def test_without_sure_scores_nothing_is_scored_again_and_the_noise_counts():
    fast, log = noisy(scorer(0), 3.0, 0), []
    found = counted(FILES, [Member(logging(fast, log), WANTED)])
    assert sum(log) == len(FILES)
    assert found.close_calls == 0
    assert not same(found.by_class, by_hand(FILES, [scorer(0)]))


def test_a_network_without_sure_scores_makes_the_ensemble_go_without():
    log = []
    sure = logging(scorer(0), log)
    found = counted(FILES, [Member(scorer(0), WANTED, sure), Member(scorer(1), WANTED)])
    assert found.close_calls == 0
    assert log == []


def test_of_an_ensemble_every_network_scores_a_close_call_again():
    logs = ([], [])
    members = [
        Member(noisy(scorer(i), 0.2, i), WANTED, logging(scorer(i), logs[i])) for i in range(2)
    ]
    found = counted(FILES, members)
    assert sum(logs[0]) == sum(logs[1]) == found.close_calls > FIRST
    assert same(found.by_class, by_hand(FILES, [scorer(0), scorer(1)]))


@pytest.mark.parametrize("count", [1, 5, FIRST - 1, FIRST])
@pytest.mark.parametrize("protocol", ["single-crop", "ten-crop", "multi-scale"])
def test_a_few_images_are_all_scored_for_sure(count, protocol):
    wrong = noisy(scorer(0), 50.0, 0)
    found = counted(first(count), [Member(wrong, WANTED, scorer(0))], protocol)
    assert found.close_calls == count
    assert same(found.by_class, by_hand(first(count), [scorer(0)], protocol))


def test_a_fast_score_that_is_no_number_is_scored_again():
    labels = torch.arange(150) % CLASSES
    files = coloured(labels)
    table = torch.randn(150, CLASSES, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    fast = table.clone()
    fast[120] = math.nan
    fast[130, int(labels[130])] = math.nan
    fast[140, (int(labels[140]) + 1) % CLASSES] = math.nan
    log = []
    found = counted(files, [Member(from_table(fast), WHOLE, logging(from_table(table), log))])
    assert found.close_calls == FIRST + 3
    assert same(found.by_class, ByClass.count(table, labels))


@pytest.mark.parametrize("where", [0, 120])
def test_a_score_that_is_no_number_for_sure_is_never_a_hit(where):
    labels = torch.arange(150) % CLASSES
    table = 9.0 * torch.eye(CLASSES)[labels]  # every image right
    table[where] = math.nan
    member = Member(from_table(table), WHOLE, from_table(table.clone()))
    for members in ([member], [Member(member.scores_of, WHOLE)]):
        total = counted(coloured(labels), members).by_class.total
        assert total == TopK(150, 149, 149)


@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("both", [False, True])
def test_networks_of_one_and_of_two_classes_are_evaluated(classes, both):
    files = ImageFiles(FILES.names, FILES.labels_n % classes, FILES.read)
    sure = scorer(0, classes)
    member = Member(noisy(sure, 0.01, 0) if both else sure, WANTED, sure if both else None)
    found = counted(files, [member], classes=classes)
    assert same(found.by_class, by_hand(files, [sure], classes=classes))
    assert found.by_class.total.hit5 == len(files)


@given(st.integers(0, 10**6), st.integers(2, 8))
@settings(max_examples=30)
def test_what_is_learnt_is_the_error_of_the_distance_to_another_class(seed, classes):
    draw = torch.Generator().manual_seed(seed)
    sure = torch.randn(64, classes, generator=draw)
    error = torch.randn(64, classes, generator=draw)
    labels = torch.randint(classes, (64,), generator=draw)
    rounding = over_files._Rounding(enabled=True)
    rounding.learn(sure + error, sure, labels)
    distances = [
        float(error[i, k] - error[i, label]) ** 2
        for i, label in enumerate(labels.tolist())
        for k in range(classes)
        if k != label
    ]
    found = rounding.squares / rounding.images
    assert found == pytest.approx(sum(distances) / len(distances), rel=1e-4)


def test_every_image_that_is_scored_twice_teaches():
    rounding = over_files._Rounding(enabled=True)
    labels = torch.zeros(FIRST, dtype=torch.int64)
    sure = torch.zeros(FIRST, 3)
    rounding.learn(sure, sure, labels)
    rounding.learn(sure + torch.randn(sure.shape), sure, labels)
    assert rounding.images == 2 * FIRST
    assert rounding.squares > 0
