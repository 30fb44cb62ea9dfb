"""Where the time of an update goes on a GPU: the kernels it runs, in groups, from torch's profiler.

A kernel belongs to a group by its name, and where a library's name does not tell, by the operation
that launched it. What the groups hold can be checked: the longest kernels are listed too.
"""

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

FORWARD: Final = "convolutions, forward"
DATA: Final = "convolutions, data gradient"
WEIGHT: Final = "convolutions, weight gradient"
BACKWARD: Final = "convolutions, gradients whose names do not say which"
CASTS: Final = "casts and changes of layout"
BETWEEN: Final = "BN, ReLU, sums, pooling"
OPTIMIZER: Final = "optimizer"
OTHER: Final = "other"
_LONGEST: Final = 30  # kernels that are listed
_ON_GPU: Final = ("kernel", "gpu_memcpy", "gpu_memset")

# The first that fits decides: what a kernel is called, what launched it (both in small letters).
_GROUPS: Final = tuple(
    (group, re.compile(name), re.compile(launched))
    for group, name, launched in (
        (OPTIMIZER, r"sgd|multi_tensor", r""),
        (OPTIMIZER, r"", r"_fused_sgd|_foreach"),
        (BETWEEN, r"^triton_.*(batch_norm|relu|threshold|add|pool|mean|sum|div|where)", r""),
        (CASTS, r"^triton_|nchwtonhwc|nhwctonchw", r""),
        (FORWARD, r"fprop", r""),
        (DATA, r"dgrad", r""),
        (WEIGHT, r"wgrad", r""),
        (BACKWARD, r"", r"convolution_backward"),
        (FORWARD, r"", r"conv"),
        (BETWEEN, r"batch_?norm|bn_(fw|bw)|pool|softmax|relu|threshold", r""),
        (CASTS, r"", r"aten::(copy_|to|_to_copy)"),
        (BETWEEN, r"elementwise|reduce", r""),
    )
)


def measure(update: Callable[[], Any], updates: int) -> dict[str, Any]:
    """Profile some updates; return what `grouped` makes of them."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities):
        update()  # starting the profiler takes a second, which is not the update's
    with torch.profiler.profile(activities=activities) as profiled:
        for _ in range(updates):
            update()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(path))
        return grouped(json.loads(path.read_text())["traceEvents"], updates)


def grouped(events: Sequence[Mapping[str, Any]], updates: int) -> dict[str, Any]:
    """Return the milliseconds of each group of kernels in an update, and the longest kernels.

    "nothing running" is the time between the first kernel's begin and the last one's end in which
    the GPU had nothing to do.

    Args:
        events: Of a trace in Chrome's format, times in microseconds.
        updates: How many are in it.
    """
    launched = {
        event["args"]["External id"]: str(event["name"])
        for event in events
        if event.get("cat") == "cpu_op" and "External id" in event.get("args", {})
    }
    ran = [event for event in events if event.get("cat") in _ON_GPU and event.get("ph") == "X"]
    groups: Counter[str] = Counter()
    kernels: Counter[tuple[str, str, str]] = Counter()
    times: Counter[tuple[str, str, str]] = Counter()
    for event in ran:
        by = launched.get(event.get("args", {}).get("External id"), "")
        name = str(event["name"])
        key = (group_of(name, by), name, by)
        groups[key[0]] += event["dur"]
        kernels[key] += event["dur"]
        times[key] += 1

    def ms(microseconds: float) -> float:
        return round(microseconds / 1000 / updates, 3)

    span = max((e["ts"] + e["dur"] for e in ran), default=0) - min(
        (e["ts"] for e in ran), default=0
    )
    return {
        "updates": updates,
        "ms_an_update": ms(span),
        "groups_ms": {
            **{name: ms(took) for name, took in groups.most_common()},
            "nothing running": ms(span - _busy(ran)),
        },
        "kernels_an_update": round(len(ran) / updates, 1),
        "longest": [
            {
                "kernel": key[1][:160],
                "launched_by": key[2],
                "group": key[0],
                "times_an_update": round(times[key] / updates, 1),
                "ms_an_update": ms(took),
            }
            for key, took in kernels.most_common(_LONGEST)
        ],
    }


def group_of(kernel: str, launched_by: str) -> str:
    """Return the group that a kernel belongs to."""
    name, by = kernel.lower(), launched_by.lower()
    for group, named, launched in _GROUPS:
        if named.search(name) and launched.search(by):
            return group
    return OTHER


def _busy(ran: Sequence[Mapping[str, Any]]) -> float:
    """Return how long at least one of them ran."""
    total, until = 0.0, float("-inf")
    for event in sorted(ran, key=lambda event: float(event["ts"])):
        begin, end = float(event["ts"]), float(event["ts"] + event["dur"])
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total
