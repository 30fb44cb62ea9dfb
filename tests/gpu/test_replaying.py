"""Updates replayed from a CUDA graph are those that Python would have launched."""

import pytest
import torch

from resnets.core import hardware
from resnets.data import opening
from resnets.experiment import build, machine
from resnets.recipes import catalogue
from resnets.training.loop import updates
from resnets.training.replaying import Replayed
from resnets.training.step import train_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def built():
    device = hardware.device("cuda")
    data = opening.open_data("cifar10-sample")
    recipe, _ = build.resolved(build.fitted(catalogue.named("cifar10.resnet20"), data), device)
    return build.build(recipe, data, seed=0, device=device)


def trained(parts, step, first, last):
    given = (parts.model, parts.loss_of, parts.batch_of, parts.optimizer)
    return [
        {name: value.item() for name, value in update.measured.items()}
        for update in updates(
            *given, lambda number: 0.1 / number, parts.precision, first=first, last=last, step=step
        )
    ]


def same(one, other):
    theirs = other.model.state_dict()
    return all(torch.equal(t, theirs[name]) for name, t in one.model.state_dict().items())


def test_replayed_updates_have_the_same_bits():
    plain, replayed = built(), built()
    expected = trained(plain, train_step, 1, 12)
    assert trained(replayed, Replayed(), 1, 12) == expected
    assert same(replayed, plain)
    assert len({measured["loss"] for measured in expected}) == 12


def test_what_is_recorded_anew_goes_on_with_the_same_bits():
    whole, stopped = built(), built()
    expected = trained(whole, Replayed(), 1, 16)
    found = trained(stopped, Replayed(), 1, 8) + trained(stopped, Replayed(), 9, 16)
    assert found == expected
    assert same(stopped, whole)


def test_small_images_are_replayed_on_a_gpu():
    assert isinstance(machine.stepping(built()), Replayed)
