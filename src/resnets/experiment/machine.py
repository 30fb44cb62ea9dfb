"""Where a run computes and whether it is compiled, when it begins and when it goes on."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from resnets.core import hardware, processes
from resnets.core.errors import ResNetsError, RunError
from resnets.core.processes import Team
from resnets.data.batches import TrainBatches
from resnets.data.opening import Data
from resnets.experiment import tasks
from resnets.experiment.build import Parts
from resnets.models.blocks import DropPath
from resnets.recipes.detector import AnyRecipe, DetectorRecipe

Compile = Literal["auto", "on", "off"]


def compilation(
    recipe: AnyRecipe, data: Data, device: torch.device, asked: Compile
) -> hardware.Choice:
    """Return whether to compile a run, and why.

    Raises:
        RunError: It was asked for and does not work here.
    """
    if asked == "off":
        return hardware.Choice("eager", "set by hand")
    if isinstance(recipe, DetectorRecipe):
        if asked == "on":
            raise RunError("--compile on: a detector's images have many sizes; leave it out")
        return hardware.Choice("eager", "a detector's images have many sizes")
    if asked == "on":
        missing = hardware.missing_for_compiling(device.type)
        if missing:
            raise RunError(f"--compile on: compiling does not work here: {missing}")
        return hardware.Choice("compiled", "set by hand")
    return hardware.compilation(device, tasks.multiply_adds(recipe, data))


def replays(parts: Parts) -> bool:
    """Return whether a run's updates are replayed: on a GPU, where it would wait for Python.

    That is so for small images, which lie on the GPU; with files, reading decides. Neither changes
    a bit of the numbers.
    """
    return (
        parts.batch_of.device.type == "cuda"
        and isinstance(parts.batch_of, TrainBatches)
        and isinstance(parts.optimizer, torch.optim.SGD)
        and parts.division.slices == 1
        and not parts.precision.scaler.is_enabled()
        and not any(isinstance(m, nn.Dropout | DropPath) for m in parts.model.modules())
    )


def device_now(
    folder: Path, manifest: Mapping[str, Any], asked: str | None, team: Team
) -> torch.device:
    """Return the device to continue on, if the run can go on there as it began.

    Raises:
        RunError: It cannot.
    """
    runtime = manifest["runtime"]
    began: str = runtime["device"] if team.size == 1 else runtime["device"].split(":")[0]
    try:
        where = processes.device(asked or began)
    except ResNetsError as err:
        if asked is not None:
            raise
        raise RunError(f"{folder}: began on {runtime['device']}; {err}") from err
    if runtime["compilation"]["value"] == "compiled":
        missing = hardware.missing_for_compiling(where.type)
        if missing:
            raise RunError(f"{folder}: began compiled, which does not work here: {missing}")
    return where


def threads_now(manifest: Mapping[str, Any]) -> int:
    """Return how many threads continue a run: what `OMP_NUM_THREADS` says, else as many as before.

    Never more than there are processors: threads that share one wait for each other at every step.
    """
    here = torch.get_num_threads()
    began: int = manifest["runtime"]["threads"]
    return here if "OMP_NUM_THREADS" in os.environ else min(began, here)
