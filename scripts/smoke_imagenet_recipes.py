"""Train every recipe for ImageNet for an epoch of a tiny set, and print what came out.

    .venv/bin/python scripts/smoke_imagenet_recipes.py [WORD ...]

The set is that of the tests: archives as published, with 16 images to train on and 8 to validate
on. Networks, optimizers, schedules, losses and augmentations are the recipes' own; batches of 8, in
parts of 4 where a recipe has parts, and crops of 64 px are all that is smaller. With words, only
the recipes whose names hold one of them. Takes some minutes; fails where a loss is not finite, and
goes on after a recipe that fails.
"""

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from resnets.core import artifacts
from resnets.core.errors import ResNetsError
from resnets.data import opening
from resnets.data.opening import Data
from resnets.experiment import asking
from resnets.experiment.asking import Changes
from resnets.experiment.journal import JOURNAL
from resnets.recipes import catalogue

ROOT = Path(__file__).parents[1]
CROP_PX = 64
BATCH_IMAGES = 8
ROW = "{:<26} {:>7} {:>10} {:>11} {:>8}"


def main() -> None:
    sys.path.append(str(ROOT / "tests"))
    samples = importlib.import_module("samples")
    words = sys.argv[1:] or [""]
    names = [
        name
        for name in catalogue.CLASSIFIERS
        if name.startswith("imagenet.") and any(word in name for word in words)
    ]
    rows, failed = [], []
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        data = opening.open_data(samples.write_imagenet(Path(temporary) / "ILSVRC2012"))
        for name in names:
            settings = samples.shrinking(catalogue.CLASSIFIERS[name], CROP_PX)
            try:
                rows.append(_trained(name, data, settings))
            except ResNetsError as err:
                failed.append(name)
                print(f"{name}: {err}", file=sys.stderr)
    print(ROW.format("recipe", "updates", "last loss", "error in %", "seconds"))
    for row in rows:
        print(ROW.format(*row))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _trained(name: str, data: Data, settings: list[str]) -> tuple[Any, ...]:
    """Return a row of the table: what training a recipe for one epoch came to."""
    changes = Changes(epochs=1, batch_images=BATCH_IMAGES, settings=settings)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        ended = asking.start(name, data, changes, out=Path(temporary) / "run", compiling="off")
        records = artifacts.read_lines(ended.folder / JOURNAL)
    loss = next(record["loss"] for record in reversed(records) if "loss" in record)
    seconds = time.perf_counter() - begun
    return name, ended.updates, f"{loss:.5f}", f"{ended.top1_error_percent:.2f}", f"{seconds:.1f}"


if __name__ == "__main__":
    main()
