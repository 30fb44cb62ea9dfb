"""Images per second from JPEG files to normalised batches on one core: torchvision's way and ours.

    make bench-load           some minutes; nothing else should be running

Random resized crops of 224 px, flipped and normalised, float32, in batches of 256, from the 150
full-size files of ../shared/data/imagenet-fullsize-150, again and again. The process is pinned to
one core. torchvision transforms PIL images in a DataLoader, in the process itself and, as the
second row, in one worker process on the same core. Ours reads the same files, and copies of them
whose shorter side was resized to 320 and 256 px (JPEG quality 90), in one thread: up to uint8,
which is all that a core does where there is a GPU, and up to float32. Contestants take turns, and
what ours reads ahead within its turn counts as its time.

A shared machine makes all of them slower and none of the ratios better, so the processor time an
image takes stands beside the rates, for those that have no worker process.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import compared
import judges
from resnets.core import hardware
from resnets.data import files, images, preprocess
from resnets.data.crops import ResizedCrop
from resnets.data.file_batches import Augmentation, FileBatches
from resnets.data.files import ImageFiles
from resnets.experiment import provenance

transforms: Final = judges.torchvision().transforms
pil_loader: Final = judges.torchvision().datasets.folder.pil_loader

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT.parent / "shared/data/imagenet-fullsize-150/images"
RESULTS = ROOT / "results" / "bench-load-images.json"
ROUNDS = int(os.environ.get("ROUNDS", "7"))
BATCH_IMAGES = 256  # He et al. 2015, sec. 3.4
BATCHES_A_TURN = 2
SIDES_PX = (320, 256)
QUALITY = 90

Turn = Callable[[], None]


class PilImages(Dataset[tuple[Tensor, int]]):
    """The files as torchvision's reference script prepares them, as many as a turn takes."""

    def __init__(self) -> None:
        self.paths = [str(path) for path in sorted(PHOTOS.iterdir())]
        self.prepare = transforms.Compose(
            [
                transforms.RandomResizedCrop(224, antialias=True),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(preprocess.IMAGENET_MEAN, preprocess.IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return BATCHES_A_TURN * BATCH_IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.prepare(pil_loader(self.paths[index % len(self.paths)])), index


def torchvisions(workers: int) -> Turn:
    loader = DataLoader(
        PilImages(),
        BATCH_IMAGES,
        shuffle=True,
        num_workers=workers,
        # A forked worker may hang beside this process's threads.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
    )

    def turn() -> None:
        for _ in loader:
            pass

    return turn


def ours(folder: Path, *, normalised: bool) -> Turn:
    names = sorted(path.name for path in folder.iterdir())
    image_files = ImageFiles(tuple(names), torch.arange(len(names)), files.reader(folder, names))
    batch_of = FileBatches(
        image_files,
        torch.tensor(preprocess.IMAGENET_MEAN).view(1, 1, 3),
        Augmentation(ResizedCrop()),
        seed=0,
        batch_images=BATCH_IMAGES,
        device=torch.device("cpu"),
        std=preprocess.IMAGENET_STD,
        workers=1,
    )
    numbers: Iterator[int] = iter(range(1, 10**9))

    def turn() -> None:
        for _ in range(BATCHES_A_TURN):
            number = next(numbers)
            _ = batch_of(number) if normalised else batch_of.read(number)
        batch_of.wait()  # so that each turn begins with as much ready as it leaves

    return turn


def smaller_copies(side_px: int, folder: Path) -> Path:
    folder.mkdir()
    for path in sorted(PHOTOS.iterdir()):
        image = images.decode(path.read_bytes(), path.name)
        small = preprocess.resize(image, side_px, "bicubic")
        small.save(folder / path.name, "JPEG", quality=QUALITY)
    return folder


def rounds(turns: dict[str, Turn]) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return images a second in each round, and the median processor time of an image in ms."""
    rates: dict[str, list[float]] = {name: [] for name in turns}
    spent: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()
    for number in range(ROUNDS):
        for name, turn in turns.items():
            begun, processor_begun = time.perf_counter(), time.process_time()
            turn()
            made = BATCHES_A_TURN * BATCH_IMAGES
            spent[name].append(1e3 * (time.process_time() - processor_begun) / made)
            rates[name].append(made / (time.perf_counter() - begun))
        print(f"round {number + 1} of {ROUNDS}", flush=True)
    return rates, {
        name: round(statistics.median(values), 3)
        for name, values in spent.items()
        if "worker" not in name
    }


def main() -> None:
    if not PHOTOS.is_dir():
        raise SystemExit(f"{PHOTOS} is missing; it holds the photos of this benchmark")
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        # The process with a worker comes first: it starts before there are threads beside it.
        turns = {
            "torchvision: PIL transforms, in the process": torchvisions(workers=0),
            "torchvision: PIL transforms, one worker process": torchvisions(workers=1),
        }
        for side_px in (None, *SIDES_PX):
            what, photos = "the same files", PHOTOS
            if side_px is not None:
                what = f"shorter side {side_px}"
                photos = smaller_copies(side_px, Path(folder) / str(side_px))
            turns[f"ours: {what}, uint8"] = ours(photos, normalised=False)
            turns[f"ours: {what}, float32"] = ours(photos, normalised=True)
        rates, processor_ms = rounds(turns)
    rows = compared.rows(rates)
    result = {
        "what": "random resized crops of 224 px from JPEG files on one core, images per second; "
        "the usual loop is torchvision in the process, the tuned one has a worker process",
        "rounds": ROUNDS,
        "images_a_turn": BATCHES_A_TURN * BATCH_IMAGES,
        "rows": rows,
        "processor_ms_an_image": processor_ms,
        "hardware": hardware.describe(torch.device("cpu")),
        "provenance": provenance.collect(),
        "command": "make bench-load",
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['loop']:<50} {row['images_per_second']}  x torchvision "
            f"{row['times_the_usual_loop']}  {processor_ms.get(row['loop'], '')}"
        )


if __name__ == "__main__":
    main()
