"""The layers the paper speaks of, found in a network."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from resnets.models.network import ResNet


@dataclass(frozen=True, slots=True)
class Conv3x3:
    """A 3x3 convolution and what follows it.

    Args:
        name: Of the convolution, as its weight is named.
        conv: The convolution.
        norm: Its BN, whose output is the layer's response; an nn.Identity in a network without.
    """

    name: str
    conv: nn.Conv2d
    norm: nn.Module


def conv3x3(network: ResNet) -> list[Conv3x3]:
    """Return the 3x3 convolutions in order of depth: the stem's, where it is one, then the blocks'.

    The 7x7 stem, the 1x1 of bottlenecks and shortcuts, and the convolutions of gates are not
    among them.

    Source: He et al. 2015, Fig. 7, which shows these layers.
    """
    found = []
    for place, body in _bodies(network):
        for (name, conv), (_, norm) in itertools.pairwise(body.named_children()):
            if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                found.append(Conv3x3(f"{place}.{name}", conv, norm))
    return found


def _bodies(network: ResNet) -> Iterator[tuple[str, nn.Module]]:
    yield "stem", network.stem
    for name, stage in network.stages.named_children():
        for i, block in stage.named_children():
            yield f"stages.{name}.{i}.body", block.get_submodule("body")
