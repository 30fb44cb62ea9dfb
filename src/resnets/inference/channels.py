"""Weights that were trained on coloured images, in a network whose images have other channels.

One channel is grey: the brightness of the normalised image, as `preprocess.as_channels` makes it. A
grey picture then gives what it gave in three equal channels, to rounding, where no padding is near.

k channels take the weights of red, green and blue in turn, times 3 / k, so that k equal channels
give what three gave. What the channels mean nobody can know, so this is a beginning and no more.
"""

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from resnets.core.errors import ModelError
from resnets.data import preprocess
from resnets.inference.checkpoints import Checkpoint
from resnets.models import zoo
from resnets.models.spec import COLOURS

_FIRST: Final = {"resnet": "stem.conv1.weight", "vgg": "stages.conv1_x.conv1.weight"}
# What takes in a constant in the input, and with which sign.
_CONSTANT: Final = {
    "resnet": ("stem.bn1.running_mean", -1),
    "vgg": ("stages.conv1_x.conv1.bias", 1),
}


def tensors(found: Checkpoint, in_channels: int) -> Mapping[str, Tensor]:
    """Return a network's tensors for images of so many channels.

    Args:
        found: The weights, and how they want their images.
        in_channels: Of the network that they are for, of the same kind.

    Raises:
        ModelError: The weights are of images that are not coloured.
    """
    if found.spec.in_channels == in_channels:
        return found.model
    if found.spec.in_channels != COLOURS:
        raise ModelError(
            f"{found.path}: weights of {zoo.name_of(found.spec)} for images of "
            f"{found.spec.in_channels} channels, not of {in_channels}; set model.in_channels to "
            f"{found.spec.in_channels}, or name weights for {COLOURS}, which can be turned into any"
        )
    weight = found.model[_FIRST[found.spec.kind]]
    made = dict(found.model)
    if in_channels != 1:
        turn = torch.arange(in_channels) % COLOURS
        made[_FIRST[found.spec.kind]] = weight[:, turn] * (COLOURS / in_channels)
        return made
    mean_c, std_c = found.mean_hwc.mean((0, 1)), found.std_hwc.mean((0, 1))
    mean, std = preprocess.grey(mean_c, std_c)
    each = (weight / std_c[:, None, None]).sum((2, 3))  # (n, 3): an image of one colour
    name, sign = _CONSTANT[found.spec.kind]
    made[_FIRST[found.spec.kind]] = std * (weight / std_c[:, None, None]).sum(1, keepdim=True)
    made[name] = made[name] + sign * (each * (mean - mean_c)).sum(1)
    return made
