"""Boxes: what must hold for any of them, and suppression against its definition."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data.scenes import flipped
from resnets.detection import boxes, nms, regions
from scenes import objects

quick = settings(deadline=None, max_examples=80)
# Of whole numbers there are ties; of others there is rounding.
places = st.one_of(st.integers(-30, 30), st.floats(-1000, 1000, width=32))
sides = st.one_of(st.integers(1, 30), st.floats(0.25, 1000, width=32))


def box(place, side):
    return st.tuples(place, place, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])


def tensors(of, most=24):
    return st.lists(of, max_size=most).map(lambda rows: torch.tensor(rows).float().view(-1, 4))


many = tensors(box(places, sides))
flat = tensors(box(places, st.one_of(st.just(0), sides)))
scores = st.one_of(st.integers(0, 4), st.floats(-5, 5, width=32))
thresholds = st.one_of(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]), st.floats(0, 1))


@quick
@given(flat, flat)
def test_iou_is_symmetric_and_from_0_to_1_and_never_above_coverage(a, b):
    found = boxes.iou(a, b)
    assert found.shape == (len(a), len(b))
    assert torch.equal(found, boxes.iou(b, a).t())
    assert ((found >= 0) & (found <= 1)).all()
    covered = boxes.coverage(a, b)
    assert ((covered >= found) & (covered <= 1)).all()


@quick
@given(many)
def test_a_box_overlaps_itself_wholly(a):
    assert boxes.iou(a, a).diagonal().eq(1).all()


@quick
@given(many, many, st.tuples(*[st.floats(0.05, 2)] * 4))
def test_decoding_undoes_encoding(a, b, stds):
    n = min(len(a), len(b))
    targets, references = a[:n].double(), b[:n].double()
    # Nothing is encoded that the clamp of decoding would cut.
    growth = (targets[:, 2:] - targets[:, :2]) / (references[:, 2:] - references[:, :2])
    within = (growth.log() < boxes.LARGEST_LOG).all(1)
    targets, references = targets[within], references[within]
    found = boxes.decode(boxes.encode(targets, references, stds), references, stds)
    torch.testing.assert_close(found, targets, rtol=0, atol=1e-8)


@quick
@given(tensors(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 4)), many)
def test_whatever_is_decoded_is_finite_and_clips_into_the_image(deltas, references):
    n = min(len(deltas), len(references))
    found = boxes.decode(deltas[:n], references[:n])
    assert found.isfinite().all()
    assert (found[:, 2:] >= found[:, :2]).all()
    clipped = boxes.clip(found, height=60, width=100)
    assert boxes.within(clipped, height=60, width=100).all()
    assert torch.equal(boxes.clip(clipped, 60, 100), clipped)


@quick
@given(tensors(box(st.integers(-30, 30), st.integers(0, 40))), st.integers(1, 100))
def test_flipping_twice_is_nothing_and_keeps_overlaps(a, width):
    once = flipped(objects(*((*each, 0) for each in a.tolist())), width)
    assert torch.equal(flipped(once, width).boxes_n4, a.float())
    a, flipped_n4 = a.float(), once.boxes_n4
    assert torch.equal(boxes.iou(flipped_n4, flipped_n4), boxes.iou(a, a))


def greedily(boxes_n4, scores_n, threshold):
    order = sorted(range(len(scores_n)), key=lambda i: (-scores_n[i].item(), i))
    kept = []
    for i in order:
        overlaps = (boxes.iou(boxes_n4[i : i + 1], boxes_n4[j : j + 1]).item() for j in kept)
        if all(not overlap > threshold for overlap in overlaps):
            kept.append(i)
    return kept


def scored(most=24):
    rows = st.tuples(box(places, sides), scores, st.integers(0, 3))
    return st.lists(rows, max_size=most).map(
        lambda rows: (
            torch.tensor([row[0] for row in rows]).float().view(-1, 4),
            torch.tensor([row[1] for row in rows]).float(),
            torch.tensor([row[2] for row in rows], dtype=torch.int64),
        )
    )


@quick
@given(scored(), thresholds, st.one_of(st.none(), st.integers(0, 30)))
def test_suppression_is_the_greedy_definition_ties_included(rows, threshold, most):
    given_n4, scores_n, classes_n = rows
    expected = greedily(given_n4, scores_n, threshold)
    assert nms.nms(given_n4, scores_n, threshold, most).tolist() == expected[:most]
    by_class = nms.nms_by_class(given_n4, scores_n, classes_n, threshold, most).tolist()
    each = []
    for number in range(4):
        own = (classes_n == number).nonzero().squeeze(1)
        each += own[greedily(given_n4[own], scores_n[own], threshold)].tolist()
    assert by_class == sorted(each, key=lambda i: (-scores_n[i].item(), i))[:most]


@quick
@given(scored(), thresholds, st.integers(0, 99))
def test_the_order_in_which_boxes_come_does_not_matter_where_scores_differ(rows, threshold, seed):
    given_n4, scores_n, _ = rows
    different = {score: i for i, score in enumerate(scores_n.tolist())}
    one_of_each = torch.tensor([*different.values()], dtype=torch.int64)
    given_n4, scores_n = given_n4[one_of_each], scores_n[one_of_each]
    order = torch.randperm(len(scores_n), generator=torch.Generator().manual_seed(seed))
    found = nms.nms(given_n4[order], scores_n[order], threshold)
    assert torch.equal(order[found], nms.nms(given_n4, scores_n, threshold))


@quick
@given(
    tensors(box(places, st.one_of(st.just(0), sides)), most=6),
    st.integers(1, 5),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_a_pooled_value_is_one_of_the_map_or_0_and_pooling_keeps_order(a, side, height, width):
    maps = torch.arange(1.0, 1 + height * width).view(1, 1, height, width)
    images = torch.zeros(len(a), dtype=torch.int64)
    found = regions.pool(maps, a, images, side=side, stride=16)
    assert torch.isin(found, torch.cat((torch.zeros(1), maps.flatten()))).all()
    # Of a map that grows in both directions so do bins, but for those outside it, which are 0.
    down, across = found[:, :, 1:] - found[:, :, :-1], found[..., 1:] - found[..., :-1]
    assert ((down >= 0) | (found[:, :, 1:] == 0)).all()
    assert ((across >= 0) | (found[..., 1:] == 0)).all()
    doubled = regions.pool(2 * maps, a, images, side=side, stride=16)
    assert torch.equal(doubled, 2 * found)
