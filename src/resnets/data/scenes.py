"""Images with objects, scaled as a detector wants them: one at a time, each of its own size."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resnets.core import random
from resnets.core.division import WHOLE, Share
from resnets.core.errors import DataError
from resnets.core.spec import spec
from resnets.data import batches, images
from resnets.data.ahead import Ahead
from resnets.data.annotated import AnnotatedFiles, Objects
from resnets.data.file_batches import processors
from resnets.data.order import Order
from resnets.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from resnets.data.setting_aside import SettingAside

# An image scaled, uint8 (height, width, 3), its objects in pixels of that, and which images could
# not be read and are not in its place.
_Read = tuple[Tensor, Objects, dict[int, str]]


@spec
class Scaling:
    """How a detector wants its images.

    The shorter side becomes `shorter_px`, but the longer one at most `longest_px`. `mean` and `std`
    are of RGB in [0, 1].

    Source: Girshick 2015, sec. 5.2; He et al. 2015, appendix A.
    """

    shorter_px: int = 600
    longest_px: int = 1000
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 32 <= self.shorter_px <= self.longest_px <= 8192:
            raise DataError(
                f"scaling: a shorter side of {self.shorter_px} px, a longer one of at most "
                f"{self.longest_px} px; needs 32 <= shorter <= longest <= 8192"
            )
        if not all(std > 0 for std in self.std):
            raise DataError(f"scaling.std: must be positive, got {self.std}")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of a scaled image; no side is less than a pixel."""
        factor = min(self.shorter_px / min(width, height), self.longest_px / max(width, height))
        return max(1, round(width * factor)), max(1, round(height * factor))

    def apply(self, image: Image.Image) -> Tensor:
        """Return an image scaled, with antialiasing: uint8, (height, width, 3)."""
        scaled = image.resize(self.size(*image.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(scaled))

    def prepare(self, image_hwc: Tensor) -> Tensor:
        """Return a scaled image as a network takes it: float32, (1, 3, height, width)."""
        mean, std = (
            torch.tensor(three, device=image_hwc.device).view(1, 1, 3)
            for three in (self.mean, self.std)
        )
        return batches.prepare(image_hwc[None], mean, std)


@dataclass(frozen=True, slots=True)
class Scene:
    """One image ready for a detector, and its objects in pixels of it.

    Args:
        image_1chw: float32, (1, 3, height, width).
        objects: As in the data set, scaled and flipped with the image.
    """

    image_1chw: Tensor
    objects: Objects

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.image_1chw.shape[3], self.image_1chw.shape[2]


def scaled(objects: Objects, across: float, down: float) -> Objects:
    """Return objects in pixels of an image that was scaled by these factors."""
    factors_4 = torch.tensor([across, down, across, down])
    return replace(
        objects,
        boxes_n4=objects.boxes_n4 * factors_4,
        area_n=objects.area_n * (across * down),
    )


def flipped(objects: Objects, width: int) -> Objects:
    """Return objects in an image of that width that was flipped left to right."""
    left_n, top_n, right_n, bottom_n = objects.boxes_n4.unbind(1)
    boxes_n4 = torch.stack([width - right_n, top_n, width - left_n, bottom_n], dim=1)
    return replace(objects, boxes_n4=boxes_n4)


def moved(objects: Objects, device: torch.device) -> Objects:
    """Return objects on a device."""
    return Objects(*(getattr(objects, each.name).to(device) for each in fields(objects)))


class SceneBatches:
    """The batches of a detector's training run, by update number, in the order of `Order`.

    A share of a batch is a list of scenes. While one is computed with, the next ones are read.
    Every image is flipped or not by (seed, epoch, index), so a batch depends on its number alone.

    Args:
        files: The training set.
        scaling: How the detector wants images.
        seed: The run's seed.
        batch_images: Images in a batch.
        device: Where the scenes are wanted.
        flip: Whether half of them are flipped, left to right.
        shares: What will be asked for of every batch, in this order; by default all of it at once.
        workers: How many threads read; one a processor unless said otherwise.

    Source: Girshick 2015, sec. 2.3, for flipping half of the images.
    """

    def __init__(
        self,
        files: AnnotatedFiles,
        scaling: Scaling,
        *,
        seed: int,
        batch_images: int,
        device: torch.device,
        flip: bool = True,
        shares: Sequence[Share] = (WHOLE,),
        workers: int | None = None,
    ) -> None:
        self.images = len(files)
        self.batch_images = batch_images
        self.files = files
        self.scaling = scaling
        self.device = device
        self.flip = flip
        self.order = Order(self.images, batch_images, seed)
        self.aside = SettingAside(files)
        self._pool = ThreadPoolExecutor(workers or processors(), "decoding")
        self._ahead = Ahead(shares, self._begin, _give_up)

    def __call__(self, number: int, share: Share = WHOLE) -> list[Scene]:
        """Return a share of the batch of update `number`, counted from 1.

        In the place of an image that cannot be read stands another with its own objects.

        Raises:
            DataError: More images cannot be read than training puts up with.
        """
        made = []
        for task in self._ahead.take(number, share):
            image_hwc, objects, wrong = task.result()
            self.aside.count(wrong)
            made.append(self._ready(image_hwc, objects))
        return made

    def _begin(self, number: int, share: Share) -> list[Future[_Read]]:
        tasks = []
        for epoch, index_n in self.order(number, share):
            flip_n = random.integers(
                self.order.seed, "augment", "flip", epoch, index_n=index_n, below=2
            )
            for index, flip in zip(index_n.tolist(), flip_n.tolist(), strict=True):
                tasks.append(self._pool.submit(self._read, index, bool(flip) and self.flip))
        return tasks

    def _read(self, index: int, flip: bool) -> _Read:
        """Return an image scaled, and what else `_Read` says."""
        read, found, wrong = self.aside.readable(index, partial(_decoded, self.scaling))
        image_hwc, stored = read
        size = (image_hwc.shape[1], image_hwc.shape[0])
        objects = self.files.objects[found].within(*stored)
        objects = scaled(objects, size[0] / stored[0], size[1] / stored[1])
        if flip:
            image_hwc, objects = image_hwc.flip(1), flipped(objects, size[0])
        return image_hwc, objects, wrong

    def _ready(self, image_hwc: Tensor, objects: Objects) -> Scene:
        on_device = image_hwc.to(self.device, non_blocking=True)
        return Scene(self.scaling.prepare(on_device), moved(objects, self.device))


def _give_up(tasks: Iterable[Future[_Read]]) -> None:
    for task in tasks:
        task.cancel()


def _decoded(scaling: Scaling, content: bytes, name: str) -> tuple[Tensor, tuple[int, int]]:
    """Return an image scaled, and its width and height as stored."""
    image = images.decode(content, name)
    return scaling.apply(image), image.size
