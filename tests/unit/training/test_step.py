import pytest
import torch
from torch import nn

from resnets.core.division import divide
from resnets.core.processes import ALONE
from resnets.training.step import Precision, train_step

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def squared(model, batch):
    images, targets = batch
    # Divided so that float16 holds the gradient times the scaler's first scale, 2 ** 16.
    wrong = (model(images).float() - targets) ** 2 / 64
    return {"loss": wrong.mean(), "seen": targets.sum()}


def one_weight(value=1.0):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


BATCH = [(torch.ones(4, 1), torch.zeros(4, 1))]  # in one part


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_step_is_one_update_of_the_optimizer_in_every_precision(dtype):
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
    done = []
    optimizer.register_step_post_hook(lambda *given: done.append(1))
    precision = Precision.of("cpu", dtype)
    train_step(model, squared, BATCH, optimizer, precision)
    assert len(done) == 1
    # The gradient of w^2 / 64 at 1 is 2 / 64; every number here is exact in every precision.
    assert model.weight.item() == 1 - 16 * 2 / 64
    train_step(model, squared, BATCH, optimizer, precision)
    assert len(done) == 2
    assert model.weight.item() == 0.5 - 16 * 1 / 64  # no gradient is left from the step before


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_weights_stay_float32_and_the_forward_pass_runs_in_the_precision(dtype):
    seen = []

    def loss_of(model, batch):
        made = model(batch[0])
        seen.append(made.dtype)
        return {"loss": made.float().mean()}

    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
    train_step(model, loss_of, BATCH, optimizer, Precision.of("cpu", dtype))
    assert seen == [dtype]
    assert model.weight.dtype == torch.float32


def test_the_precisions_differ_where_numbers_do_not_fit():
    found = []
    for dtype in DTYPES:
        model = one_weight(1.001)  # bfloat16 keeps 8 bits of it
        optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
        train_step(model, squared, BATCH, optimizer, Precision.of("cpu", dtype))
        found.append(model.weight.item())
    assert len(set(found)) == 3


def test_what_was_measured_comes_back_without_its_graph():
    model = one_weight(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
    found = train_step(model, squared, BATCH, optimizer, Precision.of("cpu", torch.float32))
    assert set(found) == {"loss", "seen"}
    assert found["loss"].item() == 9 / 64  # of before the update
    assert not any(value.requires_grad for value in found.values())


def test_a_gradient_that_overflows_float16_is_no_update_and_the_next_is():
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
    precision = Precision.of("cpu", torch.float16)
    scale = precision.scaler.get_scale()
    infinite = [(torch.full((4, 1), float("inf")), torch.zeros(4, 1))]
    train_step(model, squared, infinite, optimizer, precision)
    assert model.weight.item() == 1
    assert precision.scaler.get_scale() < scale
    train_step(model, squared, BATCH, optimizer, precision)
    assert model.weight.item() == 0.5


def test_the_scaler_is_on_in_float16_alone():
    for dtype in DTYPES:
        precision = Precision.of("cpu", dtype)
        assert precision.scaler.is_enabled() == (dtype is torch.float16)
        with precision.autocast():
            assert torch.is_autocast_enabled("cpu") == (dtype is not torch.float32)


def test_nothing_is_clipped_that_is_short_enough_and_what_is_longer_is_shortened():
    for clip_norm, moved in ((None, 0.5), (1.0, 0.5), (1 / 32, 0.5), (1 / 64, 0.25)):
        for dtype in DTYPES:
            model = one_weight()  # its gradient is 1 / 32
            optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
            precision = Precision.of("cpu", dtype)
            train_step(model, squared, BATCH, optimizer, precision, clip_norm=clip_norm)
            assert 1 - model.weight.item() == pytest.approx(moved, rel=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_is_that_of_all_parameters_together_whatever_their_groups(dtype):
    first, second = one_weight(), one_weight()

    def loss_of(model, batch):
        return {"loss": (3 * first(batch) + 4 * second(batch)).float().mean() / 64}

    optimizer = torch.optim.SGD([{"params": first.parameters()}, {"params": second.parameters()}])
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    both = nn.ModuleList([first, second])
    parts = [torch.ones(4, 1)]  # a gradient of (3, 4) / 64, so 5 / 64 long
    train_step(both, loss_of, parts, optimizer, Precision.of("cpu", dtype), clip_norm=1 / 64)
    moved = [1 - each.weight.item() for each in (first, second)]
    assert moved == pytest.approx([0.6 / 64, 0.8 / 64], rel=1e-4)


def test_a_gradient_that_overflows_float16_is_no_update_when_it_is_clipped_either():
    model = one_weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
    precision = Precision.of("cpu", torch.float16)
    infinite = [(torch.full((4, 1), float("inf")), torch.zeros(4, 1))]
    train_step(model, squared, infinite, optimizer, precision, clip_norm=1.0)
    assert model.weight.item() == 1
    train_step(model, squared, BATCH, optimizer, precision, clip_norm=1.0)
    assert model.weight.item() == 0.5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip_norm", [None, 1 / 64])
def test_an_update_in_parts_is_that_of_the_whole_batch(dtype, clip_norm):
    images = torch.arange(8.0)[:, None] / 8
    targets = images.flip(0).clone()
    found = []
    for part_images in (None, 4, 2):
        model = one_weight()
        optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
        division = divide(8, part_images, ALONE)
        asked = []

        def parts(division=division, asked=asked):
            for share in division.shares:
                asked.append(share)
                yield images[list(share.within(8))], targets[list(share.within(8))]

        precision = Precision.of("cpu", dtype)
        measured = train_step(
            model, squared, parts(), optimizer, precision, clip_norm=clip_norm, division=division
        )
        assert len(asked) == division.slices
        found.append((model.weight.item(), measured["loss"].item()))
    assert found[1] == pytest.approx(found[0], rel=1e-3 if dtype is not torch.float32 else 1e-6)
    assert found[2] == pytest.approx(found[0], rel=1e-3 if dtype is not torch.float32 else 1e-6)


def test_a_part_is_asked_for_when_the_one_before_has_been_computed():
    model, order = one_weight(), []

    def loss_of(model, batch):
        order.append("computed")
        return {"loss": model(batch).mean()}

    def parts():
        for _ in range(3):
            order.append("asked")
            yield torch.ones(2, 1)

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    division = divide(6, 2, ALONE)
    precision = Precision.of("cpu", torch.float32)
    train_step(model, loss_of, parts(), optimizer, precision, division=division)
    assert order == ["asked", "computed"] * 3
