"""What is wrong with what a data set says of its images: left out or put right, and remembered.

Reading gathers it, training goes on without it, and `resnets data check` shows every case.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# Of an image, which is left out; of a box, which is left out; of a box, which stays.
FlawKind = Literal[
    "missing-image",
    "unannotated",
    "no-number",
    "unknown-category",
    "unlisted-image",
    "unsized",
    "degenerate",
    "outside",
    "clipped",
    "thin",
    "doubled",
]


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong.

    Args:
        kind: What; `findings.KINDS` has the words for it.
        name: The image's, as `AnnotatedFiles.names` has it or as the data names a missing one; the
            annotations' where nothing lists the image.
        why: Which box it is, in pixels of the image.
    """

    kind: FlawKind
    name: str
    why: str = ""


def counted(flaws: Iterable[Flaw]) -> dict[FlawKind, int]:
    """Return how many there are of each kind, by its name."""
    return dict(sorted(Counter(each.kind for each in flaws).items()))
