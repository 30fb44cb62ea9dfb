"""Images per second of evaluating ResNet-50 on image files: the usual loop, that loop tuned, ours.

    make bench-evaluate

The same 650 files of ../shared/data/imagenet-val-650, the same weights (the authors' ResNet-50, in
a network with torchvision's strides, v1.5 against v1.5), the same views (shorter side 256, centre
224), one process, in rounds. Reading and decoding count. With those strides the authors' weights
make more errors than they should: the errors only show that all contestants compute the same. The
last rows have the authors' own strides. Writes results/bench-evaluate-imagenet.json.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import compared
import judges
from resnets.core import artifacts, hardware
from resnets.data import opening
from resnets.data.files import FileData
from resnets.data.preprocess import Preprocess
from resnets.experiment import evaluate, provenance
from resnets.experiment.evaluate import Precision
from resnets.inference import checkpoints, converting
from resnets.inference.checkpoints import Checkpoint
from resnets.models import foreign
from resnets.models.foreign import StrideOn
from resnets.models.spec import ResNetSpec
from resnets.recipes import codec

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data/imagenet-val-650"
ROUNDS = 5
BATCH_IMAGES = 32
WORKERS = int(os.environ.get("WORKERS", "0"))  # of the usual loop; one or two gain nothing here

torchvision: Final = judges.torchvision()
transforms: Final = torchvision.transforms

Contestant = Callable[[], tuple[float, float]]  # images a second, top-1 error in percent


class Files(Dataset[tuple[Tensor, int]]):
    """The files as torchvision's reference script prepares them."""

    def __init__(self, data: FileData, wanted: Preprocess) -> None:
        files = data.splits["validation"]
        self.paths = [str(DATA / "images" / Path(name).name) for name in files.names]
        self.labels = files.labels_n.tolist()
        self.transform = transforms.Compose(
            [
                transforms.Resize(wanted.resize_px),
                transforms.CenterCrop(wanted.crop_px),
                transforms.ToTensor(),
                transforms.Normalize(wanted.mean, wanted.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torchvision.datasets.folder.pil_loader(self.paths[index])
        return self.transform(image), self.labels[index]


def theirs(checkpoint: Checkpoint, data: FileData, *, tuned: bool) -> Contestant:
    """Return torchvision's network in the usual loop, with the checkpoint's weights and strides."""
    model = torchvision.models.resnet50()
    assert isinstance(checkpoint.spec, ResNetSpec)
    if checkpoint.spec.stride_on == "1x1":
        for module in model.modules():
            if isinstance(module, torchvision.models.resnet.Bottleneck):
                module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    model.load_state_dict(foreign.to_theirs(checkpoint.model, "torchvision", checkpoint.spec))
    model.eval()
    if tuned:
        model = torch.compile(model.to(memory_format=torch.channels_last))
    loader = DataLoader(
        Files(data, checkpoint.preprocess),
        batch_size=BATCH_IMAGES,
        num_workers=WORKERS,
        multiprocessing_context="spawn" if WORKERS else None,
        persistent_workers=WORKERS > 0,
    )

    def run() -> tuple[float, float]:
        wrong, begun = 0, time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=tuned):
            for images, labels in loader:
                if tuned:
                    images = images.to(memory_format=torch.channels_last)
                wrong += int((model(images).argmax(1) != labels).sum())
        count = len(data.splits["validation"])
        return count / (time.perf_counter() - begun), 100 * wrong / count

    return run


def ours(path: Path, data: FileData, precision: Precision) -> Contestant:
    def run() -> tuple[float, float]:
        found = evaluate.evaluate(path, data, precision=precision, device="cpu")
        return found.images_per_second, found.top1_error_percent

    return run


def with_strides(checkpoint: Checkpoint, stride_on: StrideOn, folder: Path) -> Path:
    """Write the authors' weights as a checkpoint of a network with those strides."""
    assert isinstance(checkpoint.spec, ResNetSpec)
    spec = replace(checkpoint.spec, stride_on=stride_on)
    path = folder / f"resnet50-{stride_on}.safetensors"
    about = {**checkpoint.about, "model": codec.model_to_tree(spec)}
    artifacts.save_tensors(path, {f"model.{n}": t for n, t in checkpoint.model.items()}, about)
    return path


def main() -> None:
    torch.set_num_threads(2)
    hardware.keep_memory()
    data = opening.open_data(DATA)
    assert isinstance(data, FileData)
    authors = converting.from_published("msra/resnet50")
    with tempfile.TemporaryDirectory() as temporary:
        v15 = with_strides(authors, "3x3", Path(temporary))
        c15 = checkpoints.classifier(checkpoints.read(v15))
        contestants: dict[str, Contestant] = {
            "torchvision, eager float32": theirs(c15, data, tuned=False),
            "torchvision, bfloat16, channels-last, compiled": theirs(c15, data, tuned=True),
            "resnets evaluate": ours(v15, data, "auto"),
            "resnets evaluate --precision bfloat16": ours(v15, data, "bfloat16"),
            "resnets evaluate --precision float32": ours(v15, data, "float32"),
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        errors: dict[str, float] = {}
        for _ in range(ROUNDS + 1):  # the first compiles and warms up
            for name, run in contestants.items():
                rate, errors[name] = run()
                rates[name].append(rate)
                print(f"{name}: {rate:.1f}, {errors[name]:.2f} %", flush=True)
        rates = {name: values[1:] for name, values in rates.items()}
        v1 = with_strides(authors, "1x1", Path(temporary))
        c1 = checkpoints.classifier(checkpoints.read(v1))
        _, reference = theirs(c1, data, tuned=False)()
        authors_strides = {
            "torchvision's code, eager float32": reference,
            **{p: ours(v1, data, p)()[1] for p in ("auto", "bfloat16", "float32")},
        }
    rows = [
        {**row, "top1_error_percent": round(errors[row["loop"]], 2)} for row in compared.rows(rates)
    ]
    result = {
        "what": "evaluating ResNet-50 v1.5 on 650 JPEG files, images per second, reading included",
        "rounds": ROUNDS,
        "rows": rows,
        "top1_error_percent_with_the_authors_strides": {
            name: round(error, 2) for name, error in authors_strides.items()
        },
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench-evaluate",
    }
    artifacts.write_json(ROOT / "results/bench-evaluate-imagenet.json", result)
    print(json.dumps(result["rows"], indent=2))
    print(json.dumps(result["top1_error_percent_with_the_authors_strides"], indent=2))


if __name__ == "__main__":
    main()
