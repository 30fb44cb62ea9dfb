"""The loss of a detector, and that what it says is learnt."""

from dataclasses import replace

import pytest
import torch

import samples
from resnets.core.random import seed_layers
from resnets.data.annotated import AnnotatedFiles
from resnets.data.scenes import SceneBatches
from resnets.detection import detecting, learning
from resnets.detection.learning import Learning
from resnets.detection.scoring import Scoring
from scenes import objects

CPU = torch.device("cpu")
LEARNING = Learning(anchors=64, regions=32)


def scenes(files, scaling, images=2):
    return SceneBatches(
        files, scaling, seed=0, batch_images=images, device=CPU, flip=False, workers=1
    )


def loss(detector, batch, **changes):
    seed_layers(0, 1, 0)
    return learning.joint(replace(LEARNING, **changes))(detector, batch)


def test_the_loss_is_the_sum_of_the_four_and_every_layer_learns_from_it(spec, make, files, scaling):
    detector = make(spec).train()
    told = loss(detector, scenes(files, scaling)(1))
    four = [value for name, value in told.items() if name.endswith("_loss")]
    assert len(four) == 4
    assert told["loss"].item() == pytest.approx(sum(four).item())
    assert all(value > 0 for value in four)
    told["loss"].backward()
    without = [n for n, p in detector.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_loss_of_scenes_is_the_mean_of_that_of_each(spec, make, files, scaling):
    detector, batch = make(spec).train(), scenes(files, scaling)(1)
    # Of all anchors and regions, so that nothing is drawn.
    every = {"anchors": 10**6, "regions": 10**6}
    each = [loss(detector, [scene], **every)["loss"].item() for scene in batch]
    assert loss(detector, batch, **every)["loss"].item() == pytest.approx(sum(each) / 2, rel=1e-5)


def test_at_first_every_class_is_as_likely_and_so_is_an_object(spec, make, files, scaling):
    detector = make(spec).train()
    with torch.no_grad():
        for layer in (detector.scores, detector.proposals.scores):
            layer.weight.zero_()
    told = loss(detector, scenes(files, scaling)(1))
    assert told["region_class_loss"].item() == pytest.approx(torch.log(torch.tensor(3.0)).item())
    assert told["proposal_class_loss"].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_an_image_without_objects_teaches_what_is_background(spec, make, files, scaling):
    empty = AnnotatedFiles(files.names, files.ids, (objects(),) * len(files), files.read)
    told = loss(make(spec).train(), scenes(empty, scaling)(1))
    assert told["proposal_box_loss"] == told["region_box_loss"] == 0
    assert told["region_class_loss"] > 0
    assert told["loss"].isfinite()
    told["loss"].backward()


def test_a_detector_that_has_learnt_nothing_of_use_does_not_stop_training(
    spec, make, files, scaling
):
    detector = make(spec).train()
    with torch.no_grad():
        detector.proposals.deltas.bias.fill_(1e8)  # boxes as large as can be
    assert loss(detector, scenes(files, scaling)(1))["loss"].isfinite()


def test_shapes_are_learnt_by_heart(spec, make, scaling):
    """Loss, assignment, decoding and metric agree: what was seen often is found."""
    files, updates = samples.shapes(4), 200
    detector, batches = make(spec).train(), scenes(files, scaling)
    optimizer = torch.optim.Adam(detector.parameters())
    for number in range(1, updates + 1):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - number / updates)
        optimizer.zero_grad()
        seed_layers(0, number, 0)
        learning.joint(LEARNING)(detector, batches(number))["loss"].backward()
        optimizer.step()
    detector.eval()
    scoring = Scoring(files.objects, 2)
    for index in range(len(files)):
        scoring.add(
            index, detecting.detect([detector], files.image(index), scaling, detecting.Testing())
        )
    assert scoring.scores("voc2010").values["ap50_percent"] > 90
