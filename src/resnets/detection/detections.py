"""What a detector says of one image."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one image, the surest first. `of` sorts.

    Args:
        boxes_n4: float32, shape (n, 4): left, top, right, bottom in pixels of the image as it is
            stored, which spans [0, width] x [0, height]: the coordinates of `Objects`.
        scores_n: float32, shape (n,), never rising. A NaN stands last.
        classes_n: int64, shape (n,), from 0: background has no number.
    """

    boxes_n4: Tensor
    scores_n: Tensor
    classes_n: Tensor

    def __len__(self) -> int:
        return len(self.scores_n)

    @staticmethod
    def none() -> "Detections":
        """Return those of an image where nothing was found."""
        return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

    @staticmethod
    def of(boxes_n4: Tensor, scores_n: Tensor, classes_n: Tensor) -> "Detections":
        """Return what was found, sorted and in the processor's memory; ties keep their order.

        Args:
            boxes_n4: Left, top, right, bottom, on any device.
            scores_n: In any order.
            classes_n: Whole numbers from 0.
        """
        scores = scores_n.detach().cpu().float()
        order = (-scores).argsort(stable=True)  # torch puts a NaN behind everything
        return Detections(
            boxes_n4.detach().cpu().float()[order], scores[order], classes_n.cpu().long()[order]
        )

    def surest(self, count: int) -> "Detections":
        """Return the first `count`."""
        return Detections(self.boxes_n4[:count], self.scores_n[:count], self.classes_n[:count])
