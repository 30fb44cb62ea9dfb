import copy

import pytest
import torch
from torch import nn

from resnets.training import decay
from resnets.training.lamb import Lamb


def network(layout=torch.channels_last):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5))
    return made.to(memory_format=layout)


def made(model, rate=0.01, weight_decay=0.1):
    return Lamb(decay.parameter_groups(model, weight_decay, "weights"), lr=rate)


def train(model, optimizer, numbers):
    for number in numbers:
        images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()


def by_hand(weights, gradients, rate, weight_decay, adapted=True):
    """Algorithm 2 in double precision."""
    w = weights.double()
    m = v = torch.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.double()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        u = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-6) + weight_decay * w
        ratio = w.norm() / u.norm() if adapted else 1
        w = w - rate * ratio * u
    return w


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_step_is_the_formula(weight_decay):
    draw = torch.Generator().manual_seed(0)
    weights = torch.randn(4, 3, 3, 3, generator=draw)
    gradients = [torch.randn(4, 3, 3, 3, generator=draw) for _ in range(5)]
    parameter = nn.Parameter(weights.clone())
    optimizer = Lamb([parameter], lr=0.01, weight_decay=weight_decay)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    # Without decay it is Adam's step.
    expected = by_hand(weights, gradients, 0.01, weight_decay, adapted=weight_decay > 0)
    torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_a_decayed_tensor_moves_by_its_norm_times_the_rate():
    for scale in (1e-3, 1.0, 1e3):
        parameter = nn.Parameter(scale * torch.ones(8))
        parameter.grad = torch.linspace(-1, 2, 8)
        Lamb([parameter], lr=0.01, weight_decay=0.1).step()
        moved = (parameter.detach() - scale).norm() / (scale * 8**0.5)
        assert moved.item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(("weight", "gradient"), [(0.0, 1.0), (0.0, 0.0)])
def test_where_a_norm_is_nothing_the_step_is_adams_and_no_nan(weight, gradient):
    parameter = nn.Parameter(torch.full((8,), weight))
    parameter.grad = torch.full((8,), gradient)
    Lamb([parameter], lr=0.01, weight_decay=0.1).step()
    expected = torch.full((8,), weight - 0.01 * gradient)
    torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=0)


def test_parameters_without_a_gradient_stay_and_count_no_step():
    model = network()
    optimizer = made(model)
    before = copy.deepcopy(model)
    model[0].requires_grad_(False)
    train(model, optimizer, range(2))
    assert torch.equal(model[0].weight, before[0].weight)
    assert not torch.equal(model[3].weight, before[3].weight)
    model[0].requires_grad_(True)
    train(model, optimizer, range(2, 3))
    assert optimizer.state[model[0].weight]["step"].item() == 1
    assert optimizer.state[model[3].weight]["step"].item() == 3


def test_the_state_is_tensors_in_the_memory_format_of_their_parameter():
    model = network()
    optimizer = made(model)
    train(model, optimizer, range(1))
    for state in optimizer.state.values():
        assert all(isinstance(value, torch.Tensor) for value in state.values())
    weight = model[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for key in ("exp_avg", "exp_avg_sq"):
        assert optimizer.state[weight][key].stride() == weight.stride()


def test_going_on_from_a_saved_state_gives_the_same_bits():
    model = network()
    optimizer = made(model)
    train(model, optimizer, range(3))
    again = copy.deepcopy(model)
    other = made(again)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, optimizer, range(3, 6))
    train(again, other, range(3, 6))
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_memory_format_makes_no_difference_but_rounding():
    one, two = network(torch.contiguous_format), network(torch.channels_last)
    for each in (one, two):
        train(each, made(each), range(5))
    # The convolution's bias stands before a BN: its gradient is rounding alone.
    for left, right in ((one[0].weight, two[0].weight), (one[3].weight, two[3].weight)):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)
