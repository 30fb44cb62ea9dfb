"""From a checkpoint to scores and predictions; no training code, no web code."""

import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resnets.core import hardware
from resnets.core.errors import CheckpointError, ImageError, ResNetsError
from resnets.core.hardware import PrecisionName
from resnets.data import batches, preprocess
from resnets.inference import explanation, fused, pictures
from resnets.inference.checkpoints import Checkpoint
from resnets.inference.explanation import Explanation
from resnets.inference.pictures import Picture
from resnets.models.making import Network
from resnets.models.spec import check_takes_images

_TOGETHER = 16  # pictures decoded, then scored, at a time


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class for one image. `probability` is the softmax score, in [0, 1]."""

    file: str
    class_name: str
    class_index: int
    probability: float

    def to_dict(self) -> dict[str, str | int | float]:
        """Return it as JSON values, under the keys of `resnets predict --json`."""
        return {
            "file": self.file,
            "class": self.class_name,
            "class_index": self.class_index,
            "probability": self.probability,
        }

    def __str__(self) -> str:
        return f"{self.file}  {self.class_name}  {100 * self.probability:.1f} %"


class Classifier:
    """A trained network that takes images.

    Args:
        checkpoint: An opened checkpoint.
        device: Where to compute.
        precision: What the convolutions compute in; scores are float32 always.
        fuse: Whether to fold BN into the convolutions, which is faster and rounds differently
            from the network that was trained.

    Raises:
        CheckpointError: The tensors are not those of the network.
        ModelError: It takes no images, but tensors of other channels.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        precision: PrecisionName = "float32",
        fuse: bool = True,
    ) -> None:
        check_takes_images(checkpoint.spec)
        self.checkpoint = checkpoint
        self.device = device
        self.classes = checkpoint.classes
        plain = checkpoint.network().to(device)
        self.network = fused.fuse(plain, hardware.DTYPES[precision]) if fuse else plain
        self._mean_hwc = checkpoint.mean_hwc.to(device)
        self._std_hwc = checkpoint.std_hwc.to(device)

    @cached_property
    def plain(self) -> Network:
        """The network without anything fused, made when it is asked for."""
        return self.checkpoint.network().to(self.device)

    def prepared(self, images_nhwc: Tensor) -> Tensor:
        """Return what the network takes, (n, channels, h, w), of uint8 images of one size."""
        mean_hwc = self._mean_hwc
        if mean_hwc.shape[0] > 1 and images_nhwc.shape[1:] != mean_hwc.shape:
            mean_hwc = mean_hwc.mean((0, 1), keepdim=True)  # another size has no per-pixel mean
        channels = self.checkpoint.spec.in_channels
        return batches.prepare(images_nhwc.to(self.device), mean_hwc, self._std_hwc, channels)

    def logits(self, images_nhwc: Tensor) -> Tensor:
        """Return logits, (n, classes), of uint8 images of the size the network was made for."""
        with torch.inference_mode():
            logits: Tensor = self.network(self.prepared(images_nhwc))
        return logits

    def log_scores(self, images_nhwc: Tensor) -> Tensor:
        """Return log softmax scores, (n, classes), of uint8 images of the network's size."""
        return self.logits(images_nhwc).log_softmax(dim=1)

    def log_score_map(self, images_nhwc: Tensor) -> Tensor:
        """Return log softmax scores at every place, (n, classes, h, w), of uint8 images of a size.

        The network runs over the whole image, fully convolutionally.

        Source: He et al. 2015, sec. 3.4.
        """
        with torch.inference_mode():
            return self.network.score_map(self.prepared(images_nhwc)).log_softmax(dim=1)

    def predict(
        self, files: str | Path | Iterable[str | Path], top: int = 1
    ) -> list[list[Prediction]]:
        """Return the `top` most probable classes of each file, most probable first.

        Args:
            files: One image file or several, of any size; resized and cropped as the network
                wants them.
            top: How many classes; at most as many as there are.

        Raises:
            ImageError: A file cannot be decoded.
            CheckpointError: The network's answers are no numbers.
        """
        if isinstance(files, str | Path):
            files = [files]
        made = []
        for found in self.stream([pictures.file(Path(file)) for file in files], top):
            if isinstance(found, ImageError):
                raise found
            made.append(found)
        return made

    def stream(
        self, wanted: Iterable[Picture], top: int = 1
    ) -> Iterator[list[Prediction] | ImageError]:
        """Yield for each picture, in order, its `top` classes, or why it cannot be decoded.

        Args:
            wanted: Any number of pictures; a few at a time are in memory.
            top: How many classes; at most as many as there are.
        """
        if top < 1:
            raise ResNetsError(f"--top: must be at least 1, got {top}")
        waiting = iter(wanted)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while together := list(itertools.islice(waiting, _TOGETHER)):
                views = list(pool.map(self._view, together))
                named = [
                    (picture.name, view)
                    for picture, view in zip(together, views, strict=True)
                    if not isinstance(view, ImageError)
                ]
                ranked = iter(self._rank(named, top))
                for view in views:
                    yield view if isinstance(view, ImageError) else next(ranked)

    def explain(self, image: str | Path | Picture, class_index: int | None = None) -> Explanation:
        """Return where in an image the network saw a class, by default the most probable.

        Args:
            image: A file, or a picture.
            class_index: Of which class.

        Raises:
            ModelError: The network does not end in a mean over space and one linear layer.
            ImageError: The image cannot be decoded.
        """
        picture = image if isinstance(image, Picture) else pictures.file(Path(image))
        pixels = preprocess.central(picture.read(), self.checkpoint.preprocess)
        return explanation.of_view(
            self.plain,
            self.prepared(torch.from_numpy(pixels)[None]),
            pixels,
            file=picture.name,
            classes=self.classes,
            class_index=class_index,
        )

    def _view(self, picture: Picture) -> np.ndarray | ImageError:
        try:
            return preprocess.central(picture.read(), self.checkpoint.preprocess)
        except ImageError as err:
            return err

    def _rank(self, named: list[tuple[str, np.ndarray]], top: int) -> list[list[Prediction]]:
        if not named:
            return []
        names, views = zip(*named, strict=True)
        scores = self.logits(torch.from_numpy(np.stack(views))).softmax(1)
        if not bool(scores.isfinite().all()):
            raise CheckpointError(
                f"{self.checkpoint.path}: answers with what is no number; its weights are broken"
            )
        best = scores.topk(min(top, len(self.classes)))
        return [
            [
                Prediction(name, self.classes[index], index, probability)
                for probability, index in zip(values, indices, strict=True)
            ]
            for name, values, indices in zip(
                names, best.values.tolist(), best.indices.tolist(), strict=True
            )
        ]
