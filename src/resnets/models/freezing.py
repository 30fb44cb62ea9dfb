"""What of a network stays as it was while the rest is trained."""

from typing import Literal, Protocol

from torch import nn

from resnets.core.errors import ModelError

Frozen = int | Literal["all-but-last"]  # how many stages


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


def frozen_names(names: list[str], stages: Frozen) -> list[str]:
    """Return which of a network's stages are frozen, by their names in the order they run.

    Raises:
        ModelError: There are fewer stages.
    """
    if stages == "all-but-last":
        return names[:-1]
    if not 0 <= stages <= len(names):
        raise ModelError(
            f"transfer.frozen_stages: this network has {len(names)} stages, got {stages}"
        )
    return names[:stages]


def told(stages: Frozen) -> str:
    """Return in words what is frozen; stages other than 0."""
    if stages == "all-but-last":
        return "the stem and all stages but the last"
    return "the stem and the first " + ("stage" if stages == 1 else f"{stages} stages")


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
    names = frozen_names(list(network.stages), stages)
    if not names:
        return
    frozen = [network.stages[name] for name in names]
    stem = getattr(network, "stem", None)
    for part in frozen if stem is None else [stem, *frozen]:
        fix_bn(part)
        part.requires_grad_(False)
