"""Deeper on CIFAR-10: degradation, the cure, and what the shortcut is made of (sec. 4.2, 3.3).

resnets reproduce figure-1        plain networks of 20 and 56 layers
resnets reproduce figure-6        plain and residual networks of 20 to 110 layers
resnets reproduce table-6         final errors, highway networks beside them
resnets reproduce options         shortcut options A, B, C

Expected of the full runs: the errors of Table 6, which the recipes name. Training error is that of
the training batches over the last epoch.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from resnets.experiment import paper
from resnets.experiment.studies.study import Found, Line, Network, Panel, Setting, Study, spread
from resnets.experiment.trainings import Trained

PLAIN = tuple(Network(f"plain-{d}", f"cifar10.plain{d}") for d in (20, 32, 44, 56))
RESIDUAL = tuple(Network(f"ResNet-{d}", f"cifar10.resnet{d}") for d in (20, 32, 44, 56))
RESNET_110 = Network("ResNet-110", "cifar10.resnet110")
HIGHWAY = tuple(Network(f"Highway-{d}", f"cifar10.highway{d}") for d in (20, 32))
_OPTIONS = (
    Network("ResNet-20, A", "cifar10.resnet20"),
    Network("ResNet-20, B", "cifar10.resnet20-b"),
    Network("ResNet-20, C", "cifar10.resnet20-c"),
)
_MOST_POINTS = 160  # of a curve in a result

_COLUMNS = {
    "network": "network",
    "paper": "paper: test error %, its protocol",
    "best": "ours: best",
    "test": "ours: test error %",
    "train": "ours: training error %",
    "n": "n",
}


def error_rows(
    setting: Setting, printed: Callable[[str], float | str | None]
) -> list[dict[str, Any]]:
    """Return a row for each network: the paper's error, and ours over seeds.

    Args:
        setting: With its finished runs.
        printed: Gives a label's error in the paper, in percent.

    Returns:
        Beside what tables show, `split` says on which images the errors under `test` were counted.
    """
    images = setting.training_images
    rows = []
    for label, runs in setting.networks():
        tests = [each.last_error_percent for each in runs]
        trains = [each.last_train_error_percent(images) for each in runs]
        rows.append(
            {
                "network": label,
                "paper": printed(label),
                "best": min(tests),
                "test": spread(tests),
                "train": spread(trains),
                "n": len(runs),
                "split": runs[0].split,
            }
        )
    return rows


def _printed(label: str) -> float | str | None:
    """Return what Table 6 gives a network; option A is the one it has."""
    label = label.removesuffix(", A")
    errors = {**paper.TABLE_6_OTHERS, **paper.TABLE_6}
    if label in paper.TABLE_6_MEANS:
        return f"{errors[label]:.2f} ({paper.TABLE_6_MEANS[label]})"
    return errors.get(label)


def curves(title: str, runs: Iterable[tuple[str, Sequence[Trained]]], top: float) -> Panel:
    """Return training error (dashed) and test error against iterations, the mean over seeds.

    Source: He et al. 2015, Fig. 6.
    """
    lines = []
    for color, (label, of_label) in enumerate(runs):
        split = of_label[0].split
        for key, dashed in (("train_error_percent", True), (f"{split}_top1_error_percent", False)):
            each = [one.curve(key) for one in of_label]
            x, ys = each[0][0], [y for _, y in each]
            lines.append(_mean_line(label, x, ys, color=color, dashed=dashed))
    return Panel(title, "iterations", "error (%)", lines, top=top)


def _mean_line(
    label: str, x: Sequence[int], ys: Sequence[Sequence[float]], *, color: int, dashed: bool
) -> Line:
    """Return the mean of curves of the same updates with the band they span, in few points."""
    size = -(-len(x) // _MOST_POINTS)
    parts = [slice(i, i + size) for i in range(0, len(x), size)]
    means = [[sum(y[part]) / len(y[part]) for part in parts] for y in ys]
    at = list(zip(*means, strict=True))
    return Line(
        label=label,
        x=[x[part][-1] for part in parts],
        y=[round(sum(values) / len(values), 3) for values in at],
        low=[round(min(values), 3) for values in at] if len(ys) > 1 else None,
        high=[round(max(values), 3) for values in at] if len(ys) > 1 else None,
        color=color,
        dashed=dashed,
    )


def compared(rows: Sequence[dict[str, Any]], shallow: str, deep: str) -> str:
    """Return a sentence on how a deeper network did beside a shallower one."""
    by_label = {row["network"]: row for row in rows}
    a, b = by_label[shallow], by_label[deep]
    return (
        f"From {shallow} to {deep} training error {_change(a['train'], b['train'])}, "
        f"{a['split']} error {_change(a['test'], b['test'])}."
    )


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what became of an error: a change within the deviation over seeds is none."""
    told = f"from {before['mean']:.1f} to {after['mean']:.1f} %"
    return f"{changed(before, after, 'falls', 'rises', 'hardly changes')} {told}"


