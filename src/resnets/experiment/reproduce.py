"""A table or figure of the paper as a command: train what is missing, measure, write it down.

results/NAME.json          what was found, from where, beside the paper's numbers
results/detection.voc.json  of detection a file for each data set; detection.coco.json
results/NAME.quick.json    the same of short runs on the built-in sample; never mixed with full ones
results/NAME[.quick].changed-DIGEST.json   with other data or settings than the study's own
results/NAME[.quick].n1.json   where NAME[.quick].json holds more seeds than were asked for
results/NAME[.quick].png   its figure, where the paper has one
runs/reproduce/            the runs, which studies share
"""

import hashlib
import html
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from resnets.core import artifacts, hardware
from resnets.core.errors import DataError, RecipeError
from resnets.data import opening, pasted
from resnets.data.files import FileData
from resnets.data.opening import Data
from resnets.data.sets import DataSet
from resnets.experiment import figures, provenance, results, trainings
from resnets.experiment.studies import catalogue, detection
from resnets.experiment.studies.study import Found, Setting, Study

FORMAT: Final = 1
_IMAGENET_CLASSES: Final = 1000
_DETECTION: Final = "voc or coco"
# What a study needs that must be given, as people call it.
_CALLED: Final = {"imagenet": "ImageNet", _DETECTION: "PASCAL VOC or COCO"}
# Settings that would make a study another one, beside its networks and what these begin with.
_FIXED: Final[dict[str, tuple[str, ...]]] = {
    "cifar10": ("data.held_out_images",),
    _DETECTION: ("data.train", "data.test", "data.held_out_share", "data.protocol"),
}


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
    data: Data | str | Path | None = None,
    device: str | None = None,
    settings: Sequence[str] = (),
) -> Reproduction:
    """Reproduce a table or figure of the paper, or one of its arguments.

    Stopped or killed at any point, the same call goes on where it stood.

    Args:
        name: Any of `resnets list studies`.
        quick: Train for minutes on the built-in sample instead of the paper's schedule.
        seeds: How many runs of each network, with seeds 0, 1, ...
        data: What to train on; by default what the recipes name. ImageNet, VOC and COCO must be
            given.
        device: "cpu", "cuda", "cuda:1"; by default a GPU where there is one.
        settings: `a.b=value` for every recipe, but for its model and name of data; the result is
            labelled with them.

    Raises:
        RecipeError: No study has that name or that form.
        DataError: Its data is missing.
        DivergedError: A training diverged; the others were done.
        InterruptedRunError: It was told to stop; the same call continues.
    """
    study = catalogue.named(name)
    if seeds < 1:
        raise RecipeError(f"--seeds: must be positive, got {seeds}")
    where = hardware.device(device)
    networks = study.quick_networks if quick else study.networks
    if study.needs == "nothing":
        if quick or data is not None or settings or seeds > 1:
            raise RecipeError(f"{name}: counts and trains nothing, it takes no other argument")
        found = study.find(Setting(False, (), None, where))
        exact = {"mode": "exact", "changed": False, "data": None, "settings": [], "trainings": []}
        return _write(name, study, found, name, [name], exact)
    if networks is None:
        raise RecipeError(
            f"{name}: has no quick form; `resnets list studies` shows what has, and --data D "
            "starts the full one"
        )
    _check_settings(name, study, settings)
    wanted = [
        network.training(quick=quick, settings=settings, seed=seed)
        for seed in range(seeds)
        for network in networks
    ]
    opened = _open(name, study, data, quick)
    own = _is_own(study, opened, quick)
    stem = f"{name}.quick" if quick else name
    if not quick and study.needs == _DETECTION:
        stem += f".{opened.name}"
    if settings or not own:
        text = json.dumps([opened.digest, sorted(settings)])
        stem += f".changed-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    stem = _beside_more_seeds(stem, seeds)
    if study.ready is not None:
        wanted = study.ready(wanted, opened, device)
    trained = trainings.train(wanted, opened, device)
    found = study.find(Setting(quick, trained, opened, where))
    words = [name, *(["--quick"] if quick else []), "--seeds", str(seeds)]
    by_default = own and (quick or study.needs == "cifar10")
    words += [] if by_default else ["--data", opened.name]
    words += [word for setting in settings for word in ("--set", setting)]
    about = {
        "mode": "quick" if quick else "full",
        "changed": bool(settings) or not own,
        "data": opened.name,
        "settings": list(settings),
        "trainings": [run.describe() for each in trained for run in (each.before, each) if run],
    }
    return _write(name, study, found, stem, words, about)


