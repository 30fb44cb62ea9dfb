import pytest
import torch
from torch import nn

from resnets.core.division import divide
from resnets.core.processes import ALONE
from resnets.training.part_statistics import PartStatistics

IMAGES = 12


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=0.3), nn.Conv2d(4, 2, 1))


def images():
    return torch.randn(IMAGES, 3, 5, 4, generator=torch.Generator().manual_seed(1)) + 1


def pass_through(model, part_images):
    """Do the forward passes of one update; return the statistics of each part's BN input."""
    division = divide(IMAGES, part_images, ALONE)
    statistics = PartStatistics(model, division)
    seen = []
    with torch.no_grad():
        for share in division.shares:
            part = images()[list(share.within(IMAGES))]
            over = model[0](part).transpose(0, 1).flatten(1)
            seen.append((over.mean(1), over.var(1)))
            model(part)
            statistics.take()
    statistics.finish()
    return [torch.stack(each).mean(0) for each in zip(*seen, strict=True)]


@pytest.mark.parametrize("part_images", [2, 3, 6, 12])
def test_an_update_is_one_step_by_the_mean_of_its_parts_statistics(part_images):
    model = network()
    for update in (1, 2):
        before = model[1].running_mean.clone(), model[1].running_var.clone()
        mean, var = pass_through(model, part_images)
        torch.testing.assert_close(model[1].running_mean, 0.7 * before[0] + 0.3 * mean)
        torch.testing.assert_close(model[1].running_var, 0.7 * before[1] + 0.3 * var)
        assert model[1].num_batches_tracked.item() == update


def test_of_one_part_bns_own_step_stands_to_the_last_bit():
    model, plain = network(), network()
    pass_through(model, None)
    with torch.no_grad():
        plain(images())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_bn_that_is_frozen_stays_as_it_is():
    model = network()
    with torch.no_grad():
        model(images())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model[1].eval()
    pass_through(model, 4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(before[name], tensor)


def test_a_part_is_normalised_by_its_own_statistics_whatever_came_before():
    model = network()
    division = divide(IMAGES, 4, ALONE)
    statistics = PartStatistics(model, division)
    for share in division.shares:
        part = images()[list(share.within(IMAGES))]
        with torch.no_grad():
            assert torch.equal(model(part), network()(part))
        statistics.take()
        assert torch.equal(model[1].running_mean, torch.zeros(4))
