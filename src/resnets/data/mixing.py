"""Mixup and CutMix: each image of a part of a batch is mixed with the one before it.

A part is the images whose batch statistics are computed together: what one process is given of a
batch, or one step of gradient accumulation. All images of a part are mixed in the same way. The
partner of an image is the one before it in its part, of the first the last; images come in random
order, so a partner is any other image, as likely.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resnets.core import random
from resnets.core.errors import DataError
from resnets.core.spec import spec


@spec
class Mixing:
    """Mix images, either by averaging them (mixup) or by pasting a part of one (CutMix).

    Args:
        mixup_alpha: Of the beta distribution from which mixup's shares are; 0 turns mixup off.
        cutmix_alpha: The same for CutMix.
        cutmix_share: How many of the parts that are mixed are so by CutMix, when both are on.
        probability: That a part is mixed at all.

    Source: Zhang et al. 2018; Yun et al. 2019, sec. 3.1.
    """

    mixup_alpha: float = 0.2
    cutmix_alpha: float = 1.0
    cutmix_share: float = 0.5
    probability: float = 1.0

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            if not 0 <= getattr(self, name) < math.inf:
                raise DataError(f"mixing.{name}: must not be negative, got {getattr(self, name)}")
        if self.mixup_alpha == self.cutmix_alpha == 0:
            raise DataError("mixing: mixup_alpha and cutmix_alpha must not both be 0")
        for name in ("cutmix_share", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise DataError(f"mixing.{name}: must be from 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Mix:
    """How the images of one part are mixed.

    Args:
        share: Of an image's own label, and in mixup of its own pixels; from 0 to 1.
        box: What CutMix takes from the partner: top, left, bottom, right in pixels, the last two
            excluded. None in mixup.
    """

    share: float
    box: tuple[int, int, int, int] | None


def choose(mixing: Mixing, seed: int, number: int, part: int, *, image_px: int) -> Mix:
    """Return how a part of a batch is mixed: a function of these causes alone.

    The box of CutMix has a centre that may be anywhere and is cut off at the edges; the share is
    what is left of the image.

    Args:
        mixing: What to draw from.
        seed: The run's seed.
        number: The update's, counted from 1.
        part: Which part of its batch, counted from 0.
        image_px: The side of the images.
    """
    cause, index_n = (seed, "mix", number), np.array([part])

    def uniform(what: str) -> float:
        return float(random.uniforms(*cause, what, index_n=index_n)[0])

    if uniform("whether") >= mixing.probability:
        return Mix(share=1.0, box=None)
    cutmix_share = mixing.cutmix_share if mixing.mixup_alpha else 1.0
    by_cutmix = mixing.cutmix_alpha > 0 and uniform("which") < cutmix_share
    alpha = mixing.cutmix_alpha if by_cutmix else mixing.mixup_alpha
    share = float(random.betas(*cause, "share", index_n=index_n, alpha=alpha)[0])
    if not by_cutmix:
        return Mix(share, box=None)
    half = int(0.5 * math.sqrt(1 - share) * image_px)
    middles = [int(uniform(what) * image_px) for what in ("row", "column")]
    top, left = (max(middle - half, 0) for middle in middles)
    bottom, right = (min(middle + half, image_px) for middle in middles)
    share = 1 - (bottom - top) * (right - left) / image_px**2
    return Mix(share, (top, left, bottom, right))


def partners(values: Tensor) -> Tensor:
    """Return for each image of a part what belongs to its partner: pixels or labels, (n, ...)."""
    return values.roll(1, 0)


def mix(images_nchw: Tensor, how: Mix) -> Tensor:
    """Return the images of a part mixed: no randomness here, and nothing in place.

    Args:
        images_nchw: Of one size with `image_px` of `choose`, on any device.
        how: From `choose`.
    """
    if how.share == 1:
        return images_nchw
    if how.box is None:
        return partners(images_nchw).mul_(1 - how.share).add_(images_nchw, alpha=how.share)
    top, left, bottom, right = how.box
    mixed = images_nchw.clone()
    mixed[:, :, top:bottom, left:right] = partners(images_nchw[:, :, top:bottom, left:right])
    return mixed


def soft_targets(
    labels_n: Tensor,
    partner_labels_n: Tensor,
    share: float | Tensor,
    classes: int,
    smoothing: float = 0.0,
) -> Tensor:
    """Return what each image's probabilities should be, once mixed and with smoothed labels.

    Args:
        labels_n: Integers, (n,).
        partner_labels_n: The same from `partners`.
        share: Of the image's own label, one for all or (n,).
        classes: How many there are.
        smoothing: Share of every target that is spread over all classes, in [0, 1).

    Returns:
        float32, (n, classes); rows sum to 1.

    Source: Zhang et al. 2018; Szegedy et al. 2016, sec. 7, for the smoothing.
    """
    own_share = torch.as_tensor(share, dtype=torch.float32, device=labels_n.device)[..., None]
    every = torch.arange(classes, device=labels_n.device)
    own, partner = ((of[:, None] == every).float() for of in (labels_n, partner_labels_n))
    return (1 - smoothing) * (own_share * own + (1 - own_share) * partner) + smoothing / classes
