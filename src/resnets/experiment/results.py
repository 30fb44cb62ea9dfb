"""Results as text: a table for the terminal, and the one page of all of them.

A result is the JSON of results/NAME.json. Quick and full ones are never mixed.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from resnets.core import artifacts, hardware
from resnets.experiment.studies import catalogue

_NUMBER = r"(?:-?[\d.]+(?:e[+-]\d+)?|null)"
_NUMBERS = re.compile(rf"\[\s+({_NUMBER}(?:,\s+{_NUMBER})*)\s+\]")

_NEED = {
    "imagenet": "needs ImageNet and months of one GPU",
    "cifar10": "hours to days on a CPU for each network and seed",
    "voc": "needs PASCAL VOC 2007 and 2012 and days of one GPU",
    "coco": "needs COCO 2014 and weeks of one GPU",
}
_DETECTION: Final = "voc or coco"  # which of them is told by a result's data


def encode(result: Mapping[str, Any]) -> bytes:
    """Return a result as JSON for people to read: a list of numbers is one line."""
    text = json.dumps(_finite(result), indent=2, allow_nan=False)
    return (_NUMBERS.sub(lambda m: f"[{' '.join(m[1].split())}]", text) + "\n").encode()


def title(result: Mapping[str, Any]) -> str:
    """Return one line: what it is, where the paper has it, and how it was run."""
    how = {
        "exact": "counted",
        "quick": f"quick: short runs on {result['data']}",
        "full": "the paper's protocol",
    }[result["mode"]]
    if result["changed"]:
        how += f"; changed: {', '.join(['on ' + result['data'], *result['settings']])}"
    return f"{result['title']} ({result['source']}; {how})"


def cells(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the table as texts, the headings first."""
    columns: Mapping[str, str] = result["columns"]
    rows = [[_cell(row.get(key)) for key in columns] for row in result["rows"]]
    return [list(columns.values()), *rows]


def text(result: Mapping[str, Any]) -> str:
    """Return the table in aligned columns, under its title, over what it says."""
    table = cells(result)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return "\n".join([title(result), "", *lines, "", result["says"]])


def page(paths: Iterable[Path]) -> str:
    """Return docs/results.md: every result beside the paper's numbers.

    Args:
        paths: Of the results: those of `resnets reproduce`, of which changed ones are left out and
            those of fewer seeds than another, and measurements of other commands.
    """
    found = [artifacts.read_json(path) for path in sorted(paths)]
    kept = [each for each in found if "study" in each and not each["changed"]]
    most = {(e["study"], e["mode"], e["data"]): e for e in sorted(kept, key=_seeds)}
    ours = list(most.values())
    parts = [
        "# Results\n\nMade by `make paper` from results/*.json; do not edit. Each number says how "
        "it was run: n is the number of seeds, +- the deviation over them. Quick results are short "
        "runs on the built-in sample: they show a phenomenon, not the paper's numbers.\n"
    ]
    for heading, mode in (
        ("Counted", "exact"),
        ("By the paper's protocol", "full"),
        ("Quick", "quick"),
    ):
        of_mode = [each for each in ours if each["mode"] == mode]
        of_mode.sort(key=lambda each: list(catalogue.STUDIES).index(each["study"]))
        parts.append(f"## {heading}\n")
        parts += [_section(each) for each in of_mode] or ["Nothing yet.\n"]
    others = [each for each in found if "what" in each]
    if others:
        parts.append("## Measured by other commands\n")
        parts += [_measurement(each) for each in others]
    parts.append(_not_run([*most]))
    return "\n".join(parts)


def _seeds(result: Mapping[str, Any]) -> int:
    return len({each["seed"] for each in result["trainings"]})


def _section(result: Mapping[str, Any]) -> str:
    head, *body = cells(result)
    lines = [
        f"### {result['study']}: {result['title']}\n",
        f"{result['source']}. `{result['provenance']['command']}`\n",
        *map(_markdown, (head, ["---"] * len(head), *body)),
        "",
        result["says"] + "\n",
    ]
    if result["panels"]:
        name = result["study"] + (".quick" if result["mode"] == "quick" else "")
        lines.append(f"![{result['title']}](../results/{name}.png)\n")
    lines.append(_how(result) + "\n")
    return "\n".join(lines)


