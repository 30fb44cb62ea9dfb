"""A new last layer for a trained network: the linear problem on its features, solved."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from resnets.core import hardware, progress
from resnets.core.errors import DataError
from resnets.core.random import generator
from resnets.data import batches
from resnets.data.file_batches import processors
from resnets.inference import fused
from resnets.models.making import Network

_TOGETHER: Final = {"cpu": 32, "cuda": 256}
_PENALTIES: Final = (1e-2, 1e-1, 1.0, 10.0)  # of which the best on held-out images is taken
_CHECKED_ON: Final = 0.2  # of the images
_STEPS: Final = 100  # of L-BFGS


def features(
    network: Network,
    view_of: Callable[[int], np.ndarray | None],
    images: int,
    *,
    mean_hwc: Tensor,
    std: tuple[float, float, float],
) -> tuple[Tensor, Tensor]:
    """Return what the last layer takes, of each image that can be read.

    Computed in what the device computes in fastest, by the network fused.

    Args:
        network: In evaluation mode; it is left as it is.
        view_of: Gives an image by its index as uint8, (height, width, 3), all of one size; None
            where it cannot be read. Called from several threads.
        images: How many there are.
        mean_hwc: What to subtract from RGB in [0, 1].
        std: What each channel is then divided by.

    Returns:
        The features, float32, (n, channels), on the network's device, and the indices of the
        images that they are of, int64, (n,).

    Raises:
        DataError: No image can be read, or `view_of` raises it.
    """
    device = network.head.weight.device
    mean_hwc, std_hwc = mean_hwc.to(device), torch.tensor(std, device=device).view(1, 1, 3)
    dtype = hardware.DTYPES[hardware.precision(device).value]  # type: ignore[index]
    channels = network.spec.in_channels
    ready = copy.copy(fused.fuse(network, dtype))  # fuse may return the network itself
    ready._modules = {**ready._modules, "head": nn.Identity()}
    together = _TOGETHER[device.type]
    made: list[Tensor] = []
    read: list[int] = []
    with (
        torch.inference_mode(),
        ThreadPoolExecutor(processors()) as pool,
        progress.reporting("looking at every image", total=images, unit="images") as bar,
    ):
        for first in range(0, images, together):
            part = range(first, min(first + together, images))
            views = {
                i: v for i, v in zip(part, pool.map(view_of, part), strict=True) if v is not None
            }
            if views:
                views_nhwc = torch.from_numpy(np.stack(list(views.values()))).to(device)
                made.append(
                    ready(batches.prepare(views_nhwc, mean_hwc, std_hwc, channels)).float().clone()
                )
                read += views
            bar.advance(len(part))
    if not made:
        raise DataError(f"none of {images:,} training images can be read; see `resnets data check`")
    return torch.cat(made), torch.tensor(read)


def solve(
    features_nc: Tensor, labels_n: Tensor, classes: int, class_weights: Sequence[float] = ()
) -> tuple[Tensor, Tensor]:
    """Return weight (classes, channels) and bias (classes,) of the best linear classifier.

    The least cross-entropy with a penalty on the squares of the weights, of features
    that are centred and scaled, all by the same.
    The penalty is that of `_PENALTIES` which does best on a fifth of the images when trained on
    the others.

    Args:
        features_nc: Of every image, float32.
        labels_n: int64.
        classes: How many there are; those without images get small scores.
        class_weights: What each class's part of the loss is multiplied by; none is 1 each.
    """
    labels_n = labels_n.to(features_nc.device)
    mean_c = features_nc.mean(0)
    # One scale for all: a channel that hardly varies here must not be blown up, since it may vary
    # once the network learns.
    scale = (features_nc - mean_c).square().mean().sqrt().clamp_min(1e-6)
    x = (features_nc - mean_c) / scale
    weights = (
        torch.tensor(class_weights, device=x.device)
        if class_weights
        else torch.ones(classes, device=x.device)
    )
    order = torch.randperm(len(x), generator=generator(0, "probe")).to(x.device)
    held = max(1, round(_CHECKED_ON * len(x)))
    checked, rest = order[:held], order[held:]
    best = _PENALTIES[-1]
    if len(rest):
        losses = [
            _loss(
                _fit(x[rest], labels_n[rest], weights, penalty),
                x[checked],
                labels_n[checked],
                weights,
            )
            for penalty in _PENALTIES
        ]
        best = _PENALTIES[int(np.argmin(losses))]
    weight_kc, bias_k = _fit(x, labels_n, weights, best)
    weight_kc = weight_kc / scale
    return weight_kc, bias_k - weight_kc @ mean_c


def _fit(x: Tensor, labels_n: Tensor, weights_k: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(len(weights_k), x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(len(weights_k), device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _cross_entropy(x @ weight.T + bias, labels_n, weights_k)
        loss = loss + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def _loss(found: tuple[Tensor, Tensor], x: Tensor, labels_n: Tensor, weights_k: Tensor) -> float:
    weight, bias = found
    return float(_cross_entropy(x @ weight.T + bias, labels_n, weights_k))


def _cross_entropy(logits_nk: Tensor, labels_n: Tensor, weights_k: Tensor) -> Tensor:
    """Return the mean over images, whatever their weights, as `losses.classification` has it."""
    return cross_entropy(logits_nk, labels_n, weights_k, reduction="none").mean()
