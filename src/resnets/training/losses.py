"""What training minimises: functions of the model and a batch, as `step.LossOf` wants them."""

from collections.abc import Callable
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from resnets.data import mixing
from resnets.training.step import LossOf

AUXILIARY_WEIGHT: Final = 0.3  # Szegedy et al. 2014, sec. 5
PRESENT_ABOVE: Final = 0.2  # of an image's share; what timm's commands for A2 name

# Logits (n, classes), float32; labels (n,); a mix or None -> the loss, a scalar.
_Criterion = Callable[[Tensor, Tensor, Any], Tensor]


def classification(
    label_smoothing: float,
    kind: Literal["cross-entropy", "bce"] = "cross-entropy",
    class_weights: Tensor | None = None,
) -> LossOf:
    """Return the loss of a classifier; beside it the batch's error in percent is reported.

    A batch has `images_nchw` (float32) and `labels_n` (int64), and perhaps `mix`: None, or what
    each image was mixed with, its `partner_labels_n` (int64) and the `share` of the own label (in
    [0, 1], a number for all images or a tensor of one for each). The error is that of the own
    labels, so of mixed images it says little.

    "cross-entropy" is that of the softmax; the target of a mixed image is divided between its two
    labels. "bce" asks of every class whether the image shows it: a class is present whose share is
    above 0.2, and the loss is the mean over images and classes.

    The model gives logits (n, classes), or a pair of those and a tuple of its auxiliary
    classifiers' logits. Then the auxiliary losses are added with weight 0.3, and the loss without
    them is reported as `main_loss`.

    Args:
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        kind: Which loss.
        class_weights: What each class's part of the loss is multiplied by, (classes,), on the
            device; None is 1 for each. The mean is over the images, whatever their weights, so
            that the parts of a batch add up.

    Source: Szegedy et al. 2014, sec. 5, for the auxiliary classifiers; Wightman et al. 2021,
        https://arxiv.org/abs/2110.00476, for the binary cross-entropy on mixed images.
    Deviation: smoothing comes after the threshold. timm's comes before, which undoes it.
    """
    criterion = (_cross_entropy if kind == "cross-entropy" else _binary_cross_entropy)(
        label_smoothing, class_weights
    )

    def loss_of(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        output = model(batch.images_nchw)
        logits: Tensor
        logits, auxiliary = output if isinstance(output, tuple) else (output, ())
        scores = logits.detach()
        # argmax takes a NaN for the largest: a diverged network must be wrong on every image.
        wrong = (scores.argmax(1) != batch.labels_n) | scores.isnan().any(1)
        mix = getattr(batch, "mix", None)
        main, *others = (
            criterion(scores_nk.float(), batch.labels_n, mix) for scores_nk in (logits, *auxiliary)
        )
        measured = {"loss": main, "train_error_percent": 100 * wrong.float().mean()}
        if others:
            measured |= {"loss": main + AUXILIARY_WEIGHT * sum(others), "main_loss": main}
        return measured

    return loss_of


def _cross_entropy(label_smoothing: float, class_weights: Tensor | None) -> _Criterion:
    def of_each(scores_nk: Tensor, labels_n: Tensor) -> Tensor:
        return cross_entropy(
            scores_nk, labels_n, class_weights, label_smoothing=label_smoothing, reduction="none"
        )

    def criterion(scores_nk: Tensor, labels_n: Tensor, mix: Any) -> Tensor:
        if mix is None and class_weights is None:
            return cross_entropy(scores_nk, labels_n, label_smoothing=label_smoothing)
        loss_n = of_each(scores_nk, labels_n)
        if mix is not None:  # the loss is linear in the target, so this is that of the soft one
            loss_n = torch.lerp(of_each(scores_nk, mix.partner_labels_n), loss_n, mix.share)
        return loss_n.mean()

    return criterion


def _binary_cross_entropy(label_smoothing: float, class_weights: Tensor | None) -> _Criterion:
    def criterion(scores_nk: Tensor, labels_n: Tensor, mix: Any) -> Tensor:
        classes = scores_nk.shape[1]
        partner_labels_n, share = (
            (labels_n, 1.0) if mix is None else (mix.partner_labels_n, mix.share)
        )
        shares_nk = mixing.soft_targets(labels_n, partner_labels_n, share, classes)
        present_nk = (shares_nk > PRESENT_ABOVE).float()
        smooth_nk = present_nk * (1 - label_smoothing) + label_smoothing / classes
        return binary_cross_entropy_with_logits(scores_nk, smooth_nk, class_weights)

    return criterion
