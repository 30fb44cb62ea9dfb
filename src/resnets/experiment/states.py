"""A run's state between two updates: its tensors, its files, and putting it back."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnets.core.processes import Team
from resnets.experiment.build import Parts
from resnets.experiment.choosing import Best
from resnets.inference import checkpoints
from resnets.inference.checkpoints import STATES, AnyCheckpoint


def path_of(folder: Path, number: int) -> Path:
    """Return the file of the state after an update; names sort as their numbers do."""
    return folder / STATES / f"update-{number:09d}.safetensors"


def paths(folder: Path) -> list[Path]:
    """Return the files of all states of a run, the oldest first."""
    return sorted((folder / STATES).glob("update-*.safetensors"))


def clear(folder: Path, done: int) -> None:
    """Remove what a kill left half-written, and states that proved unreadable.

    Those would be newer than every state still to come, which would be dropped in their favour.
    """
    for unfinished in folder.rglob(".*.partial"):
        unfinished.unlink()
    for state in paths(folder):
        if state.name > path_of(folder, done).name:
            sys.stderr.write(f"note         {state.name} is damaged and was removed\n")
            state.unlink()


def newest(folder: Path, team: Team) -> AnyCheckpoint | None:
    """Return the newest state of a run that can be read, or None, in every process of a team."""
    if team.size == 1:
        return checkpoints.newest_state(folder)
    read: list[AnyCheckpoint | None] = []
    team.led(lambda: read.append(checkpoints.newest_state(folder)))
    found = read[0] if team.leads else None
    if team.led(lambda: found is None):
        return None
    path = team.led(lambda: "" if found is None else str(found.path))
    about = team.led(lambda: {} if found is None else found.about)
    tensors = team.share_tensors(None if found is None else found.tensors)
    return checkpoints.parse(Path(path), tensors, about)


def restore(parts: Parts, state: AnyCheckpoint | None) -> tuple[int, dict[str, list[float]], Best]:
    """Put a saved state into the parts; return the updates it had done, its window, its best."""
    if state is None:
        return 0, {}, Best()
    state.network()  # refuses tensors that do not fit
    parts.model.load_state_dict(state.trained or state.model)
    if parts.ema is not None:
        parts.ema.restore(state.model)
    parameters = [p for group in parts.optimizer.param_groups for p in group["params"]]
    saved = parts.optimizer.state_dict()
    for name, tensor in state.optimizer.items():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        # In the parameter's own memory format: the fused SGD walks through both in memory order
        # and would silently pair the wrong elements.
        alike = torch.empty_like(parameter) if tensor.shape == parameter.shape else tensor
        saved["state"].setdefault(int(index), {})[key] = alike.copy_(tensor)
    parts.optimizer.load_state_dict(saved)
    if parts.precision.scaler.is_enabled():
        parts.precision.scaler.load_state_dict(state.about["scaler"])
    if parts.aside is not None:
        parts.aside.restore({int(index): why for index, why in state.about.get("set_aside", [])})
    best = Best.restored(state.about.get("best", {"waited": 0}), state.best)
    return int(state.about["update"]), state.about["since_log"], best


def of_run(parts: Parts, best: Best) -> dict[str, Tensor]:
    """Return all tensors that a run needs to go on, as a checkpoint names them."""
    tensors = of_kept(parts) | of_optimizer(parts.optimizer)
    if parts.ema is not None:
        tensors |= {f"trained.{name}": t for name, t in parts.model.state_dict().items()}
    return tensors | {f"best.{name}": t for name, t in best.tensors.items()}


def of_kept(parts: Parts) -> dict[str, Tensor]:
    """Return the tensors of the network that is kept, and of its preprocessing."""
    tensors = {f"model.{name}": tensor for name, tensor in parts.kept.state_dict().items()}
    if parts.preprocess.mean is None:
        tensors[checkpoints.MEAN] = parts.mean_hwc
    return tensors


def of_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the tensors of an optimizer, as a checkpoint names them."""
    each: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{key}": value
        for index, values in each.items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }
