"""How strongly the layers of a network respond."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnets.core.errors import DataError
from resnets.data.batches import Batch
from resnets.evaluation.moments import Moments
from resnets.models import layers
from resnets.models.network import ResNet


@dataclass(frozen=True, slots=True)
class Response:
    """Of one 3x3 layer: the standard deviation over all images, places and channels.

    `layer` is the name of its convolution.
    """

    layer: str
    std: float


def responses(network: ResNet, batches: Iterable[Batch]) -> list[Response]:
    """Return the response of every 3x3 layer, in order of depth.

    A response is what the BN after the convolution puts out: before the nonlinearity, and before
    the addition where the layer is the last of its block. conv1 is the first where it is 3x3, as
    on CIFAR; 1x1 convolutions, projections among them, are not layers of the figure. The paper
    does not say with which statistics BN worked; here it is in evaluation mode.

    Args:
        network: On the batches' device; its mode stays as it is.
        batches: The images, gone through once.

    Returns:
        Values exact over the whole set, whatever the size of the batches: float64 sums.

    Raises:
        DataError: There was no batch.

    Source: He et al. 2015, Fig. 7.
    """
    network = copy.deepcopy(network).eval()  # the hooks and the mode are gone with the copy
    found: dict[str, Moments] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def add(norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            found[name] = found.get(name, Moments()) + Moments.of(output)

        return add

    for layer in layers.conv3x3(network):
        layer.norm.register_forward_hook(watch(layer.name))
    with torch.inference_mode():
        for batch in batches:
            network(batch.images_nchw)
    if not found:
        raise DataError("responses: need at least one batch of images, got none")
    return [Response(name, moments.std) for name, moments in found.items()]
