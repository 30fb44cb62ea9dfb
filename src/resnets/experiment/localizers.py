"""A localizer's recipe unpacked into the parts of a run, as `build.py` does it for a classifier."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import torch
from PIL import Image
from torch import Tensor, nn

from resnets.core import division
from resnets.core.errors import DataError
from resnets.core.processes import ALONE, Team
from resnets.core.progress import Bar, Silent
from resnets.data import annotated
from resnets.data.annotated import AnnotatedFiles, DetectionData
from resnets.data.box_crops import BoxCropBatches
from resnets.data.preprocess import Preprocess
from resnets.detection import localizing
from resnets.detection.localizer import Localizer, new_layers_init
from resnets.evaluation import views
from resnets.experiment import detectors, journal
from resnets.experiment.build import Parts
from resnets.experiment.transfer import Weights
from resnets.models import cost
from resnets.recipes.detector import LocalizerRecipe
from resnets.training.step import Precision

GUESSES: Final = 5


@dataclass(frozen=True, slots=True)
class OfOneClass:
    """A split whose images have objects of one class each.

    Args:
        files: These images.
        labels_n: int64, the class of each.
        left_out: How many images of the split are not among them: without a box, or with boxes of
            several classes.
    """

    files: AnnotatedFiles
    labels_n: Tensor
    left_out: int

    def __len__(self) -> int:
        return len(self.files)

    @staticmethod
    def of(files: AnnotatedFiles, where: str) -> "OfOneClass":
        """Return those of a split.

        Raises:
            DataError: There are none.
        """
        kept, labels_n = annotated.of_one_class(files)
        if not len(kept):
            raise DataError(
                f"{where}: no image of a split to train or to test on has boxes, and of one class "
                "alone, which localization needs; train detect.finetune on these"
            )
        return OfOneClass(kept, labels_n, len(files) - len(kept))


@dataclass(frozen=True, slots=True)
class Split:
    """What a recipe trains on, what it is evaluated on while it does, and that one's name."""

    train: OfOneClass
    test: OfOneClass
    name: str


@dataclass(frozen=True, slots=True)
class Located:
    """The boxes that a localizer gives an image.

    Args:
        classes_g: int64, of which class each is: the true one, then the guesses, -1 for none.
        boxes_g4: In pixels of the image as stored.
    """

    classes_g: Tensor
    boxes_g4: Tensor


# Returns the classes that are guessed for each image, the likeliest first: int64, (n, g).
Guess = Callable[[Sequence[Image.Image]], Tensor]


@dataclass(frozen=True, slots=True)
class ObjectsLocated:
    """The error of the boxes over a whole split, the class being given, in one view an image.

    Args:
        split: Its name.
        images: The split.
        preprocess: The square that the localizer wants.
        precision: Of the network's layers.
        team: Who evaluates; every process is dealt its own images.
    """

    split: str
    images: OfOneClass
    preprocess: Preprocess
    precision: Precision
    team: Team = ALONE

    def run(self, model: nn.Module) -> Iterator[tuple[str, float]]:
        """Yield the names and values of what was measured.

        Raises:
            DataError: An image cannot be read.
        """
        assert isinstance(model, Localizer)
        model.eval()
        wrong = 0
        for index, found in located(
            model, self.images, self.preprocess, self.precision, bar=Silent(), team=self.team
        ):
            objects = self.images.files.objects[index]
            place = localizing.place_of_right(found.classes_g, found.boxes_g4, objects)
            wrong += place is None
        (wrong,) = self.team.sum_integers([wrong])
        yield f"{self.split}_{journal.LOCALIZATION}", 100 * wrong / len(self.images)
        yield f"{self.split}_images", len(self.images)


