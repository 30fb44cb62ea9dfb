"""The solution that a deeper plain network always has: the shallower one, and identity layers."""

import torch
from torch import nn

from resnets.core.errors import ModelError
from resnets.models import zoo
from resnets.models.network import ResNet


def with_identity_layers(network: ResNet, depth: int) -> ResNet:
    """Return a deeper plain network that computes the same, in evaluation mode.

    Every stage begins with the blocks of the given network; those added after them copy their
    input: kernels with a single 1 in the centre, BN of mean 0 and variance 1, and nonlinearities
    that find nothing negative.

    Args:
        network: A plain CIFAR network of 6n+2 layers; it stays as it is.
        depth: 6m+2 layers, with m >= n.

    Returns:
        A network of `zoo.cifar(depth, shortcut="none")` with as many classes, on the same device.
        Its logits are the given network's but for rounding.

    Raises:
        ModelError: The network is not a plain CIFAR network, or `depth` is none of a deeper one.

    Source: He et al. 2015, sec. 1, the solution by construction.
    """
    spec = network.spec
    known = zoo.name_of(spec)
    if not known.startswith("cifar-plain"):
        raise ModelError(
            f"identity layers: need a plain CIFAR network, such as cifar-plain20, got {known}"
        )
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        raise ModelError(f"identity layers: need a {known} with its BN, got one without")
    if depth < spec.depth:
        raise ModelError(f"depth: {known} has {spec.depth} layers and keeps them, got {depth}")
    made = ResNet(zoo.cifar(depth, shortcut="none", classes=spec.classes))
    for name, stage in made.stages.items():
        for block in list(stage.children())[len(list(network.stages[name].children())) :]:
            _make_identity(block)
    made.load_state_dict(network.state_dict(), strict=False)  # by their names: the first blocks
    return made.to(network.head.weight).eval()  # its device and its type


@torch.no_grad()
def _make_identity(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            # BN divides by the root of variance + eps; so that is 1, and the copy exact.
            assert module.running_var is not None
            module.running_var.fill_(1 - module.eps)
