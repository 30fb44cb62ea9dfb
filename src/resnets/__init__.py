"""Residual networks (He et al. 2015) as real software.

A lazy facade: importing it costs nothing, and each name is the function the command calls.

    net = resnets.model("cifar-resnet20")                    an nn.Module, newly initialised
    resnets.inspect(net)                                     a table of its layers
    data = resnets.open_data("cifar10-sample")
    run = resnets.train("sample.resnet20", out="run")
    resnets.resume("run")                                    if it was killed
    resnets.evaluate(run)                                    error, interval, protocol
    resnets.load(run).predict(["cat.jpg"], top=5)
    resnets.load("msra/resnet50").explain("cat.jpg")         where it saw the cat
    resnets.evaluate("msra/resnet50", "imagenet/", protocol="ten-crop")
    resnets.reproduce("figure-1", quick=True).plot()         a figure of the paper
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnets.data.opening import Data
    from resnets.detection.faster_rcnn import FasterRCNN
    from resnets.experiment.evaluate import Evaluation, Precision
    from resnets.experiment.evaluate_detectors import DetectorEvaluation
    from resnets.experiment.evaluate_localizers import LocalizerEvaluation
    from resnets.experiment.inspect_detectors import DetectorInspection
    from resnets.experiment.inspection import Inspection
    from resnets.experiment.machine import Compile
    from resnets.experiment.outcome import Run
    from resnets.experiment.reproduce import Reproduction
    from resnets.inference.detector import Detector
    from resnets.inference.predictor import Classifier
    from resnets.models.making import Network

__all__ = ["evaluate", "inspect", "load", "model", "open_data", "reproduce", "resume", "train"]


def model(
    name: str,
    *,
    weights: "str | Path | Run | None" = None,
    classes: int | None = None,
    in_channels: int | None = None,
    seed: int = 0,
) -> "Network":
    """Return a network of the zoo, newly initialised or with weights.

    Args:
        name: Any of `resnets list models`.
        weights: A run, a checkpoint file, or a name of `resnets weights list`.
        classes: Number of classes; by default that of the weights, or the paper's. Where the
            weights have another, the last layer is new.
        in_channels: Of its images; by default 3, or those of the weights. 1 takes the brightness
            of normalised RGB. Where the weights are of coloured images, those of the first layer
            are adapted (see `resnets.inference.channels`).
        seed: Of the initial weights (He et al. 2015, sec. 3.4).

    Raises:
        ModelError: There is no network of that name, or the weights are of another, or it takes
            no such number of classes or channels.
        CheckpointError: The weights are missing or damaged.
        FetchError: They are published and cannot be fetched.
    """
    from resnets.inference import opening

    if weights is None:
        return _new(name, classes, in_channels, seed)
    return opening.network(name, _folder(weights), classes, seed, in_channels)


def _new(name: str, classes: int | None, in_channels: int | None, seed: int) -> "Network":
    from dataclasses import replace

    from resnets.core.random import generator
    from resnets.models import making, network, zoo

    spec = zoo.named(name)
    if classes is not None:
        spec = replace(spec, classes=classes)
    made = making.make(spec if in_channels is None else zoo.taking(spec, in_channels))
    network.he_init(made, generator(seed, "init"))
    return made


def inspect(
    what: "str | Path | Network | FasterRCNN | Run", *, image_px: int | None = None
) -> "Inspection | DetectorInspection":
    """Return a network's or a detector's layers and costs, shown as a table; `resnets inspect`."""
    from resnets.experiment import inspection

    return inspection.inspect(_folder(what), image_px)


def open_data(where: str | Path) -> "Data":
    """Open a data set by name or from a folder. See `resnets data list`."""
    from resnets.data import opening

    return opening.open_data(where)


def train(
    recipe: str | None = None,
    *,
    data: "Data | str | Path | None" = None,
    model: "str | Network | None" = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: str | None = None,
    weights: "str | Path | Run | None" = None,
    workers: int | None = None,
    compiling: "Compile" = "auto",
    tensorboard: bool = False,
    settings: tuple[str, ...] = (),
) -> "Run":
    """Train a recipe by its name and return the finished run. See `resnets train`.

    A network that `model` made may stand for its name: the run begins with a copy of it, as with
    `weights`. Once it has batch statistics it is a trained one, whose last layer is new unless its
    classes are called as the data's (docs/finetune.md); before, it begins as it is.
    """
    from resnets.experiment import asking

    name = model if isinstance(model, str) else None

    return asking.start(
        recipe,
        data,
        asking.Changes(
            model=name,
            network=None if isinstance(model, str) else model,
            epochs=epochs,
            batch_images=batch_size,
            rate=lr,
            settings=settings,
            weights=_folder(weights),
        ),
        out=None if out is None else Path(out),
        seed=seed,
        device=device,
        compiling=compiling,
        workers=workers,
        tensorboard=tensorboard,
    )


def resume(folder: str | Path, *, data: "Data | None" = None) -> "Run":
    """Continue a run that was stopped or killed, to the same bits. See `resnets train --resume`."""
    from resnets.experiment import asking

    return asking.resume(Path(folder), None, data, asking.Changes())


def evaluate(
    checkpoint: "str | Path | Run | Sequence[str | Path | Run]",
    data: "Data | str | Path | None" = None,
    *,
    split: str | None = None,
    protocol: str | None = None,
    precision: "Precision" = "auto",
    settings: tuple[str, ...] = (),
    submission: str | Path | None = None,
    per_class: bool = False,
    device: str | None = None,
) -> "Evaluation | DetectorEvaluation | LocalizerEvaluation":
    """Return a checkpoint's error, interval and protocol; of several, that of the ensemble.

    Of a detector it is the average precision; of a localizer the error of its boxes, of the classes
    that the classifiers after it guess. See `resnets evaluate`.
    """
    from resnets.experiment import measuring
    from resnets.experiment.outcome import Run

    several = [checkpoint] if isinstance(checkpoint, str | Path | Run) else checkpoint
    return measuring.measure(
        [_folder(each) for each in several],
        data,
        split=split,
        protocol=protocol,
        precision=precision,
        settings=settings,
        submission=None if submission is None else Path(submission),
        per_class=per_class,
        device=device,
    )


def reproduce(
    study: str,
    *,
    quick: bool = False,
    seeds: int = 1,
    data: "Data | str | Path | None" = None,
    device: str | None = None,
    settings: tuple[str, ...] = (),
) -> "Reproduction":
    """Reproduce a table, a figure or an argument of the paper. See `resnets reproduce`."""
    from resnets.experiment import reproduce as reproducing

    return reproducing.reproduce(
        study, quick=quick, seeds=seeds, data=data, device=device, settings=settings
    )


def load(checkpoint: "str | Path | Run", *, device: str | None = None) -> "Classifier | Detector":
    """Return the classifier or the detector in a run or a checkpoint file, ready to predict."""
    from resnets.inference import loading

    return loading.load(_folder(checkpoint), device)


def _folder(what: Any) -> Any:
    """Return the folder of a run, and anything else as it is."""
    from resnets.experiment.outcome import Run

    return what.folder if isinstance(what, Run) else what
