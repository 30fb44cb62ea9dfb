"""Policies of augmentation: which operations an image goes through, and how far each goes.

What an operation does is in `operations`. A choice is a function of (seed, epoch, index), so that
one image's is the same in whatever batch, process or worker it is made.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch

from resnets.core import random
from resnets.core.errors import DataError
from resnets.core.spec import spec
from resnets.data.operations import Interpolation, Name, Operation

# The levels of torchvision's spaces count from 0 to 30, timm's go from 0 to 10.
_GRADES: Final = 30
_TENTHS: Final = 10
_PLAIN: Final[tuple[Name | None, ...]] = (
    None,  # the identity is one of them
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
_INCREASING: Final[tuple[Name | None, ...]] = (
    "autocontrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize-add",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
)


@spec
class TrivialAugment:
    """One of 14 operations, each as likely, at one of 31 strengths, each as likely.

    Its space is the wide one: shear to 0.99, shift to 32 px, turn to 135 degrees.

    Args:
        interpolation: Of what is sheared, shifted and turned.
        fill_rgb: What comes in from beyond the edges.

    Source: Müller, Hutter 2021, sec. 3, as in torchvision's TrivialAugmentWide.
    """

    kind: Literal["trivial-augment"] = "trivial-augment"
    interpolation: Interpolation = "bilinear"
    fill_rgb: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        _check_fill(self.fill_rgb)


@spec
class RandAugment:
    """A few operations, each drawn anew from a list, all at about the same strength.

    As it stands this is timm's `rand-m7-mstd0.5-inc1`. torchvision's RandAugment is
    `RandAugment(space="plain", magnitude=9, magnitude_std=0, probability=1.0,
    interpolation="bilinear", fill_rgb=(0, 0, 0))`.

    Args:
        space: "increasing" is timm's list of 15 operations, all of which do more at greater
            magnitudes; "plain" is torchvision's 14, the identity among them.
        operations: How many are drawn; the same may come twice.
        magnitude: How strong they are, from 0 to 10; of the plain space, a whole number from 0
            to 30.
        magnitude_std: Standard deviation of a normal number that is added each time, before the
            sum is cut off to the range; 0 in the plain space.
        probability: That an operation, once drawn, is done.
        interpolation: Of what is sheared, shifted and turned. "random" is bilinear or bicubic, each
            as likely.
        fill_rgb: What comes in from beyond the edges; 255 times ImageNet's mean here.

    Source: Cubuk et al. 2020, sec. 3; Wightman et al. 2021, for timm's form.
    """

    kind: Literal["rand-augment"] = "rand-augment"
    space: Literal["increasing", "plain"] = "increasing"
    operations: int = 2
    magnitude: float = 7.0
    magnitude_std: float = 0.5
    probability: float = 0.5
    interpolation: Interpolation | Literal["random"] = "random"
    fill_rgb: tuple[int, int, int] = (124, 116, 104)

    def __post_init__(self) -> None:
        _check_fill(self.fill_rgb)
        if not 1 <= self.operations <= 16:
            raise DataError(f"policy.operations: must be from 1 to 16, got {self.operations}")
        if not 0 <= self.probability <= 1:
            raise DataError(f"policy.probability: must be from 0 to 1, got {self.probability}")
        if not 0 <= self.magnitude_std < math.inf:
            raise DataError(f"policy.magnitude_std: must not be negative, got {self.magnitude_std}")
        self._check_magnitude()

    def _check_magnitude(self) -> None:
        greatest = _GRADES if self.space == "plain" else _TENTHS
        if not 0 <= self.magnitude <= greatest:
            raise DataError(
                f"policy.magnitude: must be from 0 to {greatest} in the space {self.space!r}, got "
                f"{self.magnitude}"
            )
        if self.space == "plain" and (self.magnitude % 1 or self.magnitude_std):
            raise DataError(
                "policy.magnitude: must be a whole number, with magnitude_std 0, in the space "
                f"'plain', got {self.magnitude} and {self.magnitude_std}"
            )


def _check_fill(fill_rgb: tuple[int, int, int]) -> None:
    if not all(0 <= level <= 255 for level in fill_rgb):
        raise DataError(f"policy.fill_rgb: must be three levels from 0 to 255, got {fill_rgb}")


def choose(
    policy: TrivialAugment | RandAugment,
    seed: int,
    epoch: int,
    index_n: np.ndarray,
    *,
    image_px: int,
) -> list[tuple[Operation, ...]]:
    """Return what is done to those images in that epoch: a function of these causes alone.

    Args:
        policy: What to draw from.
        seed: The run's seed.
        epoch: From 0.
        index_n: Non-negative integers, shape (n,); repeated augmentation has one for each view.
        image_px: The side of the images, to which some shifts are relative.

    Returns:
        For each image what `operations.apply` is to do, in order; perhaps nothing.
    """
    draws = policy.operations if isinstance(policy, RandAugment) else 1
    drawn = [_draw(policy, (seed, "policy", epoch, i), index_n, image_px) for i in range(draws)]
    return [tuple(each for each in row if each) for row in zip(*drawn, strict=True)]


def _draw(
    policy: TrivialAugment | RandAugment,
    cause: tuple[int, str, int, int],
    index_n: np.ndarray,
    image_px: int,
) -> list[Operation | None]:
    """Return one operation for each image, None for the identity."""

    def below(what: str, limit: int) -> list[int]:
        drawn: list[int] = random.integers(*cause, what, index_n=index_n, below=limit).tolist()
        return drawn

    names = _INCREASING if _is_increasing(policy) else _PLAIN
    made: list[Operation | None] = []
    for which, level, negative, way in zip(
        below("operation", len(names)),
        _levels(policy, cause, index_n),
        below("sign", 2),
        _interpolations(policy, cause, index_n),
        strict=True,
    ):
        name = names[which]
        if name is None or level is None:
            made.append(None)
            continue
        amount = _amount(policy, name, level, -1 if negative else 1, image_px)
        made.append(Operation(name, amount, way, policy.fill_rgb))
    return made


def _is_increasing(policy: TrivialAugment | RandAugment) -> bool:
    return isinstance(policy, RandAugment) and policy.space == "increasing"


def _levels(
    policy: TrivialAugment | RandAugment, cause: tuple[int, str, int, int], index_n: np.ndarray
) -> list[float | None]:
    """Return how strong each operation is on the scale of its space, None where it isn't done."""
    if isinstance(policy, TrivialAugment):
        return list(random.integers(*cause, "level", index_n=index_n, below=_GRADES + 1).tolist())
    level_n = np.full(len(index_n), float(policy.magnitude))
    if policy.magnitude_std:
        level_n += policy.magnitude_std * random.normals(*cause, "level", index_n=index_n)
        level_n = level_n.clip(0, _TENTHS)
    done_n = random.uniforms(*cause, "done", index_n=index_n) < policy.probability
    return [level if done else None for level, done in zip(level_n.tolist(), done_n, strict=True)]


