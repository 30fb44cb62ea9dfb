"""Training speed of CIFAR ResNet-20 at batch 128: the usual loop, the same loop tuned, and ours.

    make bench            about eight minutes on two cores; nothing else should be running

All contestants take turns in one process, round by round, so that a machine that slows down slows
all of them; each round's rates are divided pair by pair and the medians are reported. The usual
loop is what most scripts do: PIL images, per-image transforms in DataLoader workers, float32,
NCHW, eager. The tuned peer adds what its author would look up: bfloat16 autocast and channels
last. Both profit from `hardware.keep_memory`, because it holds for the whole process.

At last the whole command `resnets train sample.resnet20` is timed, start and evaluations and
checkpoints included, against the bare updates it consists of.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

import compared
from resnets.core import hardware
from resnets.data import opening
from resnets.data.sets import DataSet
from resnets.experiment import build, provenance
from resnets.models import making, zoo
from resnets.recipes import catalogue, codec
from resnets.training.step import train_step

BATCH_IMAGES = 128
ROUNDS = 10
UPDATES_A_ROUND = 20
# After each turn the loader's workers fill their queue (four batches) before the next one's turn
# begins. That head start is not taken from them: it favours the usual loops.
SETTLE_S = 1.5
RESULTS = Path(__file__).parents[1] / "results" / "bench-train-cifar.json"

Update = Callable[[], Any]


class UsualImages(Dataset[tuple[Tensor, int]]):
    """Per-image transforms on PIL images, as the usual scripts write them."""

    mean = np.array([0.4914, 0.4822, 0.4465], dtype=np.float32)
    deviation = np.array([0.2470, 0.2435, 0.2616], dtype=np.float32)

    def __init__(self, data: DataSet) -> None:
        self.images = data.train.images_nhwc.numpy()
        self.labels = data.train.labels_n.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[index]), 4)
        left, top = random.randint(0, 8), random.randint(0, 8)
        image = image.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        pixels = (np.asarray(image, dtype=np.float32) / 255 - self.mean) / self.deviation
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), self.labels[index]


def usual_loop(data: DataSet, *, tuned: bool) -> Update:
    model: nn.Module = making.make(zoo.named("cifar-resnet20"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    if tuned:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loader = DataLoader(
        UsualImages(data),
        BATCH_IMAGES,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
    )

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    stream = batches()

    def update() -> None:
        images, labels = next(stream)
        if tuned:
            images = images.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=tuned):
            loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return update


def our_update(data: DataSet, *, compiled: bool) -> Update:
    """The update of `resnets train cifar10.resnet20`, its data, precision and optimizer."""
    device = torch.device("cpu")
    recipe = build.fitted(catalogue.CLASSIFIERS["cifar10.resnet20"], data)
    recipe, _ = build.resolved(recipe, device)
    parts = build.build(recipe, data, seed=0, device=device)
    model: nn.Module = torch.compile(parts.model) if compiled else parts.model  # type: ignore[assignment]
    numbers = iter(range(1, 10**9))

    def update() -> None:
        batch = parts.batch_of(next(numbers))
        train_step(model.train(), parts.loss_of, [batch], parts.optimizer, parts.precision)

    return update


def rounds(contestants: dict[str, Update]) -> dict[str, list[float]]:
    """Return images per second of each contestant in each round."""
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for name, update in contestants.items():
        print(f"warming up: {name}", flush=True)
        for _ in range(5):
            update()
    for number in range(ROUNDS):
        for name, update in contestants.items():
            begun = time.perf_counter()
            for _ in range(UPDATES_A_ROUND):
                update()
            seconds = time.perf_counter() - begun
            time.sleep(SETTLE_S)
            rates[name].append(UPDATES_A_ROUND * BATCH_IMAGES / seconds)
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    return rates


def command_against_updates(data: DataSet) -> dict[str, float]:
    """Return the whole command's images per second, the bare updates' before and after it."""
    name = "sample.resnet20"
    recipe = catalogue.CLASSIFIERS[name]
    device = torch.device("cpu")

    def bare() -> float:
        made, _ = build.resolved(build.fitted(recipe, data), device)
        parts = build.build(made, data, seed=0, device=device)
        begun, updates = time.perf_counter(), 300
        for number in range(1, updates + 1):
            train_step(
                parts.model.train(),
                parts.loss_of,
                [parts.batch_of(number)],
                parts.optimizer,
                parts.precision,
            )
        return updates * recipe.batch_images / (time.perf_counter() - begun)

    before = bare()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "resnets", "train", name, "--out", f"{folder}/run"]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        whole = recipe.total_steps * recipe.batch_images / (time.perf_counter() - begun)
    after = bare()
    updates = (before + after) / 2
    return {
        "bare_updates_images_per_second_before": round(before, 1),
        "bare_updates_images_per_second_after": round(after, 1),
        "command_images_per_second": round(whole, 1),
        "command_over_bare_updates": round(whole / updates, 3),
    }


def main() -> None:
    hardware.keep_memory()
    data = opening.in_memory(opening.open_data("cifar10-sample"))
    contestants = {
        "usual loop: eager float32 NCHW, DataLoader": usual_loop(data, tuned=False),
        "usual loop tuned: bfloat16, channels-last": usual_loop(data, tuned=True),
        "ours, eager": our_update(data, compiled=False),
        "ours, compiled": our_update(data, compiled=True),
    }
    rows = compared.rows(rounds(contestants))
    recipe, _ = build.resolved(
        build.fitted(catalogue.CLASSIFIERS["cifar10.resnet20"], data), torch.device("cpu")
    )
    result = {
        "what": "training, CIFAR ResNet-20, batch 128, images per second",
        "recipe_digest": codec.digest(recipe),
        "rounds": ROUNDS,
        "updates_a_round": UPDATES_A_ROUND,
        "rows": rows,
        "whole_command": command_against_updates(data),
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['loop']:<46} {row['images_per_second']}  x usual {row['times_the_usual_loop']}"
        )
    print(json.dumps(result["whole_command"]))


if __name__ == "__main__":
    main()
