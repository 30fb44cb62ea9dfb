"""What training minimises: functions of the model and a batch, as `step.LossOf` wants them."""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from resnets.training.step import LossOf


def classification(label_smoothing: float) -> LossOf:
    """Return the softmax cross-entropy; beside it the batch's error in percent is reported.

    A batch has `images_nchw` (float32) and `labels_n` (int64).

    Args:
        label_smoothing: Share of the target spread over all classes, in [0, 1).
    """

    def loss_of(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        logits: Tensor = model(batch.images_nchw)
        scores = logits.detach()
        # argmax takes a NaN for the largest: a diverged network must be wrong on every image.
        wrong = (scores.argmax(1) != batch.labels_n) | scores.isnan().any(1)
        return {
            "loss": cross_entropy(logits.float(), batch.labels_n, label_smoothing=label_smoothing),
            "train_error_percent": 100 * wrong.float().mean(),
        }

    return loss_of