def changed(
    before: Mapping[str, Any], after: Mapping[str, Any], down: str, up: str, neither: str
) -> str:
    """Return the word for a change of one spread to another.

    Up to the greater of their deviations over seeds it is `neither`; of single runs there is no
    deviation, so every change counts, and the table says that n is 1.
    """
    noise = max(before["deviation"] or 0.0, after["deviation"] or 0.0)
    gap = after["mean"] - before["mean"]
    if abs(gap) <= noise:
        return neither
    return up if gap > 0 else down


def ordered(rows: Sequence[Mapping[str, Any]], key: str, what: str) -> str:
    """Return a sentence with the networks in the order of an error, and how far seeds deviate."""
    order = sorted(rows, key=lambda row: float(row[key]["mean"]))
    says = f"{what} from low to high: " + ", ".join(
        f"{row['network']} {row[key]['mean']:.2f} %" for row in order
    )
    if rows[0]["n"] > 1:
        gap = order[-1][key]["mean"] - order[0][key]["mean"]
        largest = max(row[key]["deviation"] for row in rows)
        says += f"; {gap:.2f} points apart, where a seed deviates by up to {largest:.2f}"
    return says + "."


def _top(setting: Setting) -> float:
    """Return the upper end of the error axis: the paper's 20 %, or all of it for short runs."""
    return 100.0 if setting.quick else 20.0


def _figure_1(setting: Setting) -> Found:
    rows = error_rows(setting, _printed)
    panel = curves("plain networks", setting.networks(), _top(setting))
    return Found(_COLUMNS, rows, compared(rows, "plain-20", "plain-56"), [panel])


def _figure_6(setting: Setting) -> Found:
    rows = error_rows(setting, _printed)
    plain = [each for each in setting.networks() if each[0].startswith("plain")]
    residual = [each for each in setting.networks() if each[0].startswith("ResNet")]
    panels = [
        curves("plain networks", plain, _top(setting)),
        curves("residual networks", residual, _top(setting)),
    ]
    says = " ".join(
        compared(rows, shallow, deep)
        for shallow, deep in (("plain-20", "plain-56"), ("ResNet-20", "ResNet-56"))
    )
    return Found(_COLUMNS, rows, says, panels)


def _table_6(setting: Setting) -> Found:
    rows = error_rows(setting, _printed)
    others = [
        {**dict.fromkeys(_COLUMNS), "network": f"{name} (theirs)", "paper": _printed(name)}
        for name in paper.TABLE_6_OTHERS
    ]
    says = (
        compared(rows, "ResNet-20", "ResNet-56")
        + " Our highway networks are ResNets with a gate and option A's carry, so the gate is the "
        "only difference; those of the table are others'."
    )
    return Found(_COLUMNS, [*others, *rows], says)


def _options(setting: Setting) -> Found:
    rows = error_rows(setting, _printed)
    panel = curves("options", setting.networks(), _top(setting))
    return Found(_COLUMNS, rows, ordered(rows, "test", "Test error"), [panel])


FIGURE_1 = Study(
    title="Plain networks of 20 and 56 layers: training error gets worse with depth",
    source="He et al. 2015, Fig. 1",
    find=_figure_1,
    networks=(PLAIN[0], PLAIN[-1]),
    quick_networks=(PLAIN[0], PLAIN[-1]),
)
FIGURE_6 = Study(
    title="Plain and residual networks on CIFAR-10, error against iterations",
    source="He et al. 2015, Fig. 6",
    find=_figure_6,
    networks=(*PLAIN, *RESIDUAL, RESNET_110),
    quick_networks=(*PLAIN, *RESIDUAL),
)
TABLE_6 = Study(
    title="Final test errors on CIFAR-10",
    source="He et al. 2015, Table 6",
    find=_table_6,
    networks=(*RESIDUAL, RESNET_110, *HIGHWAY),
    quick_networks=(*RESIDUAL, HIGHWAY[0]),
)
OPTIONS = Study(
    title="Shortcut options A, B and C on CIFAR-10",
    source="He et al. 2015, sec. 3.3; Table 3 has them on ImageNet",
    find=_options,
    networks=_OPTIONS,
    quick_networks=_OPTIONS,
)
