"""What of a network stays as it was while the rest is trained."""

from typing import Literal, Protocol

from torch import nn

from resnets.core.errors import ModelError

Frozen = int | Literal["all-but-last"]


class FixedBatchNorm2d(nn.BatchNorm2d):
    """BN by its averages, while training too; scale and shift are parameters as ever.

    Its tensors have the names of those of `nn.BatchNorm2d`, so weights load both ways.

    Source: He et al. 2015, appendix A, which fixes BN for detection.
    """

    def train(self, mode: bool = True) -> "FixedBatchNorm2d":
        """Stay in evaluation mode, whatever is asked for."""
        return super().train(False)


class Staged(Protocol):
    """What has stages, as every network of the zoo and what is made of them."""

    @property
    def stages(self) -> nn.ModuleDict:
        """In the order they run."""


def fix_bn(network: nn.Module) -> None:
    """Make every BN of a network, or of a part of one, a `FixedBatchNorm2d` of the same tensors."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not isinstance(child, FixedBatchNorm2d):
                fixed = FixedBatchNorm2d(child.num_features, child.eps, child.momentum).eval()
                fixed.to(next(child.parameters()).device)
                fixed.load_state_dict(child.state_dict())
                setattr(module, name, fixed)


def freeze(network: Staged, stages: Frozen) -> None:
    """Let the first stages keep their weights, and all that comes before them.

    Their parameters need no gradient any more and their BN is fixed, so the backward pass ends
    where they do.

    Args:
        network: Any of the zoo, or the backbone of a detector.
        stages: How many of `network.stages`; 0 freezes nothing, not even the stem, "all-but-last"
            as many as there are but one.

    Raises:
        ModelError: The network has fewer stages.
    """
    if stages == "all-but-last":
        stages = len(network.stages) - 1
    if not 0 <= stages <= len(network.stages):
        raise ModelError(
            f"transfer.frozen_stages: this network has {len(network.stages)} stages, got {stages}"
        )
    if stages == 0:
        return
    frozen = [network.stages[name] for name in list(network.stages)[:stages]]
    stem = getattr(network, "stem", None)
    for part in frozen if stem is None else [stem, *frozen]:
        fix_bn(part)
        part.requires_grad_(False)
