"""What training minimises: functions of the model and a batch, as `step.LossOf` wants them."""

from typing import Any, Final

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from resnets.training.step import LossOf

AUXILIARY_WEIGHT: Final = 0.3  # Szegedy et al. 2014, sec. 5


def classification(label_smoothing: float) -> LossOf:
    """Return the softmax cross-entropy; beside it the batch's error in percent is reported.

    A batch has `images_nchw` (float32) and `labels_n` (int64). The model gives logits (n, classes),
    or a pair of those and a tuple of its auxiliary classifiers' logits. Then the auxiliary losses
    are added with weight 0.3, and the loss without them is reported as `main_loss`.

    Args:
        label_smoothing: Share of the target spread over all classes, in [0, 1).

    Source: Szegedy et al. 2014, sec. 5, for the auxiliary classifiers.
    """

    def loss_of(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        output = model(batch.images_nchw)
        logits: Tensor
        logits, auxiliary = output if isinstance(output, tuple) else (output, ())
        scores = logits.detach()
        # argmax takes a NaN for the largest: a diverged network must be wrong on every image.
        wrong = (scores.argmax(1) != batch.labels_n) | scores.isnan().any(1)
        main, *others = (
            cross_entropy(scores_nk.float(), batch.labels_n, label_smoothing=label_smoothing)
            for scores_nk in (logits, *auxiliary)
        )
        measured = {"loss": main, "train_error_percent": 100 * wrong.float().mean()}
        if others:
            measured |= {"loss": main + AUXILIARY_WEIGHT * sum(others), "main_loss": main}
        return measured

    return loss_of
