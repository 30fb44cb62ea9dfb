import pytest
import torch
from torch import nn

from resnets.core.errors import DataError
from resnets.models import making
from resnets.models.network import he_init
from resnets.models.spec import ResNetSpec, StageSpec, StemSpec
from resnets.training import averages

SPEC = ResNetSpec(
    stem=StemSpec(kernel=3, width=4, stride=1, pool=False),
    block="basic",
    stages=(StageSpec(blocks=1, width=4, stride=1), StageSpec(blocks=1, width=8, stride=2)),
    shortcut="B",
    classes=3,
)


def network():
    made = making.make(SPEC)
    he_init(made, torch.Generator().manual_seed(0))
    for module in made.modules():  # what a run leaves: moving averages that lag behind
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.fill_(5)
            module.running_var.fill_(7)
            module.num_batches_tracked.fill_(64_000)
    return made.train()


def batches(*sizes):
    draw = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 8, 8, generator=draw) + 0.5 for size in sizes]


def norms(made):
    return {name: m for name, m in made.named_modules() if isinstance(m, nn.BatchNorm2d)}


def by_hand(made, given):
    """The mean and the unbiased variance of every BN's input, worked out in double precision.

    Each BN normalises by the batch's own, biased variance; hooks see what comes in.
    """
    made = made.double()
    seen = {name: [] for name in norms(made)}

    def normalise(name):
        def replaced(module, inputs, _):
            (x,) = inputs
            over = x.transpose(0, 1).flatten(1)
            seen[name].append((over.mean(1), over.var(1)))
            mean, var = over.mean(1), over.var(1, unbiased=False)
            y = (x - mean[:, None, None]) / (var[:, None, None] + module.eps).sqrt()
            return y * module.weight[:, None, None] + module.bias[:, None, None]

        return replaced

    hooks = [m.register_forward_hook(normalise(name)) for name, m in norms(made).items()]
    with torch.no_grad():
        for x in given:
            made.eval()(x.double())
    for hook in hooks:
        hook.remove()
    return {
        name: tuple(torch.stack(each).mean(0) for each in zip(*found, strict=True))
        for name, found in seen.items()
    }


@pytest.mark.parametrize("sizes", [(4,), (4, 4, 4), (2, 7, 3)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_bn_gets_the_mean_over_the_batches_of_their_means_and_variances(sizes, layout):
    made = network().to(memory_format=layout)
    given = [x.contiguous(memory_format=layout) for x in batches(*sizes)]
    assert averages.replace_moving_averages(made, iter(given)) == len(sizes)
    expected = by_hand(network(), given)
    assert len(expected) == 6
    for name, module in norms(made).items():
        mean, var = expected[name]
        torch.testing.assert_close(module.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(module.running_var.double(), var, atol=1e-5, rtol=1e-5)
        assert int(module.num_batches_tracked) == len(sizes)


def test_nothing_else_changes_and_the_model_is_ready_to_predict():
    made = network()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    averages.replace_moving_averages(made, batches(4, 4))
    for name, tensor in made.state_dict().items():
        changed = "running_" in name or "num_batches" in name
        assert torch.equal(tensor, before[name]) != changed, name
    assert not any(module.training for module in made.modules())
    assert all(parameter.grad is None for parameter in made.parameters())
    assert all(module.momentum == 0.1 for module in norms(made).values())


def test_the_averages_do_not_depend_on_the_moving_ones_nor_on_the_mode():
    one, other = network(), network().eval()
    for module in norms(other).values():
        module.running_mean.fill_(float("nan"))
    for made in (one, other):
        averages.replace_moving_averages(made, batches(4, 4))
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_a_momentum_of_its_own_is_given_back_to_each_bn():
    made = network()
    momentums = [0.01 * (i + 1) for i in range(6)]
    for module, momentum in zip(norms(made).values(), momentums, strict=True):
        module.momentum = momentum
    averages.replace_moving_averages(made, batches(4))
    assert [module.momentum for module in norms(made).values()] == momentums


def failing(after, error):
    yield from batches(*[4] * after)
    raise error


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt()])
def test_on_an_error_every_number_is_as_it_was(after, error):
    made = network()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.raises(type(error)):
        averages.replace_moving_averages(made, failing(after, error))
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(module.momentum == 0.1 for module in norms(made).values())


def test_no_batch_at_all_is_refused_and_destroys_nothing():
    made = network()
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    with pytest.raises(DataError, match="need at least one whole batch of images, got none"):
        averages.replace_moving_averages(made, [])
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_dropout_stays_off():
    made = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    dull = nn.Sequential(nn.Identity(), *list(made)[1:2], nn.BatchNorm2d(4))
    for each in (made, dull):
        averages.replace_moving_averages(each, batches(4, 4))
    assert torch.equal(made[2].running_mean, dull[2].running_mean)
    assert torch.equal(made[2].running_var, dull[2].running_var)


def test_evaluated_on_its_only_batch_a_network_computes_as_it_did_while_averaging():
    made = network()
    (x,) = batches(64)
    with torch.no_grad():
        while_training = made.train()(x)
    averages.replace_moving_averages(made, [x])
    with torch.no_grad():
        # Unbiased variances, of 64 images of 16 pixels at the least.
        torch.testing.assert_close(made(x), while_training, atol=0.02, rtol=0.02)
