"""A new last layer for a trained network: the linear problem on its features, solved."""

import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from resnets.core import hardware, progress
from resnets.core.random import generator
from resnets.data import batches, preprocess
from resnets.data.files import ImageFiles
from resnets.data.preprocess import Preprocess
from resnets.inference import fused
from resnets.models.making import Network

_TOGETHER: Final = {"cpu": 32, "cuda": 256}
_PENALTIES: Final = (1e-2, 1e-1, 1.0, 10.0)  # of which the best on held-out images is taken
_CHECKED_ON: Final = 0.2  # of the images
_STEPS: Final = 100  # of L-BFGS


def features(
    network: Network, files: ImageFiles, wanted: Preprocess, device: torch.device
) -> Tensor:
    """Return what the last layer takes, of every image's central view: float32, (n, channels).

    Computed in what the device computes in fastest, by the network fused.

    Args:
        network: In evaluation mode, on the device; it is left as it is.
        files: The images.
        wanted: Their view; it has a mean for each channel.
        device: Where the network is.

    Raises:
        DataError: An image cannot be read or decoded.
    """
    assert wanted.mean is not None
    mean, std = (
        torch.tensor(each, device=device).view(1, 1, 3) for each in (wanted.mean, wanted.std)
    )
    dtype = hardware.DTYPES[hardware.precision(device).value]  # type: ignore[index]
    ready = copy.copy(fused.fuse(network, dtype))  # fuse may return the network itself
    ready._modules = {**ready._modules, "head": nn.Identity()}
    together = _TOGETHER[device.type]

    def view(index: int) -> np.ndarray:
        return preprocess.central(files.image(index), wanted)

    made = []
    with (
        torch.inference_mode(),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress.reporting("looking at every image", total=len(files), unit="images") as bar,
    ):
        for first in range(0, len(files), together):
            part = range(first, min(first + together, len(files)))
            views = torch.from_numpy(np.stack(list(pool.map(view, part)))).to(device)
            made.append(ready(batches.prepare(views, mean, std)).float().clone())
            bar.advance(len(part))
    return torch.cat(made)


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
