import pytest
import torch
from torch import nn

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
