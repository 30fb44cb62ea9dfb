"""One object that a detector found in a picture."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object in one picture.

    Args:
        file: The picture.
        class_name: What it is.
        class_index: The same as a number.
        score: Its probability, in [0, 1].
        box_px: Left, top, right, bottom in pixels of the picture, whose top left corner is (0, 0).
    """

    file: str
    class_name: str
    class_index: int
    score: float
    box_px: tuple[float, float, float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets predict --json`."""
        return {
            "file": self.file,
            "class": self.class_name,
            "class_index": self.class_index,
            "score": self.score,
            "box_px": list(self.box_px),
        }

    def __str__(self) -> str:
        left, top, right, bottom = (round(each) for each in self.box_px)
        return (
            f"{self.file}  {self.class_name}  {100 * self.score:.1f} %  "
            f"{left},{top} to {right},{bottom}"
        )