def _check_settings(name: str, study: Study, settings: Sequence[str]) -> None:
    """Refuse what would make a study something else than it says it is."""
    fixed = ["model", "data.name", *_FIXED.get(study.needs, ())]
    for setting in settings:
        path = setting.partition("=")[0]
        if path in fixed or path.partition(".")[0] in ("model", "transfer"):
            raise RecipeError(f"--set {path}: {name} names its own; leave it out")


def _is_own(study: Study, data: Data, quick: bool) -> bool:
    """Tell whether the data is that of the study; ImageNet is told by its thousand classes."""
    if study.needs == _DETECTION:
        return detection.is_own(data, quick=quick)
    if isinstance(data, FileData):
        return len(data.class_names) == _IMAGENET_CLASSES
    return data.name == ("cifar10-sample" if quick else study.needs)


def _beside_more_seeds(stem: str, seeds: int) -> str:
    """Return another name where a result of more seeds has this one, which is not replaced."""
    path = _path(stem)
    if not path.exists():
        return stem
    kept = len({each["seed"] for each in artifacts.read_json(path)["trainings"]})
    return f"{stem}.n{seeds}" if kept > seeds else stem


def _open(name: str, study: Study, data: Data | str | Path | None, quick: bool) -> Data:
    """Return the data to train on, of the kind that the study's networks take.

    Raises:
        DataError: It is not there, or of the other kind.
    """
    files = study.needs == "imagenet" and not quick
    boxes = study.needs == _DETECTION
    if data is None:
        if not quick and study.needs in _CALLED:
            also = ", or see --quick" if study.quick_networks else ""
            raise DataError(
                f"{name}: needs {_CALLED[study.needs]}; name its folder with --data D{also}"
            )
        data = study.needs if not quick else pasted.NAME if boxes else "cifar10-sample"
    opened = opening.open_data(data) if isinstance(data, str | Path) else data
    if boxes:
        return opening.with_boxes(opened)
    if files and isinstance(opened, DataSet):
        raise DataError(f"{name}: trains on image files, as ImageNet has; {opened.name} has none")
    return opening.labelled(opened) if files else opening.in_memory(opened)


def _write(
    name: str,
    study: Study,
    found: Found,
    stem: str,
    words: Sequence[str],
    about: Mapping[str, Any],
) -> Reproduction:
    """Write what was found, and say by which command and at which commit."""
    made = {
        "format": FORMAT,
        "study": name,
        "title": study.title,
        "source": study.source,
        **about,
        "columns": dict(found.columns),
        "rows": [{key: row.get(key) for key in found.columns} for row in found.rows],
        "says": found.says,
        "panels": [asdict(panel) for panel in found.panels],
        "provenance": {
            **provenance.collect(),
            "command": shlex.join(["resnets", "reproduce", *words]),
        },
    }
    content = results.encode(made)
    result = json.loads(content)
    path = _path(stem)
    figure = path.with_suffix(".png") if found.panels else None
    with artifacts.alone(path.parent, wait=True):
        if figure is not None:
            figures.save(figures.draw(result), figure)
        artifacts.write_bytes(path, content)
    return Reproduction(result, path, figure)


def _path(stem: str) -> Path:
    return Path("results") / f"{stem}.json"
