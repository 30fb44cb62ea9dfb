"""BN's true averages over training data, in the place of its moving averages."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnets.core.division import UNDIVIDED, Division
from resnets.core.errors import DataError


def replace_moving_averages(
    model: nn.Module, images_nchw: Iterable[Tensor], division: Division = UNDIVIDED
) -> int:
    """Give every BN the mean and the variance of its inputs over whole batches of training data.

    The network runs as while training, each BN normalising by its own batch; what it then keeps is
    the mean over the batches of their means, and of their unbiased variances. Nothing else
    changes. The model is left in evaluation mode.

    Args:
        model: A network with BN layers.
        images_nchw: Batches of one size, ready for the network.
        division: Who averages, each over as many batches, or shares of batches.

    Returns:
        How many batches there were in this process.

    Raises:
        DataError: There was none; the model is as it was.

    Source: He et al. 2015, sec. 3.4, whose released models hold such averages.
    """
    batches = 0
    with _accumulating(model), torch.no_grad():
        for images in images_nchw:
            model(images)
            batches += 1
        if not batches:
            raise DataError("true averages: need at least one whole batch of images, got none")
        _average(model, division)
    return batches


def _average(model: nn.Module, division: Division) -> None:
    """Make the averages of every process the mean of all of them, over the batches of all."""
    team = division.team
    averages = [t for layer in _layers(model) for t in (layer.running_mean, layer.running_var)]
    found = [average for average in averages if average is not None]
    team.sum_(found)
    for average in found:
        average /= team.size
    for layer in _layers(model):
        assert layer.num_batches_tracked is not None
        layer.num_batches_tracked *= team.size // division.sharing.size


def _layers(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@contextmanager
def _accumulating(model: nn.Module) -> Iterator[None]:
    """Make every BN average over all batches from now on; on an error all is as it was."""
    layers = _layers(model)
    momentums = [layer.momentum for layer in layers]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a plain average
    for module in model.modules():
        module.training = isinstance(module, nn.BatchNorm2d)  # dropout stays off
    try:
        yield
    except BaseException:
        model.load_state_dict(before)
        raise
    finally:
        for layer, momentum in zip(layers, momentums, strict=True):
            layer.momentum = momentum
        model.eval()
