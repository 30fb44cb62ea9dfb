"""Training speed of ResNet-50 (v1.5) at 224 px, batch 16: torchvision's loop, that tuned, and ours.

    make bench-train-resnet50      about half an hour on two cores; nothing else should be running

Every contestant is a process of its own that waits for its turn, round by round, so that what one
sets for its process (ours: `hardware.keep_memory`) holds for it alone, a machine that slows down
slows all, and each has its own peak of memory. Each round's rates are divided pair by pair.

The input is one synthetic batch. The last row reads and cuts the JPEG files of
../shared/data/imagenet-fullsize-150 while it trains, on the same cores.
Writes results/bench-train-resnet50.json.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import compared
from resnets.core import hardware
from resnets.data import labels
from resnets.data.batches import Batch
from resnets.experiment import provenance
from resnets.models import making, zoo

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "results" / "bench-train-resnet50.json"
FILES: Final = ROOT.parent / "shared/data/imagenet-fullsize-150"
BATCH_IMAGES: Final = 16
SIDE_PX: Final = 224
WARM_UP: Final = 3  # updates
UPDATES_A_ROUND: Final = 4
ROUNDS: Final = 7

Update = Callable[[], Any]


def synthetic() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH_IMAGES, 3, SIDE_PX, SIDE_PX, generator=draw)
    return images, torch.randint(1000, (BATCH_IMAGES,), generator=draw)


def torchvisions(*, tuned: bool) -> Update:
    """The loop of torchvision's references; tuned with bfloat16, channels-last and compiling."""
    missing = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        missing.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # type: ignore[import-untyped]

    model: nn.Module = torchvision.models.resnet50()
    images, labels_n = synthetic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    if tuned:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.to(memory_format=torch.channels_last)
        model = torch.compile(model)  # type: ignore[assignment]

    def update(_kept: Any = missing) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
            loss = cross_entropy(model(images), labels_n)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def ours(*, files: bool) -> Update:
    """The update of `resnets train`: its loss, precision, optimizer and memory."""
    from resnets.data.crops import ResizedCrop
    from resnets.data.file_batches import Augmentation, FileBatches
    from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from resnets.models.network import he_init
    from resnets.training import losses
    from resnets.training.step import Precision, train_step

    hardware.keep_memory()
    device = torch.device("cpu")
    network = making.make(zoo.named("resnet50-v1.5"))
    he_init(network, torch.Generator().manual_seed(0))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True
    )
    precision = Precision.of("cpu", hardware.DTYPES[hardware.precision(device).value])  # type: ignore[index]
    model: nn.Module = torch.compile(network)  # type: ignore[assignment]
    loss_of = losses.classification(0.0)
    images, labels_n = synthetic()
    fixed = Batch(images.to(memory_format=torch.channels_last), labels_n)
    read = FileBatches(
        labels.read(FILES).splits["validation"],
        torch.tensor(IMAGENET_MEAN).view(1, 1, 3),
        Augmentation(ResizedCrop(crop_px=SIDE_PX)),
        seed=0,
        batch_images=BATCH_IMAGES,
        device=device,
        std=IMAGENET_STD,
    )
    numbers = iter(range(1, 10**9))

    def update() -> None:
        batch = read(next(numbers)) if files else fixed
        train_step(model.train(), loss_of, [batch], optimizer, precision)

    return update


CONTESTANTS: Final[dict[str, Callable[[], Update]]] = {
    "torchvision's network, eager float32, NCHW": lambda: torchvisions(tuned=False),
    "the same tuned: bfloat16, channels-last, torch.compile": lambda: torchvisions(tuned=True),
    "ours": lambda: ours(files=False),
    "ours, from JPEG files": lambda: ours(files=True),
}


def contestant(name: str) -> None:
    """Take a turn for every line of standard input; answer with seconds and MB at the peak."""
    update = CONTESTANTS[name]()
    for _ in range(WARM_UP):
        update()
    print("ready", flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        for _ in range(UPDATES_A_ROUND):
            update()
        seconds = time.perf_counter() - begun
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(seconds, peak_mb, flush=True)


def main() -> None:
    started = {}
    for name in CONTESTANTS:  # one after the other: each warms up alone
        print(f"warming up: {name}", flush=True)
        process = subprocess.Popen(
            [sys.executable, __file__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            sys.exit(f"{name}: did not start")
        started[name] = process
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    peaks_mb = {}
    for number in range(ROUNDS):
        for name, process in started.items():
            assert process.stdin is not None
            assert process.stdout is not None
            print("go", file=process.stdin, flush=True)
            seconds, peak_mb = map(float, process.stdout.readline().split())
            rates[name].append(UPDATES_A_ROUND * BATCH_IMAGES / seconds)
            peaks_mb[name] = round(peak_mb)
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    for process in started.values():
        process.communicate()
    rows = [{**row, "peak_memory_mb": peaks_mb[row["loop"]]} for row in compared.rows(rates)]
    result = {
        "what": f"training, ResNet-50 v1.5, {SIDE_PX} px, batch {BATCH_IMAGES}, images per second",
        "rounds": ROUNDS,
        "updates_a_round": UPDATES_A_ROUND,
        "rows": rows,
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench-train-resnet50",
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print(row["loop"], row["images_per_second"], row["times_the_usual_loop"], sep="  ")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        contestant(sys.argv[1])
    else:
        main()
