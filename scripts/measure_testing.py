"""Measure what can be measured here of the paper's ways of testing; write results/testing.json.

    .venv/bin/python scripts/measure_testing.py

Needs ../shared/data, and fetches msra/resnet50 and CIFAR-10 where they are not in the cache. The
images of imagenet-val-650 are easier than the whole validation set, and nobody states the split of
imagenet-fullsize-150: neither figure stands for ImageNet's 50,000 validation images.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from resnets.core import artifacts, hardware
from resnets.evaluation.views import Protocol
from resnets.experiment import provenance
from resnets.experiment.evaluate import Precision, evaluate
from resnets.inference import converting, published

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared/data"
AUTHORS = "msra/resnet50"
# Checkpoints, data, protocol, precision.
MEASURED: tuple[tuple[tuple[str, ...], str, Protocol, Precision], ...] = (
    ((AUTHORS,), "imagenet-val-650", "single-crop", "auto"),
    ((AUTHORS,), "imagenet-val-650", "single-crop", "float32"),
    ((AUTHORS,), "imagenet-val-650", "single-crop", "bfloat16"),
    (("msra-227",), "imagenet-val-650", "single-crop", "auto"),
    ((AUTHORS,), "imagenet-val-650", "ten-crop", "auto"),
    ((AUTHORS,), "imagenet-fullsize-150", "single-crop", "auto"),
    ((AUTHORS,), "imagenet-fullsize-150", "ten-crop", "auto"),
    ((AUTHORS,), "imagenet-fullsize-150", "multi-scale", "auto"),
    (("resnet20",), "cifar10", "single-crop", "auto"),
    (("resnet32",), "cifar10", "single-crop", "auto"),
    (("resnet20", "resnet32"), "cifar10", "single-crop", "auto"),
)


def main() -> None:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # The 227 px files as they are: nothing is resized before the central 224 px are cut out.
        authors = published.fetch(AUTHORS)
        converting.convert(authors, folder / "msra-227.safetensors", preprocess="caffe,resize=227")
        for name in ("resnet20-12fca82f", "resnet32-d509ac18"):
            converting.convert(
                DATA / f"cifar-weights/{name}.th",
                folder / f"{name[:8]}.safetensors",
                preprocess="torchvision",
            )
        for names, data, protocol, precision in MEASURED:
            where = [n if n == AUTHORS else folder / f"{n}.safetensors" for n in names]
            found = evaluate(
                where,
                DATA / data if (DATA / data).exists() else data,
                protocol=protocol,
                precision=precision,
                device="cpu",
            )
            row = found.to_dict()
            del row["images_per_second"]  # bench/evaluate_imagenet.py measures that properly
            for each, name in zip(row["checkpoints"], names, strict=True):
                each["checkpoint"] = name
            rows.append(row)
            print(f"{found.top1_error_percent:.2f} {found.top5_error_percent:.2f} {found.protocol}")
    artifacts.write_json(
        ROOT / "results/testing.json",
        {
            "what": "the paper's ways of testing, on the images that are at hand",
            "rows": rows,
            "hardware": hardware.describe(torch.device("cpu")),
            "provenance": provenance.collect(),
            "command": "python scripts/measure_testing.py",
        },
    )


if __name__ == "__main__":
    main()
