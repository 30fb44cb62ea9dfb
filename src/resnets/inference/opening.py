"""From what CHECKPOINT says (a run, a file, a published name) to a checkpoint and its data."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from torch import nn

from resnets.core import errors
from resnets.core.errors import CheckpointError, DataError, ModelError, NewerFormatError
from resnets.core.random import generator
from resnets.data import opening as opening_data
from resnets.data.opening import Data, Labelled
from resnets.inference import channels, checkpoints, converting, origins, published
from resnets.inference.checkpoints import AnyCheckpoint, Checkpoint
from resnets.models import making, zoo
from resnets.models.making import Network
from resnets.models.network import he_init

_FOREIGN: Final = (".pth", ".pt", ".th", ".bin", ".safetensors", ".h5", ".keras", ".json")


def checkpoint(where: str | Path) -> Checkpoint:
    """Open a classifier: a run's newest checkpoint, a file of ours, or published weights.

    Raises:
        CheckpointError: There is none, it is damaged or foreign, or it is a detector.
        FetchError: It is published and cannot be fetched.
    """
    return checkpoints.classifier(any_checkpoint(where))


def any_checkpoint(where: str | Path) -> AnyCheckpoint:
    """Open a run's newest checkpoint, a file of ours, or published weights, fetched once.

    Raises:
        CheckpointError: There is none, or it is damaged or foreign.
        FetchError: It is published and cannot be fetched.
    """
    name = str(where)
    try:
        path = Path(where).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as err:
        raise CheckpointError(f"{name[:80]}: no name of a file or folder ({err})") from err
    if there:
        return _at(path)
    if name in published.NAMES:
        return converting.from_published(name)
    if name in zoo.NAMES:
        raise CheckpointError(
            f"{name}: a network without weights; {published.some_for(name)}; or name a run or a "
            "file"
        )
    publishers = {known.partition("/")[0] for known in published.NAMES}
    if name.partition("/")[0] not in publishers:
        raise CheckpointError(f"{path}: there is no such file or folder")
    raise CheckpointError(
        errors.unknown("checkpoint", name, published.NAMES, "resnets weights list")
        + "; nor is there a file or folder of that name"
    )


def _at(path: Path) -> AnyCheckpoint:
    """Open a run or a file; of what may be another library's file, say what to do with it."""
    try:
        return checkpoints.newest(path)
    except NewerFormatError:
        raise
    except CheckpointError as err:
        if path.is_dir() or path.suffix not in _FOREIGN:
            raise
        raise CheckpointError(
            f"{err}; another library's weights: resnets weights convert {path} --to OUT.safetensors"
        ) from err


def data(where: Data | str | Path | None, trained: Checkpoint) -> Labelled:
    """Open a data set for a classifier; see `any_data`.

    Raises:
        DataError: As from there, or its images have boxes.
    """
    return opening_data.labelled(any_data(where, trained))


def any_data(where: Data | str | Path | None, trained: AnyCheckpoint) -> Data:
    """Open a data set by its name or path; by default the one a network was trained on.

    Raises:
        DataError: It is not there; or none is named, and the weights came without theirs.
    """
    if where is None:
        if (known := trained.about.get("data")) is None:
            raise DataError(
                f"{trained.path.name}: these weights came without their data; say --data D"
            )
        where = known["where"]
    return opening_data.open_data(where) if isinstance(where, str | Path) else where


def network(
    name: str,
    weights: str | Path,
    classes: int | None,
    seed: int,
    in_channels: int | None = None,
) -> Network:
    """Return the zoo's network of that name with weights, ready to train on.

    Args:
        name: Which network.
        weights: As `checkpoint` takes them.
        classes: Where it is another number than the weights', the last layer is new.
        seed: Of that new layer.
        in_channels: Of its images; by default those of the weights, which are adapted to others
            (`channels.tensors`).

    Raises:
        ModelError: The weights are of another network, or of images that are not coloured.
        CheckpointError: They are missing or damaged.
    """
    found = checkpoint(weights)
    wanted = replace(zoo.named(name), classes=found.spec.classes)
    if zoo.comparable(wanted) != zoo.comparable(found.spec):
        raise ModelError(f"{weights}: holds {zoo.name_of(found.spec)}, not {name}")
    if in_channels is not None and in_channels != found.spec.in_channels:
        spec = zoo.taking(found.spec, in_channels)
        found = replace(found, spec=spec, model=dict(channels.tensors(found, in_channels)))
    made = found.network()
    if classes is not None and classes != found.spec.classes:
        new = making.make(replace(found.spec, classes=classes))
        he_init(new, generator(seed, "init"))
        for place, layer in list(made.named_modules()):
            other = new.get_submodule(place)
            # Every layer of the old number of classes: GoogLeNet has three.
            if not isinstance(layer, nn.Linear) or not isinstance(other, nn.Linear):
                continue
            if layer.out_features != other.out_features:
                made.set_submodule(place, other)
        made.spec = new.spec
    origins.remember(made, found)
    return made.train()
