"""What goes on inside trained networks: the construction, the signals, the responses, the gates.

resnets reproduce construction    a deeper network that is no worse exists, and training misses it
resnets reproduce gradients       degradation is not vanishing gradients
resnets reproduce figure-7        residual layers respond less
resnets reproduce gates           how open highway gates are; the identity never closes
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from resnets.core.random import generator
from resnets.data import batches
from resnets.data.batches import Batch
from resnets.data.sets import ImageSet
from resnets.evaluation import gates, responses, signals
from resnets.evaluation.signals import Signal
from resnets.evaluation.single_view import SingleView
from resnets.experiment import build
from resnets.experiment.studies import depth
from resnets.experiment.studies.study import Found, Line, Panel, Setting, Study, spread
from resnets.experiment.trainings import Trained
from resnets.inference import checkpoints
from resnets.models import construction, making, network, zoo
from resnets.models.network import ResNet

_PLAIN_20, _PLAIN_56 = depth.PLAIN[0], depth.PLAIN[-1]
_RESNET_20, _RESNET_56 = depth.RESIDUAL[0], depth.RESIDUAL[-1]
_DEEPENED = (32, 44, 56)
_BATCH_IMAGES = 128  # of which the signals are measured


def _construction(setting: Setting) -> Found:
    """Set the constructed solution beside the trained one, both by the same exact count."""
    shallow = [_opened(run) for run in setting.of("plain-20")]
    rows = [_error_row("plain-20 trained", 20, shallow, setting)]
    for layers in _DEEPENED:
        deepened = [(construction.with_identity_layers(n, layers), mean) for n, mean in shallow]
        name = f"plain-20 trained, {layers - 20} identity layers added"
        rows.append(_error_row(name, layers, deepened, setting))
    deep = [_opened(run) for run in setting.of("plain-56")]
    rows.append(_error_row("plain-56 trained from scratch", 56, deep, setting))
    built, searched = rows[-2]["train"], rows[-1]["train"]
    verdict = depth.changed(
        built, searched, "better", "worse, so it is the search that fails", "no clear difference"
    )
    says = (
        f"A network of 56 plain layers with {built['mean']:.2f} % training error exists: it is "
        "built from the trained 20. Training 56 layers from scratch ends at "
        f"{searched['mean']:.2f} %: {verdict}."
    )
    columns = {
        "network": "network",
        "layers": "layers",
        "train": "training error %, as tested",
        "test": "test error %",
        "n": "n",
    }
    return Found(columns, rows, says)


def _error_row(
    name: str, layers: int, networks: Sequence[tuple[ResNet, Tensor]], setting: Setting
) -> dict[str, Any]:
    errors = {
        key: [
            SingleView(key, partial(_in_order, images, mean_hwc, setting))
            .count(made.to(setting.device))
            .error1_percent
            for made, mean_hwc in networks
        ]
        for key, images in (("train", setting.small.train), ("test", setting.small.test))
    }
    return {
        "network": name,
        "layers": layers,
        **{key: spread(values) for key, values in errors.items()},
        "n": len(networks),
    }


def _gradients(setting: Setting) -> Found:
    """Measure new networks with and without BN and He's initialisation, and trained ones."""
    seeds = sorted({each.training.seed for each in setting.trained})
    measured: dict[str, list[list[Signal]]] = {}
    for layers in (20, 56):
        for init in ("He", "N(0, 0.01^2)"):
            for normalised in (True, False):
                name = f"plain-{layers} new, {init}, {'BN' if normalised else 'no BN'}"
                new = (_new(layers, init, normalised, seed) for seed in seeds)
                measured[name] = [_signals(made, setting) for made in new]
    for label, runs in setting.networks():
        measured[f"{label} trained, He, BN"] = [_signals(_opened(run)[0], setting) for run in runs]
    panels = [
        Panel(title, "layer", what, _signal_lines(measured, key), log=True)
        for title, what, key in (
            ("forward", "standard deviation of the output", "output_std"),
            ("backward", "gradient in the output, rms", "output_gradient_rms"),
        )
    ]
    rows = [_signal_row(name, found) for name, found in measured.items()]
    by_name = {row["network"]: row for row in rows}
    says = (
        f"The gradient at the first layer of plain-56 is {_times(by_name, 'plain-56 new, He, BN')} "
        "that at its last convolution when it is new, with BN and He's initialisation, and "
        f"{_times(by_name, 'plain-56 trained, He, BN')} when it is trained; in ResNet-56, trained, "
        f"{_times(by_name, 'ResNet-56 trained, He, BN')}. Without BN and from N(0, 0.01^2) it is "
        f"{_times(by_name, 'plain-56 new, N(0, 0.01^2), no BN')}."
    )
    columns = {
        "network": "network",
        "forward_first": "forward, first layer",
        "forward_last": "forward, last convolution",
        "backward_first": "gradient, first layer",
        "backward_last": "gradient, last convolution",
        "backward_ratio": "gradient, first / last",
        "n": "n",
    }
    return Found(columns, rows, says, panels)


