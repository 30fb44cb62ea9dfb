"""Training speed of ResNet-50 (v1.5) at 224 px: torchvision's loop, that tuned, and ours.

    make bench-train-resnet50      batch 16, half an hour on two cores; nothing else should run
    make bench-train-resnet50-gpu  batch 256, some two minutes on a GPU and the cores beside it

Every contestant is a process of its own that waits for its turn, round by round, so that what one
sets for its process (ours: `hardware.keep_memory`) holds for it alone, a machine that slows down
slows all, and each has its own peak of memory. Each round's rates are divided pair by pair.

The input is one synthetic batch, on the device. The last row reads and cuts the JPEG files of
../shared/data/imagenet-fullsize-150 while it trains, on the same machine's cores; it is left out
where they are not.

The usual loop is eager: in float32 and NCHW on a CPU, on a GPU in bfloat16 and channels-last with
convolutions chosen by trial, as torchvision's references run there. On a GPU the rates that memory
and arithmetic allow are counted too (bench/bounds.py), from what the GPU copies and multiplies in
the same run, and what an update of ours spends its time on (bench/kernel_times.py). A turn there
begins with updates that are not timed, and ends with giving the memory back, so that all fit.

Writes results/bench-train-resnet50.json, or bench-train-resnet50-gpu.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import bounds
import compared
import judges
import kernel_times
from resnets.core import hardware
from resnets.data import labels
from resnets.data.batches import Batch
from resnets.experiment import provenance
from resnets.models import making, zoo

ROOT: Final = Path(__file__).parents[1]
FILES: Final = ROOT.parent / "shared/data/imagenet-fullsize-150"
SIDE_PX: Final = 224
MODEL: Final = "resnet50-v1.5"
WARM_UP: Final = 3  # updates
PROFILED: Final = 3  # updates
OURS: Final = "ours"

Update = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is run, and how often.

    Args:
        device: "cpu" or "cuda".
        images: In a batch.
        rounds: How many.
        settling: Updates at the beginning of a turn that are not timed.
        updates: Timed in a turn.
        files: A folder of JPEG files with labels; None to leave these out.
    """

    device: str
    images: int
    rounds: int
    settling: int
    updates: int
    files: Path | None

    @property
    def where(self) -> torch.device:
        return hardware.device(self.device)

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"


def synthetic(how: Setting) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(how.images, 3, SIDE_PX, SIDE_PX, generator=draw)
    labels_n = torch.randint(1000, (how.images,), generator=draw)
    return images.to(how.where), labels_n.to(how.where)


def torchvisions(how: Setting, *, tuned: bool) -> Update:
    """The loop of torchvision's references; tuned by compiling and what else it lacks."""
    device, fast = how.where, tuned or how.on_gpu
    torch.backends.cudnn.benchmark = True
    model: nn.Module = judges.torchvision().models.resnet50().to(device)
    images, labels_n = synthetic(how)
    if fast:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    if tuned:
        model = torch.compile(model)  # type: ignore[assignment]

    def update() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            loss = cross_entropy(model(images), labels_n)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def ours(how: Setting, files: Path | None, *, trial: bool = False) -> Update:
    """The update of `resnets train`: its loss, precision, optimizer and memory.

    Args:
        how: See `Setting`.
        files: What it reads; None for the synthetic batch.
        trial: Whether cuDNN chooses its kernels by trying them.
    """
    from resnets.data.crops import ResizedCrop
    from resnets.data.file_batches import Augmentation, FileBatches
    from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
    from resnets.models.network import he_init
    from resnets.training import losses
    from resnets.training.step import Precision, train_step

    hardware.keep_memory()
    if trial:
        torch.backends.cudnn.benchmark = True
    device = how.where
    network = making.make(zoo.named(MODEL))
    he_init(network, torch.Generator().manual_seed(0))
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True
    )
    dtype = hardware.DTYPES[hardware.precision(device).value]  # type: ignore[index]
    precision = Precision.of(device.type, dtype)
    model: nn.Module = torch.compile(network)  # type: ignore[assignment]
    loss_of = losses.classification(0.0)
    images, labels_n = synthetic(how)
    fixed = Batch(images.to(memory_format=torch.channels_last), labels_n)
    read = None
    if files is not None:
        read = FileBatches(
            labels.read(files).splits["validation"],
            torch.tensor(IMAGENET_MEAN).view(1, 1, 3),
            Augmentation(ResizedCrop(crop_px=SIDE_PX)),
            seed=0,
            batch_images=how.images,
            device=device,
            std=IMAGENET_STD,
        )
    numbers = iter(range(1, 10**9))

    def update() -> None:
        batch = fixed if read is None else read(next(numbers))
        train_step(model.train(), loss_of, [batch], optimizer, precision)

    return update


def contestants(how: Setting) -> dict[str, Callable[[], Update]]:
    usual = "bfloat16, channels-last" if how.on_gpu else "float32, NCHW"
    tuned = "torch.compile" if how.on_gpu else "bfloat16, channels-last, torch.compile"
    found: dict[str, Callable[[], Update]] = {
        f"torchvision's network, eager {usual}": lambda: torchvisions(how, tuned=False),
        f"the same tuned: {tuned}": lambda: torchvisions(how, tuned=True),
        OURS: lambda: ours(how, None),
    }
    if how.on_gpu:
        found["ours, cudnn.benchmark"] = lambda: ours(how, None, trial=True)
    if how.files is not None:
        found["ours, from JPEG files"] = lambda: ours(how, how.files)
    return found


