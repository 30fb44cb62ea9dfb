"""ImageNet: plain against residual, the options, and depth (sec. 4.1).

resnets reproduce figure-4 --quick                18 and 34 layers on the built-in sample, minutes
resnets reproduce figure-4 --data imagenet/       and table-2, table-3, table-4, table-5

Expected of the full runs: the errors of Tables 2 to 5. Months of one GPU's time, so not run here:
unverified.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from resnets.evaluation.views import Protocol
from resnets.experiment import paper
from resnets.experiment.studies import depth, evaluations
from resnets.experiment.studies.study import (
    Found,
    Network,
    Setting,
    Study,
    quick_recipe,
    spread,
)
from resnets.experiment.trainings import Trained
from resnets.models import zoo
from resnets.recipes.schedule import Linear
from resnets.recipes.schema import Recipe


def _quick(name: str) -> Recipe:
    """Return a shorter run, of networks fourteen times and more as large as the CIFAR ones.

    It is evaluated on few images, or evaluating would take most of the time.
    """
    made = quick_recipe(zoo.named(name))
    return replace(
        made,
        data=replace(made.data, held_out_images=200),
        schedule=Linear(warmup_steps=10),
        total_steps=100,
    )


# Without more parameters than the plain ones: option A. The small-image variants have option B.
_FIGURE_4 = (
    Network("plain-18", "imagenet.plain18"),
    Network("plain-34", "imagenet.plain34"),
    Network("ResNet-18 A", "imagenet.resnet18-a"),
    Network("ResNet-34 A", "imagenet.resnet34-a"),
)
_QUICK_FIGURE_4 = (
    Network("plain-18", "imagenet.plain18", _quick("plain18-small")),
    Network("plain-34", "imagenet.plain34", _quick("plain34-small")),
    Network("ResNet-18 B", "imagenet.resnet18", _quick("resnet18-small")),
    Network("ResNet-34 B", "imagenet.resnet34", _quick("resnet34-small")),
)
_TABLE_3 = (
    Network("plain-34", "imagenet.plain34"),
    Network("ResNet-34 A", "imagenet.resnet34-a"),
    Network("ResNet-34 B", "imagenet.resnet34"),
    Network("ResNet-34 C", "imagenet.resnet34-c"),
    Network("ResNet-50", "imagenet.resnet50"),
    Network("ResNet-101", "imagenet.resnet101"),
    Network("ResNet-152", "imagenet.resnet152"),
)
_TABLE_4 = _TABLE_3[2:]

_COLUMNS = {
    "network": "network",
    "paper": "paper: top-1 / top-5 error %",
    "top1": "ours: top-1 error %",
    "top5": "ours: top-5 error %",
    "n": "n",
}


def _figure_4(setting: Setting) -> Found:
    rows = depth.error_rows(setting, lambda label: paper.TEN_CROP.get(label, (None, None))[0])
    plain, residual = list(setting.networks())[:2], list(setting.networks())[2:]
    top = 100.0 if setting.quick else 60.0
    panels = [
        depth.curves("plain networks", plain, top),
        depth.curves("residual networks", residual, top),
    ]
    columns = {
        "network": "network",
        "paper": "paper: top-1 error %, 10-crop",
        "test": "ours: error % at the end, single view",
        "train": "ours: training error %",
        "mean": "ours: training error %, mean over the run",
        "n": "n",
    }
    for row in rows:
        row["mean"] = spread([_mean_over_the_run(run) for run in setting.of(str(row["network"]))])
    means = {row["network"]: row["mean"] for row in rows}
    (shallow, _), (deep, _) = residual
    words = ("lower than", "higher than", "no different within the seeds from")
    word = depth.changed(means["plain-18"], means[shallow], *words)
    says = " ".join(
        [
            depth.compared(rows, "plain-18", "plain-34"),
            depth.compared(rows, shallow, deep),
            f"Over the whole run the training error of {shallow} is {means[shallow]['mean']:.1f} % "
            f"on the mean, {word} plain-18's {means['plain-18']['mean']:.1f} %.",
        ]
    )
    return Found(columns, rows, says, panels)


def _mean_over_the_run(run: Trained) -> float:
    """Return the mean training error over all updates: the lower, the sooner it fell."""
    errors = run.curve("train_error_percent")[1]
    return math.fsum(errors) / len(errors)


def _table_2(setting: Setting) -> Found:
    rows = _tested(setting, "single-crop" if setting.quick else "ten-crop", paper.TEN_CROP)
    a, b, c, d = rows
    says = " ".join(
        f"From {x['network']} to {y['network']} top-1 error "
        f"{depth.changed(x['top1'], y['top1'], 'falls', 'rises', 'hardly changes')} from "
        f"{x['top1']['mean']:.2f} to {y['top1']['mean']:.2f} %."
        for x, y in ((a, b), (c, d))
    )
    return Found(_COLUMNS, rows, says)


def _table_3(setting: Setting) -> Found:
    rows = _tested(setting, "ten-crop", paper.TEN_CROP)
    return Found(_COLUMNS, rows, depth.ordered(rows, "top1", "Top-1 error"))


def _table_4(setting: Setting) -> Found:
    rows = _tested(setting, "multi-scale", paper.MULTI_SCALE)
    return Found(_COLUMNS, rows, depth.ordered(rows, "top1", "Top-1 error"))


def _table_5(setting: Setting) -> Found:
    """Average the scores of all networks; the paper takes two of 152 layers among its six."""
    assert setting.data is not None
    protocol: Protocol = "single-crop" if setting.quick else "multi-scale"
    rows = _tested(setting, protocol, {} if setting.quick else paper.MULTI_SCALE)
    seeds = sorted({each.training.seed for each in setting.trained})
    together = [
        evaluations.evaluate(
            [each for each in setting.trained if each.training.seed == seed],
            setting.data,
            protocol,
            setting.device,
        )
        for seed in seeds
    ]
    rows.append(
        {
            "network": "all of them together",
            "paper": None if setting.quick else "top-5 3.57 on the test set, six networks",
            "top1": spread([each["top1_error_percent"] for each in together]),
            "top5": spread([each["top5_error_percent"] for each in together]),
            "n": len(seeds),
        }
    )
    best = min(rows[:-1], key=lambda row: float(row["top1"]["mean"]))
    word = depth.changed(
        best["top1"], rows[-1]["top1"], "less than", "more than", "about as often as"
    )
    says = (
        f"Together the {len(rows) - 1} networks err {word} the best of them: "
        f"{rows[-1]['top1']['mean']:.2f} against {best['top1']['mean']:.2f} %."
    )
    return Found(_COLUMNS, rows, says)


def _tested(
    setting: Setting, protocol: Protocol, printed: Mapping[str, tuple[float | None, float | None]]
) -> list[dict[str, Any]]:
    """Return a row for each network, tested in one of the paper's ways, beside what it prints."""
    assert setting.data is not None
    rows = []
    for label, runs in setting.networks():
        each = [evaluations.evaluate([r], setting.data, protocol, setting.device) for r in runs]
        rows.append(
            {
                "network": label,
                "paper": _pair(printed[label]) if label in printed else None,
                "top1": spread([one["top1_error_percent"] for one in each]),
                "top5": spread([one["top5_error_percent"] for one in each]),
                "n": len(runs),
            }
        )
    return rows