def located(
    model: Localizer,
    images: OfOneClass,
    wanted: Preprocess,
    precision: Precision,
    *,
    sides_px: Sequence[int] = (),
    guess: Guess | None = None,
    bar: Bar,
    team: Team = ALONE,
) -> Iterator[tuple[int, Located]]:
    """Yield the index of each image and the boxes it is given, each process for its own images.

    Args:
        model: In evaluation mode.
        images: What to look at.
        wanted: How the localizer wants them.
        precision: Of its layers.
        sides_px: See `localizing.views`.
        guess: What else each image is taken for; None for its class alone.
        bar: Moves along with the images.
        team: Who looks.

    Raises:
        DataError: An image cannot be read.
    """
    device = next(model.parameters()).device
    together = 1 if sides_px else views.TOGETHER[device.type]
    parts = torch.arange(len(images)).split(together)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index_n in parts[team.rank :: team.size]:
            read = list(pool.map(images.files.image, index_n.tolist()))
            seen = list(pool.map(lambda image: localizing.views(image, wanted, sides_px), read))
            classes_ng = images.labels_n[index_n][:, None]
            if guess is not None:
                classes_ng = torch.cat([classes_ng, guess(read)], dim=1)
            asked_ng, sizes_n2 = classes_ng.clamp(min=0), [image.size for image in read]
            with precision.autocast():
                boxes_ng4 = localizing.locate(model, seen, wanted, asked_ng, sizes_n2)
            for index, *found in zip(index_n.tolist(), classes_ng, boxes_ng4, strict=True):
                yield index, Located(*found)
            bar.advance(len(read))


def split(recipe: LocalizerRecipe, data: DetectionData) -> Split:
    """Return what the recipe trains on and what it is evaluated on while it does.

    Raises:
        DataError: There is no split of such a name, or no image that can be localized in.
    """
    train, test, name = detectors.split(recipe, data)
    return Split(OfOneClass.of(train, data.name), OfOneClass.of(test, data.name), name)


def multiply_adds(recipe: LocalizerRecipe) -> float:
    """Return about what a whole run computes, and no less."""
    images = recipe.total_steps * recipe.batch_images
    px = recipe.data.augment.crop_px
    return 3.0 * cost.measure(recipe.model.backbone, px).multiply_adds * images


def built(
    recipe: LocalizerRecipe,
    data: DetectionData,
    *,
    seed: int,
    device: torch.device,
    team: Team = ALONE,
    workers: int | None = None,
) -> Parts:
    """Return the parts of a run of `recipe` on `data`, all on `device`; see `build.build`.

    Raises:
        RecipeError: The parts of a batch would not be equal.
        RunError: The processes cannot share a batch evenly.
        DataError: There are no images to train on.
    """
    divided = division.divide(recipe.batch_images, recipe.part_images, team)
    chosen = split(recipe, data)
    if team.leads:
        _note_left_out(chosen)
    model = detectors.network(
        recipe, Localizer(recipe.model), new_layers_init, seed=seed, device=device
    )
    train, view = chosen.train, recipe.data.view
    precision = detectors.computed_in(recipe, device)
    return detectors.assembled(
        recipe,
        model,
        lambda: Localizer(recipe.model),
        loss_of=localizing.per_class(recipe.learning, recipe.model.anchors),
        batch_of=BoxCropBatches(
            train.files,
            train.labels_n,
            recipe.data.augment,
            view,
            seed=seed,
            batch_images=recipe.batch_images,
            device=device,
            shares=divided.shares,
            workers=workers,
        ),
        divided=divided,
        evaluator=ObjectsLocated(chosen.name, chosen.test, view, precision, team),
        preprocess=view,
    )


def for_weights(recipe: LocalizerRecipe, weights: Weights, *, network: bool) -> LocalizerRecipe:
    """Return the recipe for the classification network that it begins with.

    Args:
        recipe: With the classes of the data.
        weights: To begin with.
        network: See `detectors.beginning`.

    Raises:
        ModelError: No localizer can be made of them, or they are of another network.
    """
    made, mean = detectors.beginning(recipe, weights, network=network)
    view = replace(recipe.data.view, mean=mean, std=weights.checkpoint.preprocess.std)
    return replace(made, data=replace(recipe.data, view=view))


def _note_left_out(chosen: Split) -> None:
    for what, images in (("train", chosen.train), ("evaluate", chosen.test)):
        if images.left_out:
            sys.stderr.write(
                f"note         {images.left_out:,} images to {what} on have no box, or boxes of "
                "several classes, and are left out\n"
            )