def contestant(update: Update, how: Setting, answers: TextIO) -> None:
    """Do what every line of standard input says, and answer with a line of JSON."""
    for _ in range(WARM_UP):
        update()
    rest(how)
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        said = turn(update, how) if line == "turn\n" else kernel_times.measure(update, PROFILED)
        rest(how)
        print(json.dumps(said), file=answers, flush=True)


def turn(update: Update, how: Setting) -> tuple[float, float]:
    """Return the seconds that a turn took, and MB at the peak."""
    for _ in range(how.settling):
        update()
    bounds.finish(how.where)
    begun = time.perf_counter()
    for _ in range(how.updates):
        update()
    bounds.finish(how.where)
    seconds = time.perf_counter() - begun
    if how.on_gpu:
        return seconds, torch.cuda.max_memory_allocated() / 2**20
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rest(how: Setting) -> None:
    """Leave the GPU's memory to the others, and forget how much was needed to compile."""
    if how.on_gpu:
        bounds.finish(how.where)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class Process:
    """A contestant in a process of its own, begun as this one was."""

    def __init__(self, name: str) -> None:
        print(f"warming up: {name}", flush=True)
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--contestant", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> Any:
        """Return what it says next; None once it has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else None

    def ask(self, what: str) -> Any:
        """Tell it what to do, and return what it says then."""
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        said = self.answer()
        if said is None:
            sys.exit(f"{self.name}: ended before its time")
        return said

    def end(self) -> None:
        self._process.communicate()


def warmed(how: Setting, names: list[str]) -> list[Process]:
    """Start all that can be; on a CPU one after the other, as each warms up alone."""
    ready = []
    begun = [Process(name) for name in names] if how.on_gpu else map(Process, names)
    for at, process in enumerate(begun):
        if process.answer() == "ready":
            ready.append(process)
        elif at < 2:  # all others are compared with these
            sys.exit(f"{process.name}: did not start")
        else:
            print(f"left out, since it did not start: {process.name}", flush=True)
    return ready


def allowed(how: Setting) -> dict[str, Any]:
    """Return what the GPU copies and multiplies, and what follows for an update's rate."""
    parts = bounds.costs(MODEL, how.images, SIDE_PX)
    bytes_per_s = bounds.copied_bytes_per_s(how.where)
    operations_per_s = bounds.matrix_operations_per_s(how.where)
    torch.cuda.empty_cache()
    return {
        "copy_gb_per_s": round(bytes_per_s / 1e9),
        "bfloat16_matrices_tflop_per_s": round(operations_per_s / 1e12),
        "gb_an_update": {
            "everything fused": round(sum(part.fused_bytes for part in parts) / 1e9, 2),
            "only BN, ReLU and sum fused": round(sum(p.library_bytes for p in parts) / 1e9, 2),
        },
        "tflop_an_update": round(sum(part.operations for part in parts) / 1e12, 3),
        "images_per_second": bounds.rates(parts, how.images, bytes_per_s, operations_per_s),
    }


def shares(row: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, float]:
    """Return what share of each limit a contestant reached."""
    rate = row["images_per_second"]["median"]
    return {name: round(rate / limit, 3) for name, limit in limits.items()}


def main(how: Setting, names: list[str], results: Path) -> None:
    limits = allowed(how) if how.on_gpu else {}
    started = warmed(how, names)
    rates: dict[str, list[float]] = {process.name: [] for process in started}
    peaks_mb = dict.fromkeys(rates, 0)
    for number in range(how.rounds):
        for process in started:
            seconds, peak_mb = process.ask("turn")
            rates[process.name].append(how.updates * how.images / seconds)
            peaks_mb[process.name] = max(peaks_mb[process.name], round(peak_mb))
        print(f"round {number + 1} of {how.rounds}", flush=True)
    rows = [{**row, "peak_memory_mb": peaks_mb[row["loop"]]} for row in compared.rows(rates)]
    result = {
        "what": f"training, ResNet-50 v1.5, {SIDE_PX} px, batch {how.images}, images per second",
        "rounds": how.rounds,
        "updates_a_round": how.updates,
        "rows": rows,
        "hardware": hardware.describe(how.where),
        "provenance": provenance.collect(),
        "command": "make bench-train-resnet50" + ("-gpu" if how.on_gpu else ""),
    }
    if how.on_gpu:
        for row in rows:
            row["share_of_bound"] = shares(row, limits["images_per_second"])
        result["bounds"] = limits
        profiled = next(process for process in started if process.name == OURS)
        results.write_text(json.dumps(result, indent=2) + "\n")  # the profiler may fail
        result["time_of_an_update_of_ours"] = profiled.ask("profile")
    results.write_text(json.dumps(result, indent=2) + "\n")
    for process in started:
        process.end()
    for row in rows:
        print(row["loop"], row["images_per_second"], row["times_the_usual_loop"], sep="  ")
    if how.on_gpu:
        print(json.dumps({**limits, "ours": result["time_of_an_update_of_ours"]}, indent=1)[:6000])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--files", type=Path, default=FILES, help="a folder of JPEG files with labels.csv"
    )
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    return parser.parse_args()


def run() -> None:
    said = arguments()
    on_gpu = said.device != "cpu"
    images, rounds, settling, updates = (256, 5, 3, 12) if on_gpu else (16, 7, 0, 4)
    how = Setting(
        device=said.device,
        images=images,
        rounds=rounds,
        settling=settling,
        updates=updates,
        files=said.files if said.files.is_dir() else None,
    )
    made = contestants(how)
    if said.contestant is None:
        name = f"bench-train-resnet50{'-gpu' if on_gpu else ''}.json"
        main(how, list(made), ROOT / "results" / name)
    else:
        answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what else is printed is no answer
        contestant(made[said.contestant](), how, answers)


if __name__ == "__main__":
    run()
