"""A table or figure of the paper as a command: train what is missing, measure, write it down.

results/NAME.json          what was found, from where, beside the paper's numbers
results/NAME.quick.json    the same of short runs on the built-in sample; never mixed with full ones
results/NAME[.quick].png   its figure, where the paper has one
runs/reproduce/            the runs, which studies share
"""

import html
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from resnets.core import artifacts, hardware
from resnets.core.errors import DataError, RecipeError
from resnets.data import opening
from resnets.data.files import FileData
from resnets.data.sets import DataSet
from resnets.experiment import figures, provenance, results, trainings
from resnets.experiment.studies import catalogue
from resnets.experiment.studies.study import Found, Setting, Study
from resnets.experiment.trainings import Trained, Training
from resnets.recipes import codec

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, repr=False)
class Reproduction:
    """What a study found; shows as a table in `print` and in a notebook.

    `path` is where it was written, `figure` where its picture is, if it has one.
    """

    result: dict[str, Any]
    path: Path
    figure: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, as results/NAME.json has it."""
        return self.result

    def plot(self) -> Figure:
        """Return its figure.

        Raises:
            RecipeError: The paper has no figure of it.
        """
        if self.figure is None:
            raise RecipeError(f"{self.result['study']}: a table; it has no figure")
        return figures.draw(self.result)

    def __str__(self) -> str:
        return results.text(self.result)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = results.cells(self.result)
        body = "".join(
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"
            for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
        )
        title = html.escape(results.title(self.result))
        return f"<p>{title}</p><table>{body}</table><p>{html.escape(self.result['says'])}</p>"


def reproduce(
    name: str,
    *,
    quick: bool = False,
    seeds: int = 1,
    data: DataSet | FileData | str | Path | None = None,
    device: str | None = None,
    settings: Sequence[str] = (),
) -> Reproduction:
    """Reproduce a table or figure of the paper, or one of its arguments.

    Stopped or killed at any point, the same call goes on where it stood.

    Args:
        name: Any of `resnets list studies`.
        quick: Train for minutes on the built-in sample instead of the paper's schedule.
        seeds: How many runs of each network, with seeds 0, 1, ...
        data: What to train on; by default what the recipes name. ImageNet must be given.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.
        settings: `a.b=value` for every recipe; the result is labelled with them.

    Raises:
        RecipeError: No study has that name or that form.
        DataError: Its data is missing.
        InterruptedRunError: It was told to stop; the same call continues.
    """
    study = catalogue.named(name)
    if seeds < 1:
        raise RecipeError(f"--seeds: must be positive, got {seeds}")
    where = hardware.device(device)
    networks = study.quick_networks if quick else study.networks
    if study.needs == "nothing":
        if quick or data is not None or settings:
            raise RecipeError(f"{name}: counts and trains nothing, it takes no other argument")
        found = study.find(Setting(False, (), None, where))
        return _write(name, study, found, None, (), ["reproduce", name])
    if networks is None:
        raise RecipeError(
            f"{name}: has no quick form; `resnets list studies` shows what has, and --data D "
            "starts the full one"
        )
    wanted = [
        Training(network.label, recipe_name, codec.override(recipe, settings), seed)
        for seed in range(seeds)
        for network in networks
        for recipe_name, recipe in [network.recipe(quick=quick)]
    ]
    opened = _open(name, study, data, quick)
    trained = trainings.train(wanted, opened, device)
    found = study.find(Setting(quick, trained, opened, where))
    words = ["reproduce", name, *(["--quick"] if quick else []), "--seeds", str(seeds)]
    words += ["--data", str(data)] if isinstance(data, str | Path) else []
    words += [word for setting in settings for word in ("--set", setting)]
    return _write(name, study, found, opened, trained, words, quick=quick, settings=settings)


def _open(
    name: str, study: Study, data: DataSet | FileData | str | Path | None, quick: bool
) -> DataSet | FileData:
    """Return the data to train on, of the kind that the study's networks take.

    Raises:
        DataError: It is not there, or of the other kind.
    """
    files = study.needs == "imagenet" and not quick
    if data is None:
        if files:
            also = ", or see --quick" if study.quick_networks else ""
            raise DataError(f"{name}: needs ImageNet; name its folder with --data D{also}")
        data = "cifar10-sample" if quick else study.needs
    opened = opening.open_data(data) if isinstance(data, str | Path) else data
    if files and isinstance(opened, DataSet):
        raise DataError(f"{name}: trains on image files, as ImageNet has; {opened.name} has none")
    return opened if files else opening.in_memory(opened)


def _write(
    name: str,
    study: Study,
    found: Found,
    data: DataSet | FileData | None,
    trained: Sequence[Trained],
    words: Sequence[str],
    *,
    quick: bool = False,
    settings: Sequence[str] = (),
) -> Reproduction:
    """Write what was found, and say by which command and at which commit."""
    stem = ".".join([name, *(["quick"] if quick else []), *(["changed"] if settings else [])])
    result = {
        "format": FORMAT,
        "study": name,
        "title": study.title,
        "source": study.source,
        "mode": "quick" if quick else "full" if trained else "exact",
        "data": None if data is None else data.name,
        "settings": list(settings),
        "columns": dict(found.columns),
        "rows": [dict(row) for row in found.rows],
        "says": found.says,
        "panels": [
            asdict(replace(p, lines=[_plain(line) for line in p.lines])) for p in found.panels
        ],
        "trainings": [each.describe() for each in trained],
        "provenance": {**provenance.collect(), "command": shlex.join(["resnets", *words])},
    }
    path = Path("results") / f"{stem}.json"
    artifacts.write_bytes(path, results.encode(result))
    figure = path.with_suffix(".png") if found.panels else None
    if figure is not None:
        figures.save(figures.draw(result), figure)
    return Reproduction(result, path, figure)


def _plain(line: Any) -> Any:
    """Return a line whose numbers are lists, as JSON has them."""
    return replace(
        line,
        x=list(line.x),
        y=list(line.y),
        low=None if line.low is None else list(line.low),
        high=None if line.high is None else list(line.high),
    )
