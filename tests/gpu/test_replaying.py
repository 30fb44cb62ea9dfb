"""Updates replayed from a CUDA graph are those that Python would have launched."""

import pytest
import torch

from resnets.core import hardware
from resnets.data import opening
from resnets.experiment import build, machine
from resnets.recipes import catalogue
from resnets.training.loop import updates

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def built():
    device = hardware.device("cuda")
    data = opening.open_data("cifar10-sample")
    recipe, _ = build.resolved(build.fitted(catalogue.named("cifar10.resnet20"), data), device)
    return build.build(recipe, data, seed=0, device=device)


def trained(parts, first, last, *, replayed):
    given = (parts.model, parts.loss_of, parts.batch_of, parts.optimizer)
    return [
        {name: value.item() for name, value in update.measured.items()}
        for update in updates(
            *given,
            lambda number: 0.1 / number,
            parts.precision,
            first=first,
            last=last,
            replayed=replayed,
        )
    ]


def same(one, other):
    theirs = other.model.state_dict()
    return all(torch.equal(t, theirs[name]) for name, t in one.model.state_dict().items())


def test_replayed_updates_have_the_same_bits():
    plain, replayed = built(), built()
    expected = trained(plain, 1, 12, replayed=False)
    assert trained(replayed, 1, 12, replayed=True) == expected
    assert same(replayed, plain)
    assert len({measured["loss"] for measured in expected}) == 12


def test_what_is_recorded_anew_goes_on_with_the_same_bits():
    whole, stopped = built(), built()
    expected = trained(whole, 1, 16, replayed=True)
    found = trained(stopped, 1, 8, replayed=True) + trained(stopped, 9, 16, replayed=True)
    assert found == expected
    assert same(stopped, whole)


def test_small_images_are_replayed_on_a_gpu():
    assert machine.replays(built())
