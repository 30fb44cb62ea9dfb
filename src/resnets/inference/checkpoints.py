"""Find and open checkpoints of ours: a run's folder or a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from resnets.core import artifacts
from resnets.core.errors import CheckpointError, NewerFormatError, ResNetsError
from resnets.data.preprocess import Preprocess
from resnets.data.scenes import Scaling
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.localizer import Localizer
from resnets.detection.spec import FasterRCNNSpec, LocalizerSpec
from resnets.models import making
from resnets.models.making import Network
from resnets.models.spec import ModelSpec
from resnets.recipes import codec
from resnets.recipes.detector import AnyRecipe, DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe

FINISHED: Final = "model.safetensors"  # what a finished run leaves: weights and description
STATES: Final = "checkpoints"  # while it runs: the same and the optimizer's state, newest last
BEGINNING: Final = "beginning.safetensors"  # among them: what a run began with that lies nowhere
MANIFEST: Final = "manifest.json"
MEAN: Final = "preprocess.mean"  # the tensor of the per-pixel mean, where there is one
_MODEL: Final = "model."
_OPTIMIZER: Final = "optimizer."
_TRAINED: Final = "trained."
_BEST: Final = "best."
# What a description calls what it is of, by the kind of model in its recipe.
LOCALIZER: Final = "localizer"
KINDS: Final = {"faster-rcnn": "detector", "localizer": LOCALIZER}
CLASSIFIER: Final = "classifier"  # every other

T = TypeVar("T", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What every checkpoint holds, whatever its task.

    Args:
        path: The file it was read from.
        about: Its description as JSON values: model, classes, recipe or source, provenance.
        mean_hwc: What to subtract from RGB in [0, 1]: float32, (1, 1, 3), or (height, width, 3)
            where it is the per-pixel mean.
        recipe: The recipe it was trained with; None for weights that came from elsewhere.
        model: The network's tensors by name.
        optimizer: The optimizer's tensors by name; empty in a finished run.
        trained: The tensors of the network that is being trained, where `model` is its average.
        best: Those of the best network so far, where a run ends with that.
    """

    path: Path
    about: dict[str, Any]
    mean_hwc: Tensor
    recipe: AnyRecipe | None
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    trained: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the scores."""
        return tuple(self.about["classes"])

    @property
    def update(self) -> int:
        """The update after which it was saved; 0 for weights that came from elsewhere."""
        return int(self.about["update"])

    @property
    def finished(self) -> bool:
        """Whether the run that made it had come to its end."""
        if self.recipe is None or self.about.get("finished") is True:
            return True
        return self.update >= self.recipe.total_steps

    @property
    def weights_sha256(self) -> str:
        """SHA-256 over the network's tensors' bytes in name order."""
        return artifacts.sha256_of(self.model)

    @property
    def named(self) -> dict[str, Tensor]:
        """The networks' and the optimizer's tensors, by the names they have in the file."""
        named = {f"{_MODEL}{name}": tensor for name, tensor in self.model.items()}
        named |= {f"{_OPTIMIZER}{name}": tensor for name, tensor in self.optimizer.items()}
        named |= {f"{_TRAINED}{name}": tensor for name, tensor in self.trained.items()}
        return named | {f"{_BEST}{name}": tensor for name, tensor in self.best.items()}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the file, by the names they have there."""
        return self.named

    def load(self, make: Callable[[], T]) -> T:
        """Return a network that `make` makes, with the weights, ready to predict.

        It is made on the meta device: nothing is drawn at random first, which takes longer than
        reading.

        Raises:
            CheckpointError: The tensors are not those of that network.
        """
        with torch.device("meta"):
            made = make()
        expected = made.state_dict()
        wrong = sorted(
            {name for name, t in expected.items() if _form(self.model.get(name)) != _form(t)}
            | (set(self.model) - set(expected))
        )
        if wrong:
            raise CheckpointError(
                f"{self.path}: its tensors do not fit its network: {', '.join(wrong[:3])}"
            )
        made.load_state_dict({n: t.clone() for n, t in self.model.items()}, assign=True)
        made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return made.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Saved):
    """A classifier with everything needed to use it, beside what every checkpoint holds.

    Args:
        spec: The network.
        preprocess: How it wants its images.
    """

    spec: ModelSpec
    preprocess: Preprocess
    recipe: Recipe | None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the file, by the names they have there."""
        return self.named | ({} if self.preprocess.mean is not None else {MEAN: self.mean_hwc})

    @property
    def std_hwc(self) -> Tensor:
        """What to divide by after the mean is subtracted: float32, (1, 1, 3)."""
        return torch.tensor(self.preprocess.std).view(1, 1, 3)

    def network(self) -> Network:
        """Return the network with its weights, ready to predict, in channels-last memory.

        Raises:
            CheckpointError: The tensors are not those of that network.
        """
        return self.load(lambda: making.make(self.spec))


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorCheckpoint(Saved):
    """A detector with everything needed to use it, beside what every checkpoint holds.

    Args:
        spec: The detector.
        preprocess: How it wants its images.
    """

    spec: FasterRCNNSpec
    preprocess: Scaling
    recipe: DetectorRecipe

    def network(self) -> FasterRCNN:
        """Return the detector with its weights, ready to predict, in channels-last memory.

        Raises:
            CheckpointError: The tensors are not those of that detector.
        """
        return self.load(lambda: FasterRCNN(self.spec))


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalizerCheckpoint(Saved):
    """A localizer with everything needed to use it, beside what every checkpoint holds.

    Args:
        spec: The localizer.
        preprocess: How it wants its images.
    """

    spec: LocalizerSpec
    preprocess: Preprocess
    recipe: LocalizerRecipe

    def network(self) -> Localizer:
        """Return the localizer with its weights, ready to predict, in channels-last memory.

        Raises:
            CheckpointError: The tensors are not those of that localizer.
        """
        return self.load(lambda: Localizer(self.spec))


AnyCheckpoint = Checkpoint | DetectorCheckpoint | LocalizerCheckpoint


def classifier(found: AnyCheckpoint) -> Checkpoint:
    """Return a checkpoint that must be a classifier's.

    Raises:
        CheckpointError: It is not.
    """
    if isinstance(found, Checkpoint):
        return found
    what, takers = "a detector", "`resnets evaluate`, `predict` and `inspect` take it"
    if isinstance(found, LocalizerCheckpoint):
        what, takers = "a localizer", "`resnets evaluate` takes it, as the first of several"
    raise CheckpointError(f"{found.path}: holds {what}, and this is for classifiers; {takers}")


def newest(where: str | Path) -> AnyCheckpoint:
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


def newest_state(run: Path) -> AnyCheckpoint | None:
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


def read(path: Path) -> AnyCheckpoint:
    """Open one checkpoint file.

    Raises:
        CheckpointError: It is missing, damaged, foreign or made by a newer version.
    """
    return parse(path, *artifacts.load_tensors(path))


def parse(path: Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> AnyCheckpoint:
    """Return the checkpoint that a file holds.

    Args:
        path: Of the file, for messages.
        tensors: Its tensors by name.
        about: Its description.

    Raises:
        CheckpointError: It holds nothing of ours.
    """
    try:
        made = _parse(path, tensors, about)
        classes = about["classes"]
        if (
            not isinstance(classes, list)
            or len(classes) != made.spec.classes
            or not all(isinstance(c, str) for c in classes)
        ):
            raise CheckpointError(f"not {made.spec.classes} class names")
        if type(about["update"]) is not int:
            raise CheckpointError("no number of updates")
    except (KeyError, TypeError, ResNetsError) as err:
        kind = about.get("kind")
        what = kind if kind in KINDS.values() else CLASSIFIER
        raise CheckpointError(f"{path}: holds no {what} of resnets ({err})") from err
    return made


def _parse(path: Path, tensors: Mapping[str, Tensor], about: dict[str, Any]) -> AnyCheckpoint:
    recipe = None if about["recipe"] is None else codec.from_tree(about["recipe"])
    common: dict[str, Any] = {
        "path": path,
        "about": about,
        "model": _part(tensors, _MODEL),
        "optimizer": _part(tensors, _OPTIMIZER),
        "trained": _part(tensors, _TRAINED),
        "best": _part(tensors, _BEST),
    }
    kind = CLASSIFIER if recipe is None else KINDS.get(recipe.model.kind, CLASSIFIER)
    if about.get("kind", CLASSIFIER) != kind:
        raise CheckpointError(f"the recipe of a {kind}")
    if isinstance(recipe, DetectorRecipe):
        scaling = recipe.data.scaling
        mean_hwc = torch.tensor(scaling.mean).view(1, 1, 3)
        return DetectorCheckpoint(
            spec=recipe.model, preprocess=scaling, mean_hwc=mean_hwc, recipe=recipe, **common
        )
    if isinstance(recipe, LocalizerRecipe):
        view = recipe.data.view
        mean_hwc = _mean(view, tensors)
        return LocalizerCheckpoint(
            spec=recipe.model, preprocess=view, mean_hwc=mean_hwc, recipe=recipe, **common
        )
    preprocess = codec.preprocess_from_tree(about["preprocessing"])
    return Checkpoint(
        spec=codec.model_from_tree(about["model"]),
        preprocess=preprocess,
        mean_hwc=_mean(preprocess, tensors),
        recipe=recipe,
        **common,
    )


def _mean(preprocess: Preprocess, tensors: Mapping[str, Tensor]) -> Tensor:
    if preprocess.mean is not None:
        return torch.tensor(preprocess.mean).view(1, 1, 3)
    mean_hwc = tensors[MEAN]
    if mean_hwc.shape != (preprocess.crop_px, preprocess.crop_px, 3):
        raise CheckpointError("no mean image")
    return mean_hwc


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _form(tensor: Tensor | None) -> tuple[torch.dtype, tuple[int, ...]] | None:
    return None if tensor is None else (tensor.dtype, tuple(tensor.shape))