def _new(layers: int, init: str, normalised: bool, seed: int) -> ResNet:
    made = making.make(zoo.cifar(layers, shortcut="none"))
    assert isinstance(made, ResNet)
    if init == "He":
        network.he_init(made, generator(seed, "init"))
    else:
        network.gaussian_init(made, generator(seed, "init"), 0.01)
    return made if normalised else network.without_bn(made)


def _signals(made: ResNet, setting: Setting) -> list[Signal]:
    """Measure on a batch of images from all over the training set, as they are."""
    train = setting.small.train
    images = min(_BATCH_IMAGES, len(train))
    some = train.take(torch.arange(images) * (len(train) // images))
    (batch,) = batches.in_order(
        some, batches.mean_image(train), batch_images=images, device=setting.device
    )
    return signals.signals(made.to(setting.device), batch, F.cross_entropy)


def _times(rows: Mapping[str, Mapping[str, Any]], name: str) -> str:
    row = rows[name]
    if row["backward_first"]["mean"] == row["backward_last"]["mean"] == 0:
        return "gone at both"
    return f"{row['backward_ratio']['mean']:.2g} times"


def _signal_row(name: str, found: Sequence[Sequence[Signal]]) -> dict[str, Any]:
    """Return the ends of each network; the very last layer is the linear one."""
    ends = [(each[0], each[-2]) for each in found]
    return {
        "network": name,
        "forward_first": spread([first.output_std for first, _ in ends]),
        "forward_last": spread([last.output_std for _, last in ends]),
        "backward_first": spread([first.output_gradient_rms for first, _ in ends]),
        "backward_last": spread([last.output_gradient_rms for _, last in ends]),
        "backward_ratio": spread([_ratio(first, last) for first, last in ends]),
        "n": len(found),
    }


def _ratio(first: Signal, last: Signal) -> float:
    below = last.output_gradient_rms
    return first.output_gradient_rms / below if below else math.nan


def _signal_lines(measured: Mapping[str, Sequence[Sequence[Signal]]], key: str) -> list[Line]:
    """Return a line for each network of 56 layers, the mean over seeds, dashed without BN."""
    deep = {name: found for name, found in measured.items() if "-56 " in name}
    return [
        Line(
            label=name,
            x=range(1, len(found[0])),
            y=_mean_of([[getattr(s, key) for s in each[:-1]] for each in found]),
            color=color,
            dashed="no BN" in name,
        )
        for color, (name, found) in enumerate(deep.items())
    ]


def _figure_7(setting: Setting) -> Found:
    """Measure the responses over all test images, the mean over seeds."""
    each = {
        label: [[r.std for r in responses.responses(*_on_test(run, setting))] for run in runs]
        for label, runs in setting.networks()
    }
    stds = {label: _mean_of(of_label) for label, of_label in each.items()}
    panels = [
        Panel(
            title,
            x,
            "standard deviation",
            [
                Line(label, range(1, len(y) + 1), order(y), color=color, dashed="plain" in label)
                for color, (label, y) in enumerate(stds.items())
            ],
        )
        for title, x, order in (
            ("in the order of the layers", "layer", list[float]),
            ("sorted", "rank", lambda y: sorted(y, reverse=True)),
        )
    ]
    rows = [
        {
            "network": label,
            "layers": len(of_label[0]),
            "mean": spread([math.fsum(y) / len(y) for y in of_label]),
            "n": len(of_label),
        }
        for label, of_label in each.items()
    ]
    means: dict[str, Any] = {str(row["network"]): row["mean"] for row in rows}
    says = " ".join(
        f"{b} responds {depth.changed(means[a], means[b], 'less than', 'more than', 'much as')} "
        f"{a}, on the mean over layers: {means[b]['mean']:.3f} against {means[a]['mean']:.3f}."
        for a, b in (
            ("plain-20", "ResNet-20"),
            ("plain-56", "ResNet-56"),
            ("ResNet-20", "ResNet-56"),
        )
    )
    columns = {
        "network": "network",
        "layers": "3x3 layers",
        "mean": "mean of the standard deviations",
        "n": "n",
    }
    return Found(columns, rows, says, panels)


def _gates(setting: Setting) -> Found:
    rows: list[dict[str, Any]] = []
    lines: list[Line] = []
    for color, (label, runs) in enumerate(setting.networks()):
        found = [gates.gates(*_on_test(run, setting)) for run in runs]
        carried = _mean_of([[1 - gate.mean for gate in of_run] for of_run in found])
        lines.append(Line(label, range(1, len(carried) + 1), carried, color=color))
        for number, gate in enumerate(found[0]):
            of_block = [of_run[number] for of_run in found]
            rows.append(
                {
                    "network": label,
                    "block": gate.block.removeprefix("stages."),
                    "open": spread([each.mean for each in of_block]),
                    "carries": carried[number],
                    "closed_share": spread([each.closed_share for each in of_block]),
                    "n": len(runs),
                }
            )
    longest = max(len(line.x) for line in lines)
    lines.append(Line("identity shortcut", [1, longest], [1.0, 1.0], color=7, dashed=True))
    least = min(rows, key=lambda row: float(row["carries"]))
    says = (
        f"The gates let {least['carries']:.2f} of the input through where they carry least "
        f"({least['network']}, {least['block']}); an identity shortcut carries all of it, always."
    )
    columns = {
        "network": "network",
        "block": "block",
        "open": "mean of the gate T",
        "carries": "carried, 1 - T",
        "closed_share": "share of T below 0.1",
        "n": "n",
    }
    panel = Panel("what the shortcut carries", "block", "1 - T, mean", lines, top=1.05)
    return Found(columns, rows, says, [panel])


def _on_test(run: Trained, setting: Setting) -> tuple[ResNet, Iterator[Batch]]:
    """Return a run's network on the device, and the test images as it wants them."""
    made, mean_hwc = _opened(run)
    return made.to(setting.device), _in_order(setting.small.test, mean_hwc, setting)


def _opened(run: Trained) -> tuple[ResNet, Tensor]:
    """Return a finished run's network, and the mean that it subtracts."""
    checkpoint = checkpoints.newest(run.folder)
    made = checkpoint.network()
    assert isinstance(made, ResNet)
    return made, checkpoint.mean_hwc


def _in_order(images: ImageSet, mean_hwc: Tensor, setting: Setting) -> Iterator[Batch]:
    return batches.in_order(
        images, mean_hwc, batch_images=build.EVALUATION_BATCH_IMAGES, device=setting.device
    )


def _mean_of(each: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over runs, element by element."""
    return [math.fsum(values) / len(values) for values in zip(*each, strict=True)]


CONSTRUCTION = Study(
    title="A deeper plain network that is no worse, by construction",
    source="He et al. 2015, sec. 1",
    find=_construction,
    networks=(_PLAIN_20, _PLAIN_56),
    quick_networks=(_PLAIN_20, _PLAIN_56),
)
GRADIENTS = Study(
    title="Signals forward and backward through plain and residual networks",
    source="He et al. 2015, sec. 4.1",
    find=_gradients,
    networks=(_PLAIN_56, _RESNET_56),
    quick_networks=(_PLAIN_56, _RESNET_56),
)
FIGURE_7 = Study(
    title="Standard deviations of layer responses",
    source="He et al. 2015, Fig. 7",
    find=_figure_7,
    networks=(_PLAIN_20, _PLAIN_56, _RESNET_20, _RESNET_56, depth.RESNET_110),
    quick_networks=(_PLAIN_20, _PLAIN_56, _RESNET_20, _RESNET_56),
)
GATES = Study(
    title="How open the gates of highway networks are",
    source="He et al. 2015, sec. 2; Srivastava et al. 2015",
    find=_gates,
    networks=depth.HIGHWAY,
    quick_networks=depth.HIGHWAY[:1],
)
