"""A network in Python's hands: what it was made from, and the checkpoint that it amounts to.

A module has tensors and a spec. How it wants its images, and what its classes are called, is
written on it when it is made from weights, so that it goes on learning as these would.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

import torch
from torch import Tensor, nn

from resnets.core.errors import ModelError
from resnets.data.preprocess import IMAGENET_MEAN, Preprocess
from resnets.inference.checkpoints import Checkpoint
from resnets.models import zoo
from resnets.models.making import Network
from resnets.models.spec import ModelSpec
from resnets.recipes import codec

_ORIGIN: Final = "origin"  # of a module, where `remember` puts it


@dataclass(frozen=True, slots=True)
class Origin:
    """What a module's tensors do not tell.

    Args:
        preprocess: How it wants its images.
        mean_hwc: See `Checkpoint`.
        classes: What its classes are called; None where that is not known.
    """

    preprocess: Preprocess
    mean_hwc: Tensor
    classes: tuple[str, ...] | None


def remember(network: Network, found: Checkpoint) -> None:
    """Write on a network which weights it was made from; where its classes are other ones, not."""
    same = network.spec.classes == found.spec.classes
    classes = found.classes if same else None
    vars(network)[_ORIGIN] = Origin(found.preprocess, found.mean_hwc, classes)


def is_ours(network: object) -> TypeGuard[Network]:
    """Tell whether an object is a network of this package, and not wrapped in anything."""
    return isinstance(network, Network)


def check(network: object) -> None:
    """Refuse what is no network of this package.

    Raises:
        ModelError: It is none; the message says how others come in.
    """
    if not is_ours(network):
        kind = type(network)
        raise ModelError(
            "model: takes a name of `resnets list models`, or a network that resnets.model made, "
            f"got {kind.__module__}.{kind.__qualname__}; another library's weights come in by "
            "`resnets weights convert FILE --to OUT` and weights=OUT"
        )


def is_new(network: Network) -> bool:
    """Tell whether nothing was ever trained: it has BN, and no average has moved."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    means = [layer.running_mean for layer in layers if layer.running_mean is not None]
    return bool(means) and not any(bool(mean.any()) for mean in means)


def checkpoint(network: Network) -> Checkpoint:
    """Return a copy of a network as a checkpoint, in the processor's memory.

    Of one that was not made from weights nobody knows how it wants its images: as torchvision's
    networks do, of the size that its paper gives it.

    Raises:
        CheckpointError: Its layers are no longer those of its spec, as in one that was fused.
    """
    origin = vars(network).get(_ORIGIN)
    if not isinstance(origin, Origin):
        origin = _unknown(network.spec)
    named = origin.classes is not None and len(origin.classes) == network.spec.classes
    classes = origin.classes if named else tuple(map(str, range(network.spec.classes)))
    assert classes is not None
    about: dict[str, Any] = {
        "kind": "classifier",
        "name": zoo.name_of(network.spec),
        "model": codec.model_to_tree(network.spec),
        "recipe": None,
        "update": 0,
        "classes": list(classes),
        "preprocessing": codec.preprocess_to_tree(origin.preprocess),
    }
    made = Checkpoint(
        path=Path("model"),
        about=about,
        spec=network.spec,
        preprocess=origin.preprocess,
        mean_hwc=origin.mean_hwc,
        recipe=None,
        model={name: _copy(tensor) for name, tensor in network.state_dict().items()},
        optimizer={},
    )
    made.network()  # refuses tensors that do not fit
    return made


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().cpu().clone()
    return copy.float() if copy.is_floating_point() else copy


def _unknown(spec: ModelSpec) -> Origin:
    side = spec.image_px
    view = Preprocess(resize_px=round(side * 8 / 7), crop_px=side)
    return Origin(view, torch.tensor(IMAGENET_MEAN).view(1, 1, 3), None)
