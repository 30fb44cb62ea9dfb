"""What this machine has, and which device, precision and compilation a run should use on it.

Every choice comes with its reason, so that a run can print it and write it down.
"""

import ctypes
import functools
import os
import platform
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from resnets.core.errors import ResNetsError

PrecisionName = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[PrecisionName, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

# Multiply-adds of a whole run above which compiling wins back its time. Compiling a CIFAR
# ResNet-20 costs 40 s on two cores and then saves 0.3 ms an image of 41e6 multiply-adds
# (docs/lab-log.md): 40 / 0.3e-3 * 41e6 * 3 passes is 1.6e13. A GPU does the same work some
# fifty times sooner, while compiling takes as long.
_COMPILE_FROM = {"cpu": 3e13, "cuda": 1e15}


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision about how to compute, and why."""

    value: str
    reason: str


def device(name: str | None = None) -> torch.device:
    """Return the device to use: the named one, or a GPU where there is one, or the CPU.

    Raises:
        ResNetsError: The named device does not exist here.
    """
    gpus = gpu_count()
    _settle_convolutions()
    if name is None:
        return torch.device("cuda" if gpus else "cpu")
    here = ["cpu", *(["cuda"] if gpus else []), *(f"cuda:{i}" for i in range(gpus))]
    if name not in here:
        raise ResNetsError(f"--device {name}: this machine has {', '.join(here)}")
    return torch.device(name)


def _settle_convolutions() -> None:
    """Make NVIDIA's convolutions give the same numbers every time, and float32's in float32.

    cuDNN may otherwise add up gradients in any order, choose its way by a stopwatch, and round to
    TF32; a run that is continued would end with other bits than one that never stopped.
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    with warnings.catch_warnings():
        # Some versions announce another name for it; what has that name alone can't be asked for
        # by those parts of torch that know the old one.
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False


def gpu_count() -> int:
    """Return how many GPUs can be used; none where the driver does not fit this torch."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def precision(where: torch.device) -> Choice:
    """Return bfloat16 where the device computes in it, else float32."""
    if where.type == "cuda":
        name = torch.cuda.get_device_name(where)
        if torch.cuda.get_device_capability(where) >= (8, 0):
            return Choice("bfloat16", f"{name} computes in bfloat16")
        return Choice("float32", f"{name} does not compute in bfloat16")
    units = bfloat16_units()
    if units:
        return Choice("bfloat16", f"this processor computes in bfloat16 ({units})")
    return Choice("float32", "this processor has no bfloat16 arithmetic")


def bfloat16_units() -> str:
    """Return the processor's units that multiply in bfloat16, or an empty string.

    Only those on which training was measured to be faster (docs/lab-log.md): ARM's are not.
    """
    able = _capabilities()
    units = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
    return ", ".join(words for key, words in units.items() if able.get(key))


def compilation(where: torch.device, multiply_adds: float) -> Choice:
    """Return "compiled" or "eager" for a run of that many multiply-adds in all."""
    from_here = _COMPILE_FROM[where.type]
    size = f"{multiply_adds:.1e} multiply-adds"
    if multiply_adds < from_here:
        reason = f"{size}: under {from_here:.0e}, compiling takes longer than it saves"
        return Choice("eager", reason)
    missing = missing_for_compiling(where.type)
    if missing:
        return Choice("eager", f"compiling does not work here: {missing}")
    return Choice("compiled", f"{size}: over {from_here:.0e}, compiling wins back its time")


@functools.cache
def missing_for_compiling(device_type: str) -> str:
    """Return why torch cannot compile here, or an empty string; found out by trying, in seconds."""

    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1

    try:
        torch.compile(twice)(torch.ones(8, device=device_type))
    # Each missing tool makes another kind of exception, most of them private to torch.
    except Exception as err:
        return (" ".join(str(err).split()) or type(err).__name__)[:160]
    return ""


@functools.cache
def keep_memory() -> bool:
    """Tell the C library to keep freed memory for the next update; return whether it could.

    By default glibc gives every activation of a few MB back to the kernel, which must then zero
    and map it again: a compiled update of CIFAR ResNet-20 spends a quarter of its time there
    (docs/lab-log.md). Linux with glibc only; harmless elsewhere.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mmap_threshold, trim_threshold = -3, -1  # glibc, malloc.h
    libc = ctypes.CDLL(None)
    largest = 32 * 2**20  # the largest value glibc takes on 64 bits
    never = 2**31 - 1
    return bool(libc.mallopt(mmap_threshold, largest) and libc.mallopt(trim_threshold, never))


def device_name(described: Mapping[str, str | int]) -> str:
    """Return the name of what computes, by what `describe` said: the GPU, else the processor."""
    return str(described.get("gpu", described["processor"]))


def describe(where: torch.device) -> dict[str, str | int]:
    """Return what a published number must say about the machine it was measured on."""
    found: dict[str, str | int] = {
        "device": str(where),
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "bfloat16": bfloat16_units() or "none",
        "system": f"{platform.system()} {platform.machine()}",
    }
    if where.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(where)
    return found


def processor_name() -> str:
    """Return the processor's name as the system gives it."""
    name = _capabilities().get("cpu_name")
    return str(name or platform.processor() or platform.machine())


def _capabilities() -> Mapping[str, object]:
    """Ask torch what the processor has; older versions do not tell."""
    ask = getattr(torch.cpu, "get_capabilities", dict)
    found: Mapping[str, object] = ask()
    return found
