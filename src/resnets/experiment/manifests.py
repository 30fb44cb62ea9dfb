"""A run's manifest: what the run is, written before its first update and read to continue it."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from resnets.core import artifacts, hardware
from resnets.core.errors import RunError
from resnets.core.processes import Team
from resnets.data.preprocess import Preprocess
from resnets.data.scenes import Scaling
from resnets.experiment import provenance
from resnets.inference import checkpoints
from resnets.inference.checkpoints import BEGINNING, FINISHED, MANIFEST, STATES
from resnets.models import freezing
from resnets.recipes import codec
from resnets.recipes.detector import AnyRecipe

FORMAT: Final = 1
STATES_KEPT: Final = 2  # so that one good one survives whatever happens to the newest

_CHECKSUM: Final = "sha256"  # of everything else in the manifest


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest with a checksum, by which a damaged or edited one is told."""
    signed = {**manifest, _CHECKSUM: _checksum(manifest)}
    artifacts.write_json(folder / MANIFEST, signed)


def read(folder: Path) -> dict[str, Any]:
    """Return a run's manifest, as it was written.

    Raises:
        RunError: The folder holds no run, or its manifest was damaged or edited, or is too new.
        CheckpointError: The manifest is not JSON.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise RunError(
            f"{folder}: no run in this folder ({MANIFEST} is missing); name the folder of one"
        )
    manifest = artifacts.read_json(path)
    written = manifest.get("format")
    if type(written) is int and written > FORMAT:
        raise RunError(f"{path}: written by a newer resnets (format {written}); upgrade resnets")
    if manifest.get(_CHECKSUM) != _checksum(manifest):
        raise RunError(
            f"{path}: damaged or edited, it does not match its checksum; to change a run, train a "
            "new one"
        )
    return manifest


def _checksum(manifest: Mapping[str, Any]) -> str:
    content = {key: value for key, value in manifest.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def description(manifest: Mapping[str, Any], preprocess: Preprocess | Scaling) -> dict[str, Any]:
    """Return what a checkpoint says of itself: enough to evaluate, predict, export and serve."""
    kept = ("name", "recipe", "recipe_digest", "seed", "data", "classes", "hardware", "provenance")
    about = {key: manifest[key] for key in kept}
    about["continued"] = manifest.get("continued", [])
    about["model"] = manifest["recipe"]["model"]
    about["kind"] = checkpoints.KINDS.get(about["model"]["kind"], checkpoints.CLASSIFIER)
    if about["kind"] == checkpoints.LOCALIZER:
        about["weights"] = manifest["weights"]  # they say what is in an image
    about["preprocessing"] = codec.preprocess_to_tree(preprocess)
    return about


def new_folder(out: Path | None, name: str) -> Path:
    """Make and return the run's folder, which must hold nothing yet."""
    if out is not None:
        check_free(out)
        out = out.expanduser()
        with artifacts.storing(out):
            out.mkdir(parents=True, exist_ok=True)
        return out
    number = 1
    while True:
        free = Path("runs") / (f"{name}-{number}" if number > 1 else name)
        with artifacts.storing(free), contextlib.suppress(FileExistsError):
            free.mkdir(parents=True)
            return free
        number += 1


def check_free(out: Path) -> None:
    """Refuse a run's folder that is there already and holds anything.

    Raises:
        RunError: It does; the message says how to go on if it is a run.
    """
    if out.expanduser().exists():
        check_empty(out.expanduser())


def check_empty(out: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        RunError: It does; the message says how to go on if it is a run.
    """
    if (out / MANIFEST).exists():
        raise RunError(
            f"--out {out}: holds a run already; continue it with `resnets train --resume {out}`, "
            "or name another folder"
        )
    if not out.is_dir() or any(not _is_remains(path) for path in out.iterdir()):
        raise RunError(f"--out {out}: exists and is not empty; name a new folder")


def _is_remains(path: Path) -> bool:
    """Tell what a run leaves that was killed before it had a manifest."""
    if path.name == STATES and path.is_dir():
        return all(each.name == BEGINNING or _is_remains(each) for each in path.iterdir())
    return path.name == artifacts.LOCK or path.match(".*.partial")


def announce(
    folder: Path,
    manifest: dict[str, Any],
    recipe: AnyRecipe,
    done: int,
    device: torch.device,
    team: Team,
) -> None:
    """Say on stderr what begins or goes on, with the reasons for how it is computed."""
    runtime = manifest["runtime"]
    lines = [
        f"run          {folder}" + (f", continued after update {done:,}" if done else ""),
        f"recipe       {manifest['name']} {manifest['recipe_digest']}, seed {manifest['seed']}, "
        f"{recipe.total_steps:,} updates of {recipe.batch_images} images",
        f"data         {manifest['data']['name']} {manifest['data']['digest'][:12]}",
        f"device       {device}, {hardware.device_name(manifest['hardware'])}, "
        f"{torch.get_num_threads()} threads, channels-last"
        + (f", {team.size} processes" if team.size > 1 else ""),
        *(
            f"{what:<12} {runtime[what]['value']}: {runtime[what]['reason']}"
            for what in ("precision", "compilation")
        ),
    ]
    if recipe.transfer is not None and recipe.transfer.frozen_stages:
        frozen = freezing.told(recipe.transfer.frozen_stages)
        lines.append(f"frozen       {frozen}, by transfer.frozen_stages")
    lines += [f"differs      {what}" for what in recipe.differs]
    lines.append(f"checkpoints  the {STATES_KEPT} newest while it runs, then {FINISHED} alone")
    if done:
        others = _note_continuation(folder, manifest, done, device, team)
        if others:
            lines.append(f"note         {others} than before: last bits may differ")
    sys.stderr.write("\n".join(lines) + "\n")


def _note_continuation(
    folder: Path, manifest: dict[str, Any], done: int, device: torch.device, team: Team
) -> str:
    """Write into the manifest who continues the run; return what is not as it was before."""
    now: dict[str, dict[str, Any]] = {
        "hardware": hardware.describe(device),
        "provenance": provenance.collect(),
    }
    before = [manifest["runtime"], *manifest.get("continued", [])][-1].get("processes", 1)
    entry = {"update": done, "processes": team.size, **now}
    manifest["continued"] = [*manifest.get("continued", []), entry]
    write(folder, manifest)
    began = manifest["provenance"]
    differs = {
        "machine": manifest["hardware"] != now["hardware"],
        "version": any(began.get(k) != now["provenance"].get(k) for k in ("resnets", "packages")),
        "commit": began.get("commit") != now["provenance"].get("commit"),
        "number of processes": before != team.size,
    }
    others = [what for what, there in differs.items() if there]
    return f"another {' and another '.join(others)}" if others else ""
