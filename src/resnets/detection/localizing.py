"""Localizing the object of an image once its class is known or guessed: learning it, doing it.

The paper's next stage, an R-CNN on the best 200 boxes of each image (10.6 % where these alone
have 14.4 %), and ensembles are not here.

Source: He et al. 2015, appendix C.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from resnets.core import random
from resnets.core.errors import ModelError
from resnets.core.spec import spec
from resnets.data import batches, preprocess
from resnets.data.annotated import Objects
from resnets.data.preprocess import Preprocess
from resnets.detection import anchors, boxes, learning
from resnets.detection.anchors import AnchorSpec
from resnets.detection.localizer import Localizer, PerClass
from resnets.detection.proposals import Proposed

OVERLAP: Final = 0.5  # IoU from which on an object is found


@spec
class PerClassLearning:
    """How a localizer learns from an image.

    Args:
        anchors: Sampled of an image, half of them with the object where so many have it.

    Source: He et al. 2015, appendix C.
    """

    anchors: int = 8

    def __post_init__(self) -> None:
        if self.anchors < 1:
            raise ModelError(f"learning.anchors: must be positive, got {self.anchors}")


def per_class(
    how: PerClassLearning, cell: AnchorSpec
) -> Callable[[nn.Module, Any], dict[str, Tensor]]:
    """Return the loss of the per-class RPN: of every image the two losses for its own class.

    It takes a `Localizer` and crops with boxes (`data.box_crops.BoxCrops`), and gives the mean over
    these of the sum, "loss", and of each, "proposal_class_loss" and "proposal_box_loss".

    Deviation: our reading. The paper has a binary logistic regression for each class and does not
    say whether an image teaches those of the 999 others that nothing of theirs is there. Here it
    does not: a class's logit ranks the places of an image that is taken for one of the class.

    Deviation: anchors that cross the border of the crop learn too. The paper does not say; of
    those that do not, none is as large as an object that fills the crop.

    Source: He et al. 2015, appendix C.
    """

    def loss_of(model: nn.Module, crops: Any) -> dict[str, Tensor]:
        said: PerClass = model(crops.images_nchw, crops.labels_n[:, None])
        height, width = crops.images_nchw.shape[2:]
        with torch.autocast(said.logits_ngyxa.device.type, enabled=False):
            anchors_m4 = _anchors(said, cell)
            each = [
                learning.of_anchors(
                    Proposed(logits_gyxa.flatten(), deltas_gyxa4.view(-1, 4)),
                    anchors_m4,
                    objects,
                    (width, height),
                    how.anchors,
                    crossing=True,
                    generator=random.generator(key, "anchors"),
                )
                for logits_gyxa, deltas_gyxa4, objects, key in zip(
                    said.logits_ngyxa, said.deltas_ngyxa4, crops.objects, crops.keys, strict=True
                )
            ]
            found = {name: torch.stack([one[name] for one in each]).mean() for name in each[0]}
        return {"loss": torch.stack(list(found.values())).sum(), **found}

    return loss_of


@dataclass(frozen=True, slots=True)
class View:
    """What a localizer sees of an image.

    Args:
        pixels_hwc: uint8.
        corner: Left and top of it in the resized image.
        factors: How much longer the resized image is than the image as stored, across and down.
        flipped: Whether left and right are exchanged.
    """

    pixels_hwc: np.ndarray
    corner: tuple[int, int]
    factors: tuple[float, float]
    flipped: bool = False

    def back(self, boxes_n4: Tensor) -> Tensor:
        """Return boxes in pixels of the image as stored."""
        if self.flipped:
            left, top, right, bottom = boxes_n4.unbind(-1)
            width = self.pixels_hwc.shape[1]
            boxes_n4 = torch.stack((width - right, top, width - left, bottom), -1)
        corner_4, factors_4 = (boxes_n4.new_tensor(2 * two) for two in (self.corner, self.factors))
        return (boxes_n4 + corner_4) / factors_4


def views(image: Image.Image, wanted: Preprocess, sides_px: Sequence[int] = ()) -> list[View]:
    """Return what a localizer sees of an image: the central square, or all of it at some sizes.

    Args:
        image: 8-bit RGB of any size.
        wanted: How the network wants its images.
        sides_px: Shorter sides, at each of which the whole image and its flip are seen. None for
            the central square.
    """
    if not sides_px:
        resized, factors = _resized(image, wanted.resize_px, wanted)
        corner = preprocess.corner(resized.size, wanted.crop_px)
        return [View(preprocess.crop(resized, wanted.crop_px), corner, factors)]
    seen = []
    for side_px in sides_px:
        resized, factors = _resized(image, side_px, wanted)
        pixels_hwc = np.array(resized)
        seen.append(View(pixels_hwc, (0, 0), factors))
        seen.append(View(pixels_hwc[:, ::-1].copy(), (0, 0), factors, flipped=True))
    return seen


def locate(
    model: Localizer,
    seen: Sequence[Sequence[View]],
    wanted: Preprocess,
    classes_ng: Tensor,
    sizes_n2: Sequence[tuple[int, int]],
) -> Tensor:
    """Return for each class of each image where an object of it stands: (n, g, 4), on the CPU.

    That is the box of the anchor that holds one most likely, of all anchors of all views of the
    image, in pixels of it as stored, and inside it.

    Args:
        model: In evaluation mode.
        seen: The views of each image, as many of each. Those of one size are computed together.
        wanted: How it wants its images.
        classes_ng: int64, the classes that are asked for.
        sizes_n2: Width and height of each image as stored.

    Source: He et al. 2015, appendix C.
    """
    flat = [(n, view) for n, of_image in enumerate(seen) for view in of_image]
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, (_, view) in enumerate(flat):
        by_size.setdefault(view.pixels_hwc.shape, []).append(place)
    guesses = classes_ng.shape[1]
    logits_vg, boxes_vg4 = torch.zeros(len(flat), guesses), torch.zeros(len(flat), guesses, 4)
    for places in by_size.values():
        pixels_nhwc = torch.from_numpy(np.stack([flat[v][1].pixels_hwc for v in places]))
        asked_ng = classes_ng[[flat[v][0] for v in places]]
        with torch.inference_mode():
            logits_vg[places], boxes_vg4[places] = _best(model, pixels_nhwc, wanted, asked_ng)
    for place, (n, view) in enumerate(flat):
        width, height = sizes_n2[n]
        boxes_vg4[place] = boxes.clip(view.back(boxes_vg4[place]), height, width)
    logits_nsg = logits_vg.view(len(seen), -1, guesses)
    boxes_nsg4 = boxes_vg4.view(len(seen), -1, guesses, 4)
    best_n1g4 = logits_nsg.argmax(1, keepdim=True)[..., None].expand(-1, -1, -1, 4)
    return boxes_nsg4.gather(1, best_n1g4).squeeze(1)


def place_of_right(classes_g: Tensor, boxes_g4: Tensor, objects: Objects) -> int | None:
    """Return the place of the first guess that is right, from 0; None where none is.

    A guess is right where its class is that of an object which its box overlaps at least by
    `OVERLAP`: to the development kit less is an error, and what is equal is not. A box that is not
    finite overlaps nothing; an ignored object is not looked for.

    Args:
        classes_g: int64; -1 is no guess.
        boxes_g4: In pixels of the image as stored.
        objects: Of the image.

    Source: Russakovsky et al. 2015, and eval_clsloc.m of the development kit of ILSVRC2015.
    """
    there = objects.take(~objects.ignored_n)
    same_gn = classes_g[:, None] == there.classes_n
    right_g = (same_gn & (boxes.iou(boxes_g4, there.boxes_n4) >= OVERLAP)).any(1)
    right = right_g.nonzero().flatten().tolist()
    return right[0] if right else None


def _anchors(said: PerClass, cell: AnchorSpec) -> Tensor:
    rows, columns = said.logits_ngyxa.shape[2:4]
    return anchors.of_map(cell, rows, columns, said.logits_ngyxa.device)


def _resized(
    image: Image.Image, side_px: int, wanted: Preprocess
) -> tuple[Image.Image, tuple[float, float]]:
    resized = preprocess.resize(image, side_px, wanted.interpolation)
    return resized, (resized.width / image.width, resized.height / image.height)


def _best(
    model: Localizer, pixels_nhwc: Tensor, wanted: Preprocess, classes_ng: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the highest logit (n, g) of views of one size, and its box (n, g, 4) in pixels."""
    assert wanted.mean is not None
    device = next(model.parameters()).device
    mean, std = (
        torch.tensor(three, device=device).view(1, 1, 3) for three in (wanted.mean, wanted.std)
    )
    images_nchw = batches.prepare(pixels_nhwc.to(device), mean, std)
    said: PerClass = model(images_nchw, classes_ng.to(device))
    logits_ng, best_ng = said.logits_ngyxa.flatten(2).max(2)
    chosen_ng14 = best_ng[..., None, None].expand(-1, -1, 1, 4)
    deltas_ng4 = said.deltas_ngyxa4.flatten(2, 4).gather(2, chosen_ng14).squeeze(2)
    boxes_ng4 = boxes.decode(deltas_ng4, _anchors(said, model.spec.anchors)[best_ng])
    return logits_ng.cpu(), boxes_ng4.cpu()