def _interpolations(
    policy: TrivialAugment | RandAugment, cause: tuple[int, str, int, int], index_n: np.ndarray
) -> list[Interpolation]:
    if policy.interpolation != "random":
        return [policy.interpolation] * len(index_n)
    drawn = random.integers(*cause, "interpolation", index_n=index_n, below=2)
    return ["bicubic" if each else "bilinear" for each in drawn.tolist()]


def _amount(
    policy: TrivialAugment | RandAugment, name: Name, level: float, sign: int, image_px: int
) -> float:
    """Return what the operation takes for a level on the scale of its policy's space."""
    if isinstance(policy, TrivialAugment):
        wide = _Reach(shear=0.99, shift_px=32.0, degrees=135.0, tone=0.99, bits=6)
        return _plain(wide, name, int(level), sign)
    if policy.space == "plain":
        reach = _Reach(shear=0.3, shift_px=150 / 331 * image_px, degrees=30.0, tone=0.9, bits=4)
        return _plain(reach, name, int(level), sign)
    return _increasing(name, level / _TENTHS, sign, image_px)


@dataclass(frozen=True, slots=True)
class _Reach:
    """How far the operations of one of torchvision's spaces go: `bits` is how many are cut off."""

    shear: float
    shift_px: float
    degrees: float
    tone: float
    bits: int


def _plain(reach: _Reach, name: Name, level: int, sign: int) -> float:
    """Return an amount in a space of torchvision's, for a level from 0 to 30."""
    match name:
        case "shear-x" | "shear-y":
            return sign * _graded(reach.shear, level)
        case "translate-x" | "translate-y":
            return sign * int(_graded(reach.shift_px, level))
        case "rotate":
            return sign * _graded(reach.degrees, level)
        case "brightness" | "colour" | "contrast" | "sharpness":
            return 1 + sign * _graded(reach.tone, level)
        case "posterize":
            return 8 - round(level * reach.bits / _GRADES)
        case "solarize":
            return _graded(255.0, _GRADES - level)
    return 0.0


@lru_cache
def _grades(greatest: float) -> list[float]:
    # float32, as torchvision has them: they decide on the last bit of an image.
    return torch.linspace(0, greatest, _GRADES + 1).tolist()


def _graded(greatest: float, level: int) -> float:
    return _grades(greatest)[level]


def _increasing(name: Name, share: float, sign: int, image_px: int) -> float:
    """Return an amount in timm's space, for a level as a share of the greatest."""
    match name:
        case "shear-x" | "shear-y":
            return sign * (share * 0.3)
        case "translate-x" | "translate-y":
            return sign * (share * 0.45) * image_px
        case "rotate":
            return sign * (share * 30)
        case "brightness" | "colour" | "contrast" | "sharpness":
            return max(0.1, 1 + sign * (share * 0.9))
        case "posterize":
            return 4 - int(share * 4)
        case "solarize":
            return 256 - int(share * 256)
        case "solarize-add":
            return int(share * 110)
    return 0.0
