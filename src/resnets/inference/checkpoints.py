"""Find and open checkpoints of ours: a run's folder or a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, NewerFormatError, ResNetsError
from resnets.models import making
from resnets.models.making import Network
from resnets.recipes import codec
from resnets.recipes.schema import Recipe

FINISHED: Final = "model.safetensors"  # what a finished run leaves: weights and description
STATES: Final = "checkpoints"  # while it runs: the same and the optimizer's state, newest last
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network with everything needed to use it.

    Args:
        path: The file it was read from.
        about: Its description as JSON values: recipe, classes, data, provenance.
        recipe: The recipe it was trained with.
        model: The network's tensors by name.
        mean_hwc: Per-pixel mean to subtract, float32 in [0, 1], (height, width, 3).
        optimizer: The optimizer's tensors by name; empty in a finished run.
    """

    path: Path
    about: dict[str, Any]
    recipe: Recipe
    model: dict[str, Tensor]
    mean_hwc: Tensor
    optimizer: dict[str, Tensor]

    @property
    def update(self) -> int:
        """The update after which it was saved."""
        return int(self.about["update"])

    @property
    def finished(self) -> bool:
        """Whether the run that made it had come to its end."""
        return self.update >= self.recipe.total_steps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the network's tensors' bytes in name order."""
        return artifacts.sha256_of(self.model)

    def network(self) -> Network:
        """Return the network with its weights, ready to predict, in channels-last memory.

        Raises:
            CheckpointError: The tensors are not those of the recipe's network.
        """
        made = making.make(self.recipe.model)
        expected = made.state_dict()
        wrong = sorted(
            {name for name, t in expected.items() if _shape(self.model.get(name)) != _shape(t)}
            | (set(self.model) - set(expected))
        )
        if wrong:
            raise CheckpointError(
                f"{self.path}: its tensors do not fit its recipe's network: {', '.join(wrong[:3])}"
            )
        made.load_state_dict(self.model)
        made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return made.eval()


def newest(where: str | Path) -> Checkpoint:
    """Open a checkpoint file, or the newest good one of a run's folder.

    Raises:
        CheckpointError: There is none, or it is damaged or foreign.
    """
    path = Path(where).expanduser()
    if not path.is_dir():
        return read(path)
    if (path / FINISHED).exists():
        return read(path / FINISHED)
    found = newest_state(path)
    if found is None:
        raise CheckpointError(
            f"{path}: no checkpoint in this folder; expected a run of `resnets train` or a file"
        )
    return found


def newest_state(run: Path) -> Checkpoint | None:
    """Return the newest training state of a run that can be read, or None.

    A damaged one is passed over: that is why two are kept.

    Raises:
        NewerFormatError: One was written by a newer version.
        StorageError: One may not be read.
    """
    for path in sorted((run / STATES).glob("update-*.safetensors"), reverse=True):
        try:
            return read(path)
        except NewerFormatError:
            raise
        except CheckpointError:
            continue
    return None


def read(path: Path) -> Checkpoint:
    """Open one checkpoint file.

    Raises:
        CheckpointError: It is missing, damaged, foreign or made by a newer version.
    """
    tensors, about = artifacts.load_tensors(path)
    try:
        recipe = codec.from_tree(about["recipe"])
        mean_hwc = tensors["preprocess.mean"]
        classes = about["classes"]
        if (
            not isinstance(classes, list)
            or len(classes) != recipe.model.classes
            or not all(isinstance(c, str) for c in classes)
        ):
            raise CheckpointError(f"not {recipe.model.classes} class names")
        if type(about["update"]) is not int:
            raise CheckpointError("no number of updates")
        if mean_hwc.ndim != 3 or mean_hwc.shape[2] != 3:
            raise CheckpointError("no mean image")
    except (KeyError, TypeError, ResNetsError) as err:
        raise CheckpointError(f"{path}: holds no classifier of resnets ({err})") from err
    return Checkpoint(
        path=path,
        about=about,
        recipe=recipe,
        model=_part(tensors, "model."),
        mean_hwc=mean_hwc,
        optimizer=_part(tensors, "optimizer."),
    )


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
