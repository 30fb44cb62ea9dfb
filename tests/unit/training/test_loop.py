from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from resnets.core.division import UNDIVIDED, divide
from resnets.core.processes import ALONE
from resnets.training import losses
from resnets.training.loop import due, updates
from resnets.training.step import Precision

LAST = 8


@dataclass
class Batch:
    images_nchw: torch.Tensor
    labels_n: torch.Tensor


def batch_of(number, share=None):
    draw = torch.Generator().manual_seed(number)
    images = torch.randn(8, 3, 6, 6, generator=draw).to(memory_format=torch.channels_last)
    return Batch(images, torch.randint(0, 4, (8,), generator=draw))


def rate_of(number):
    return 0.1 / number


class Trainee:
    """A small network with BN, and an optimizer whose momentum is in channels-last memory."""

    def __init__(self, dtype=torch.float32):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.model = nn.Sequential(
                nn.Conv2d(3, 8, 3),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 3),
                nn.Flatten(),
                nn.Linear(32, 4),
            ).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1.0, momentum=0.9, nesterov=True, fused=True
        )
        self.dtype = dtype

    def train(self, first, last, batch_of=batch_of):
        yield from updates(
            self.model,
            losses.classification(0.1),
            batch_of,
            self.optimizer,
            rate_of,
            Precision.of("cpu", self.dtype),
            first=first,
            last=last,
        )

    def state(self):
        return {
            **self.model.state_dict(),
            **{
                f"momentum.{i}": values["momentum_buffer"]
                for i, values in self.optimizer.state_dict()["state"].items()
            },
        }


def same_bits(a, b):
    assert set(a) == set(b)
    return [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stop", [1, 4, LAST - 1])
def test_stopping_and_resuming_changes_no_bit(dtype, stop):
    whole = Trainee(dtype)
    losses_whole = [update.measured["loss"].item() for update in whole.train(1, LAST)]
    before = Trainee(dtype)
    found = [update.measured["loss"].item() for update in before.train(1, stop)]
    after = Trainee(dtype)
    after.model.load_state_dict(deepcopy(before.model.state_dict()))
    after.optimizer.load_state_dict(deepcopy(before.optimizer.state_dict()))
    found += [update.measured["loss"].item() for update in after.train(stop + 1, LAST)]
    assert found == losses_whole
    assert same_bits(after.state(), whole.state())


def test_resuming_without_the_momentum_would_be_noticed():
    whole = Trainee()
    list(whole.train(1, LAST))
    before, after = Trainee(), Trainee()
    list(before.train(1, 4))
    after.model.load_state_dict(deepcopy(before.model.state_dict()))
    list(after.train(5, LAST))
    assert not same_bits(after.state(), whole.state())


def test_closing_the_generator_leaves_the_updates_that_were_done():
    three, stopped = Trainee(), Trainee()
    list(three.train(1, 3))
    running = stopped.train(1, LAST)
    for _ in range(3):
        next(running)
    running.close()
    assert same_bits(stopped.state(), three.state())


def test_evaluating_in_between_changes_nothing():
    undisturbed, disturbed = Trainee(), Trainee()
    expected = [update.measured["loss"].item() for update in undisturbed.train(1, LAST)]
    found = []
    for update in disturbed.train(1, LAST):
        found.append(update.measured["loss"].item())
        disturbed.model.eval()
        with torch.inference_mode():
            disturbed.model(batch_of(1000 + update.number).images_nchw)
    assert found == expected
    assert same_bits(disturbed.state(), undisturbed.state())


def test_an_update_says_its_number_its_rate_and_what_was_measured():
    trainee = Trainee()
    found = list(trainee.train(3, 6))
    assert [update.number for update in found] == [3, 4, 5, 6]
    assert [update.learning_rate for update in found] == [rate_of(n) for n in (3, 4, 5, 6)]
    assert set(found[0].measured) == {"loss", "train_error_percent"}
    assert trainee.model[1].num_batches_tracked.item() == 4


def test_the_rate_of_an_update_is_the_rate_of_every_group():
    trainee = Trainee()
    trainee.optimizer = torch.optim.SGD(
        [{"params": [p], "lr": 7.0} for p in trainee.model.parameters()], lr=5.0
    )
    for update in trainee.train(1, 3):
        rates = {group["lr"] for group in trainee.optimizer.param_groups}
        assert rates == {rate_of(update.number)}


def test_the_batch_of_an_update_is_asked_for_once_and_in_order():
    asked = []

    def asking(number, share):
        asked.append(number)
        return batch_of(number)

    list(Trainee().train(2, 5, asking))
    assert asked == [2, 3, 4, 5]


def test_nothing_happens_when_nothing_is_left_to_do():
    trainee, untouched = Trainee(), Trainee()
    assert list(trainee.train(5, 4)) == []
    assert same_bits(trainee.state(), untouched.state())


def test_due_is_every_so_many_updates_and_always_at_the_end():
    assert [n for n in range(1, 24) if due(n, 5, 23)] == [5, 10, 15, 20, 23]
    assert [n for n in range(1, 21) if due(n, 5, 20)] == [5, 10, 15, 20]
    assert [n for n in range(1, 4) if due(n, 1, 3)] == [1, 2, 3]
    assert [n for n in range(1, 4) if due(n, 100, 3)] == [3]


class Dropper(Trainee):
    """One whose network draws at random."""

    def __init__(self):
        super().__init__()
        self.model.insert(5, nn.Dropout(0.5))

    def train(self, first, last, seed=0, division=UNDIVIDED):
        yield from updates(
            self.model,
            losses.classification(0.1),
            batch_of,
            self.optimizer,
            rate_of,
            Precision.of("cpu", self.dtype),
            first=first,
            last=last,
            seed=seed,
            division=division,
        )


def losses_of(trainee, first, last, **given):
    return [update.measured["loss"].item() for update in trainee.train(first, last, **given)]


def test_what_layers_draw_depends_on_the_seed_and_the_update_and_not_on_what_was_drawn_before():
    whole = losses_of(Dropper(), 1, 6)
    torch.manual_seed(1234)
    stopped = Dropper()
    found = losses_of(stopped, 1, 3)
    torch.rand(17)
    assert found + losses_of(stopped, 4, 6) == whole
    assert losses_of(Dropper(), 1, 6, seed=1) != whole


def test_the_parts_of_a_batch_draw_each_their_own():
    drawn = []

    class Draws(nn.Module):
        def forward(self, x):
            drawn.append(nn.functional.dropout(torch.ones(64)).tolist())
            return x

    trainee = Dropper()
    trainee.model.append(Draws())
    list(trainee.train(1, 2, division=divide(8, 4, ALONE)))
    assert len(drawn) == len({tuple(each) for each in drawn}) == 4


def test_each_share_is_asked_for_once_and_in_order():
    asked = []

    def asking(number, share):
        asked.append((number, share.part))
        return batch_of(number)

    trainee = Trainee()
    division = divide(8, 4, ALONE)
    loss_of, precision = losses.classification(0.1), Precision.of("cpu", torch.float32)
    list(
        updates(
            trainee.model,
            loss_of,
            asking,
            trainee.optimizer,
            rate_of,
            precision,
            first=2,
            last=3,
            division=division,
        )
    )
    assert asked == [(2, 0), (2, 1), (3, 0), (3, 1)]
