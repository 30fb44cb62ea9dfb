"""How signals fare on their way through the layers: activations forward, gradients backward."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resnets.data.batches import Batch
from resnets.evaluation.moments import Moments
from resnets.models import layers
from resnets.models.network import ResNet

# Takes logits (n, classes) and labels (n) and returns the mean over the images.
LossOf = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Signal:
    """At one layer, over all elements of a tensor; inf or NaN where the signal is.

    Args:
        layer: The name of its convolution, or "head".
        output_std: Standard deviation of its output: after BN where there is one, before the
            nonlinearity and before the addition.
        output_gradient_rms: Root mean square of the gradient of the loss to that output. As the
            loss is a mean over images, it is in proportion to 1 / n.
        weight_gradient_rms: Root mean square of the gradient of the loss to the layer's weight.
    """

    layer: str
    output_std: float
    output_gradient_rms: float
    weight_gradient_rms: float


def signals(network: ResNet, batch: Batch, loss_of: LossOf) -> list[Signal]:
    """Return the signals of one update, in order of depth: every 3x3 layer, then the last linear.

    Computed in float32 and in training mode, so BN takes the statistics of the batch. The network
    stays as it is: its mode, its gradients, its averages.

    Args:
        network: With BN or without (`network.without_bn`), on the batch's device.
        batch: Images and labels; those of the first update, to see how training begins.
        loss_of: The loss.

    Source: He et al. 2015, sec. 4.1, which says that with BN neither signal vanishes.
    """
    # The hooks and the mode are gone with the copy, which begins without gradients.
    network = copy.deepcopy(network).float().train().requires_grad_()
    stds: dict[str, float] = {}
    gradients: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(gradient: Tensor) -> None:
            gradients[name] = _rms(gradient)

        def read(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            stds[name] = Moments.of(output).std
            output.register_hook(keep)

        return read

    found = layers.conv3x3(network)
    weights = {layer.name: layer.conv.weight for layer in found} | {"head": network.head.weight}
    for layer in found:
        layer.norm.register_forward_hook(watch(layer.name))
    network.head.register_forward_hook(watch("head"))
    with torch.enable_grad():
        loss_of(network(batch.images_nchw), batch.labels_n).backward()
    return [
        Signal(name, stds[name], gradients[name], _rms(weight.grad))
        for name, weight in weights.items()
    ]


def _rms(x: Tensor | None) -> float:
    assert x is not None
    return x.double().square().mean().sqrt().item()  # float32 squares of small numbers are 0