def _pair(errors: tuple[float | None, float | None]) -> str:
    return " / ".join("-" if each is None else f"{each:.2f}" for each in errors)


FIGURE_4 = Study(
    title="18 and 34 layers, plain and residual",
    source="He et al. 2015, Fig. 4",
    find=_figure_4,
    networks=_FIGURE_4,
    quick_networks=_QUICK_FIGURE_4,
    needs="imagenet",
)
TABLE_2 = Study(
    title="18 and 34 layers, plain and residual: validation error, ten-crop",
    source="He et al. 2015, Table 2",
    find=_table_2,
    networks=_FIGURE_4,
    quick_networks=_QUICK_FIGURE_4,
    needs="imagenet",
)
TABLE_3 = Study(
    title="Shortcut options and depth: validation error, ten-crop",
    source="He et al. 2015, Table 3",
    find=_table_3,
    networks=_TABLE_3,
    needs="imagenet",
)
TABLE_4 = Study(
    title="Single models, multi-scale and fully convolutional: validation error",
    source="He et al. 2015, Table 4",
    find=_table_4,
    networks=_TABLE_4,
    needs="imagenet",
)
TABLE_5 = Study(
    title="An ensemble of networks of different depth",
    source="He et al. 2015, Table 5",
    find=_table_5,
    networks=_TABLE_4,
    quick_networks=depth.RESIDUAL,
    needs="imagenet",
)
