import copy

import pytest
import torch
from torch import nn

from resnets.training.ema import MovingAverage


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)).to(
        memory_format=torch.channels_last
    )


def averaging(model, decay, **given):
    return MovingAverage(model, network(), decay, **given)


def change(model, number):
    """What an update does, told by its number."""
    draw = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=draw))
            else:
                tensor.fill_(number)


def followed(average, model, numbers):
    """Train and average; return the first weight of the model after each update."""
    seen = []
    for number in numbers:
        change(model, number)
        average.update(number)
        seen.append(model[0].weight.detach().clone())
    return seen


def test_the_average_begins_as_a_copy_that_is_no_alias():
    model = network()
    average = averaging(model, 0.9)
    assert torch.equal(average.network[0].weight, model[0].weight)
    before = average.network[0].weight.clone()
    change(model, 1)
    assert torch.equal(average.network[0].weight, before)
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_the_average_is_its_formula():
    model = network()
    average = averaging(model, 0.9)
    expected = model[0].weight.detach().double().clone()
    for weight in followed(average, model, range(1, 6)):
        expected = 0.9 * expected + 0.1 * weight.double()
    torch.testing.assert_close(average.network[0].weight.double(), expected, rtol=1e-6, atol=1e-7)


def test_only_every_so_many_updates_change_it():
    model = network()
    average = averaging(model, 0.5, every_steps=3)
    first = model[0].weight.detach().clone()
    seen = followed(average, model, range(1, 9))
    expected = (first / 2 + seen[2] / 2) / 2 + seen[5] / 2
    torch.testing.assert_close(average.network[0].weight, expected)


def test_until_an_update_it_is_a_copy():
    model = network()
    average = averaging(model, 0.5, copied_steps=3)
    seen = followed(average, model, range(1, 4))
    assert torch.equal(average.network[0].weight, seen[2])
    seen += followed(average, model, range(4, 5))
    torch.testing.assert_close(average.network[0].weight, seen[2] / 2 + seen[3] / 2)


def test_averages_of_bn_are_averaged_and_its_count_is_copied():
    model = network()
    average = averaging(model, 0.5)
    means = [model[1].running_mean.clone()]
    for number in (1, 2):
        change(model, number)
        average.update(number)
        means.append(model[1].running_mean.clone())
    expected = means[0] / 4 + means[1] / 4 + means[2] / 2
    torch.testing.assert_close(average.network[1].running_mean, expected)
    assert average.network[1].num_batches_tracked.item() == 2


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_going_on_from_what_was_saved_gives_the_same_bits(stop):
    model = network()
    average = averaging(model, 0.9, every_steps=2, copied_steps=3)
    followed(average, model, range(1, stop + 1))
    again = copy.deepcopy(model)
    other = averaging(again, 0.9, every_steps=2, copied_steps=3)
    other.restore({name: t.clone().contiguous() for name, t in average.tensors().items()})
    for each, of in ((average, model), (other, again)):
        followed(each, of, range(stop + 1, 10))
    for name, tensor in average.tensors().items():
        assert torch.equal(tensor, other.tensors()[name])
    assert other.network[0].weight.stride() == model[0].weight.stride()


def test_what_is_saved_has_the_names_of_the_models_tensors():
    model = network()
    assert list(averaging(model, 0.9).tensors()) == list(model.state_dict())
