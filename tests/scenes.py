"""What several tests of detection make: objects and detections from rows of numbers."""

import torch

from resnets.data.annotated import Objects
from resnets.detection.detections import Detections


def objects(*rows):
    """Rows of left, top, right, bottom, label, and perhaps "ignored" or "crowd"."""
    boxes = torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4)
    crowd = [row[5:] == ("crowd",) for row in rows]
    return Objects(
        boxes,
        torch.tensor([row[4] for row in rows], dtype=torch.int64),
        torch.tensor([len(row) > 5 for row in rows], dtype=torch.bool),
        torch.tensor(crowd, dtype=torch.bool),
        (boxes[:, 2:] - boxes[:, :2]).prod(1),
    )


def found(*rows):
    """Rows of left, top, right, bottom, label, score."""
    return Detections.of(
        torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[5] for row in rows], dtype=torch.float32),
        torch.tensor([row[4] for row in rows], dtype=torch.int64),
    )


def as_found(there, score=1.0):
    """Return objects as if a detector had found them all, crowds aside."""
    kept = ~there.crowd_n
    return Detections.of(
        there.boxes_n4[kept], torch.full((int(kept.sum()),), score), there.classes_n[kept]
    )