def _how(result: Mapping[str, Any]) -> str:
    """Say on what it was run: machines, commits, length, digests of recipes."""
    runs: Sequence[Mapping[str, Any]] = result["trainings"]
    if not runs:
        return f"Counted at commit {str(result['provenance']['commit'])[:12]}."
    minutes = math.fsum(each["minutes"] for each in runs)

    def listed(texts: Iterable[str]) -> str:
        return ", ".join(sorted(set(texts)))

    machines = listed(f"{r['processor']} ({r['device']}, {r['threads']} threads)" for r in runs)
    return (
        f"{len(runs)} runs of {listed(format(r['updates'], ',') for r in runs)} updates, "
        f"{minutes:.0f} minutes of training in all, in {listed(r['precision'] for r in runs)}, on "
        f"{machines}; commits {listed(str(r['commit'])[:12] for r in runs)}; recipes "
        f"{listed(r['recipe'] + ' ' + r['recipe_digest'] for r in runs)}."
    )


def _measurement(made: Mapping[str, Any]) -> str:
    """Return the table of a benchmark or an evaluation: its words, numbers and spreads."""
    rows = [dict(row) for row in made.get("rows", [made])]
    for row in rows:
        if "checkpoints" in row:
            names = [Path(each["checkpoint"]).name for each in row.pop("checkpoints")]
            row["checkpoints"] = ", ".join(names)
    told = ("loop", "recipe", "checkpoints", "protocol")
    keys = [key for key in told if key in rows[0]]
    keys += [k for k, v in rows[0].items() if isinstance(v, int | float) or _is_spread(v)]
    table = [
        [key.replace("_percent", " %").replace("_", " ") for key in keys],
        ["---"] * len(keys),
        *([_cell(row.get(key)) for key in keys] for row in rows),
    ]
    machine = made.get("hardware") or rows[0]["hardware"]
    commit = (made.get("provenance") or rows[0]["provenance"])["commit"]
    lines = [
        f"### {made['what']}\n",
        *map(_markdown, table),
        "",
        f"`{made['command']}` on {hardware.device_name(machine)} ({machine['device']}, "
        f"{machine['threads']} threads); commit {str(commit)[:12]}.\n",
    ]
    return "\n".join(lines)


def _is_spread(value: Any) -> bool:
    return isinstance(value, dict) and ("mean" in value or "median" in value)


def _not_run(done: Iterable[tuple[str, str, str | None]]) -> str:
    """List what the paper has and no result here stands for.

    Args:
        done: Study, mode and data of every result.
    """
    lines = ["## Not run here\n"]
    fully = {(study, data) for study, mode, data in done if mode == "full"}
    quickly = {study for study, mode, _ in done if mode == "quick"}
    for name, study in catalogue.STUDIES.items():
        if study.needs == _DETECTION:
            lines += [
                f"- {name} by the paper's protocol on {data}: {_NEED[data]}; the command is "
                "complete."
                for data in _DETECTION.split(" or ")
                if (name, data) not in fully
            ]
        elif study.needs != "nothing" and name not in {each for each, _ in fully}:
            need = _NEED[study.needs]
            lines.append(f"- {name} by the paper's protocol: {need}; the command is complete.")
        if study.quick_networks and name not in quickly:
            lines.append(f"- {name} --quick.")
    lines += [f"- {name}: {what}." for name, what in catalogue.BESIDE.items()]
    return "\n".join(lines) + "\n"


def _markdown(cells_of_row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells_of_row) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict) and "median" in value:
        low, high = _cell(value["lowest"]), _cell(value["highest"])
        return f"{_cell(value['median'])} ({low} to {high})"
    if isinstance(value, dict):
        mean = _cell(value["mean"])
        return mean if value["deviation"] is None else f"{mean} +- {_cell(value['deviation'])}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if value == 0 or 0.01 <= abs(value) < 1000:
            return f"{value:.2f}"
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.2g}"
    return str(value)


def _finite(value: Any) -> Any:
    """Return JSON values whose NaN and infinities are words: JSON has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple | range):
        return [_finite(each) for each in value]
    return value
