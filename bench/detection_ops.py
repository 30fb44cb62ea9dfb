"""Milliseconds on one core of what a detector does beside its convolutions: NMS and RoI pooling.

    python bench/detection_ops.py           a minute; nothing else should be running

Pinned to one core. NMS of 6,000 boxes: such as hardly overlap, where nearly all stay and so nearly
all pairs are compared; and anchors moved a little, as an RPN proposes them, all that stay and the
300 of testing. RoI pooling of 300 boxes on a map of 1024 x 38 x 63, ResNet's of a 600 x 1000 px
image, to 7x7 and to 14x14, from both memory layouts; its gradient, of the 128 boxes of training.

The rows take turns. A shared machine makes the time on the clock longer and not the processor's, so
both stand in each row. Of the processor's time much is the kernel's, which hands out every page of
a large result as zeros: the 240 MB of 14x14. THP_MEM_ALLOC_ENABLE=1, PyTorch's own switch, makes
pages 2 MB; run it with that too.
"""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from resnets.core import hardware
from resnets.detection import anchors, boxes, nms, regions
from resnets.experiment import provenance

ROOT = Path(__file__).parents[1]
HUGE_PAGES = os.environ.get("THP_MEM_ALLOC_ENABLE") == "1"
RESULTS = ROOT / "results" / f"bench-detection-ops{'-huge-pages' if HUGE_PAGES else ''}.json"
ROUNDS = int(os.environ.get("ROUNDS", "7"))
HEIGHT, WIDTH, STRIDE = 600, 1000, 16
PROPOSED, REGIONS, TRAINED = 6000, 300, 128

Turn = Callable[[], object]


def scattered(count: int, drawn: torch.Generator) -> Tensor:
    """Return boxes with their middle anywhere and sides from 16 to 600 px, equal in logarithm."""
    middle = torch.rand(count, 2, generator=drawn) * torch.tensor([WIDTH, HEIGHT])
    half = 8 * (600 / 16) ** torch.rand(count, 2, generator=drawn)
    return boxes.clip(torch.cat((middle - half, middle + half), 1), HEIGHT, WIDTH)


def proposed(count: int, drawn: torch.Generator) -> Tensor:
    """Return anchors as an RPN moves them, each by a tenth of its sides or so."""
    every = anchors.of_map(anchors.VOC, rows=38, columns=63)
    some = every[torch.randperm(len(every), generator=drawn)[:count]]
    moved = boxes.decode(torch.randn(count, 4, generator=drawn) / 10, some)
    return boxes.clip(moved, HEIGHT, WIDTH)


def suppressing(given_n4: Tensor, scores_n: Tensor, most: int | None) -> Turn:
    return lambda: nms.nms(given_n4, scores_n, 0.7, most)


def pooling(features_nchw: Tensor, given_r4: Tensor, side: int) -> Turn:
    image_r = torch.zeros(len(given_r4), dtype=torch.int64)
    return lambda: regions.pool(features_nchw, given_r4, image_r, side=side, stride=STRIDE)


def aligning(features_nchw: Tensor, given_r4: Tensor, side: int) -> Turn:
    image_r = torch.zeros(len(given_r4), dtype=torch.int64)
    return lambda: regions.align(
        features_nchw, given_r4, image_r, side=side, stride=STRIDE, sampling_ratio=2
    )


def gradient(features_nchw: Tensor, given_r4: Tensor, side: int) -> Turn:
    features_nchw = features_nchw.clone().requires_grad_()
    image_r = torch.zeros(len(given_r4), dtype=torch.int64)
    pooled = regions.pool(features_nchw, given_r4, image_r, side=side, stride=STRIDE)
    slope = torch.ones_like(pooled)
    return lambda: torch.autograd.grad(pooled, features_nchw, slope, retain_graph=True)


def turns() -> dict[str, Turn]:
    drawn = torch.Generator().manual_seed(0)
    apart, near = scattered(PROPOSED, drawn), proposed(PROPOSED, drawn)
    scores_n = torch.rand(PROPOSED, generator=drawn)
    rows = {
        "NMS, 6,000 scattered boxes": suppressing(apart, scores_n, None),
        "NMS, 6,000 proposals": suppressing(near, scores_n, None),
        "NMS, 6,000 proposals, the first 300": suppressing(near, scores_n, 300),
    }
    given = scattered(REGIONS, drawn)
    features = torch.randn(1, 1024, 38, 63, generator=drawn).relu()
    last = features.contiguous(memory_format=torch.channels_last)
    for side in (7, 14):
        size = f"{side}x{side}"
        rows[f"RoI pooling, 300 boxes, {size}"] = pooling(features, given, side)
        rows[f"RoI pooling, 300 boxes, {size}, channels last"] = pooling(last, given, side)
        rows[f"RoI pooling, 128 boxes, {size}: gradient"] = gradient(last, given[:TRAINED], side)
    rows["RoIAlign, 300 boxes, 7x7, channels last"] = aligning(last, given, 7)
    return rows


def spread(values: list[float]) -> dict[str, float]:
    middle = statistics.median(values)
    return {
        name: round(1e3 * value, 1)
        for name, value in (("median", middle), ("lowest", min(values)), ("highest", max(values)))
    }


def timed(named: dict[str, Turn]) -> list[dict[str, object]]:
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in named}
    for turn in named.values():
        turn()
    for number in range(ROUNDS):
        for name, turn in named.items():
            clock, processor = time.perf_counter(), time.process_time()
            kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime
            turn()
            kernel = resource.getrusage(resource.RUSAGE_SELF).ru_stime - kernel
            processor = time.process_time() - processor
            seconds[name].append((time.perf_counter() - clock, processor, kernel))
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    kinds = ("clock_ms", "processor_ms", "of_that_kernel_ms")
    return [
        {"loop": name}
        | {
            kind: spread([*times])
            for kind, times in zip(kinds, zip(*all_of, strict=True), strict=True)
        }
        for name, all_of in seconds.items()
    ]


def main() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    rows = timed(turns())
    result = {
        "what": "a detector's operations beside its convolutions, on one core, float32",
        "rounds": ROUNDS,
        "huge_pages": HUGE_PAGES,
        "rows": rows,
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench-detection",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print(f"{row['loop']:<48}", *(f"{name} {row[name]}" for name in row if name != "loop"))


if __name__ == "__main__":
    main()
