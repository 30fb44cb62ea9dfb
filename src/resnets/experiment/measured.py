"""What every measurement of a checkpoint on a split says beside its own numbers."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from resnets.inference.checkpoints import Saved


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """On what something was measured, and how.

    Args:
        images: How many were looked at.
        split: Which they are.
        protocol: Everything that a reader must know to compare the numbers, in a sentence.
        precision: Of the network's layers.
        images_per_second: Reading included.
        checkpoints: One entry for each network.
        data: The data set's name.
        data_digest: The data set's.
        classes: A row for each class, where they were asked for.
    """

    images: int
    split: str
    protocol: str
    precision: str
    images_per_second: float
    checkpoints: tuple[dict[str, Any], ...]
    data: str
    data_digest: str
    classes: tuple[dict[str, Any], ...] | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, under the keys of `resnets evaluate --json`.

        The numbers come first; those that have a name of their own stand by that.
        """
        told = asdict(self)
        rest = {each.name: told.pop(each.name) for each in fields(Measured)}
        if self.classes is None:
            del rest["classes"]
        named = {
            key: value
            for values in told.values()
            if isinstance(values, dict)
            for key, value in values.items()
        }
        own = {key: value for key, value in told.items() if not isinstance(value, dict)}
        return named | own | rest


def unfinished(found: Saved) -> list[str]:
    """Return what a protocol must say of a network whose run has not come to its end, if so."""
    if found.finished:
        return []
    return [f"UNFINISHED: {found.path} saved after update {found.update}"]
