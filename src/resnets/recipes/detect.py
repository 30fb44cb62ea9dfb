"""One's own pictures with boxes: a trained network becomes a detector of what is in them.

resnets train detect.finetune --data DIR --weights msra/resnet50
resnets train --data DIR          the same

Images, boxes, classes and their names come from the data, the network from the weights. The length
fits the data: `fitted`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from resnets.data.scenes import Scaling
from resnets.detection.anchors import AnchorSpec
from resnets.detection.spec import FasterRCNNSpec
from resnets.models import zoo
from resnets.models.spec import ResNetSpec, VggSpec
from resnets.recipes import lengths
from resnets.recipes.detector import DetectorRecipe, LocalizerRecipe, Pretrained, ScenesSpec
from resnets.recipes.optimizers import SgdSpec
from resnets.recipes.schedule import Cosine

R = TypeVar("R", DetectorRecipe, LocalizerRecipe)

FINETUNE: Final = "detect.finetune"
_BATCH: Final = 2
_SHARE: Final = 0.2  # held out where the data has one split
_PASSES: Final = (4, 40)  # least and most over the images
_ROOT: Final = 120  # passes over the images times the root of their number


def network(name: str) -> ResNetSpec | VggSpec:
    """Return a network of the zoo that a detector can be made of."""
    found = zoo.named(name)
    assert isinstance(found, ResNetSpec | VggSpec)
    return found


_finetune: Final = DetectorRecipe(
    source="this project, docs/lab-log.md; He et al. 2015, appendix A",
    model=FasterRCNNSpec(
        backbone=network("resnet50"),
        classes=20,
        anchors=AnchorSpec(scales_px=(32, 64, 128, 256, 512)),
    ),
    data=ScenesSpec(name="folder", scaling=Scaling()),
    optim=SgdSpec(learning_rate=0.004),
    schedule=Cosine(warmup_steps=50),
    batch_images=_BATCH,
    rate_rule="linear",
    total_steps=1_000,
    clip_norm=10.0,
    transfer=Pretrained(weights="msra/resnet50", frozen_stages=1),
)
RECIPES: Final[dict[str, DetectorRecipe]] = {FINETUNE: _finetune}


def on_splits(recipe: R, splits: Sequence[str]) -> R:
    """Return a recipe for one's own images with splits to train and to evaluate on that data has.

    It trains on "train" and chooses by "validation", or by "test" where there is none. Of data with
    one split a fifth of the images is held out.

    Args:
        recipe: What it says already, because that was asked for, is left.
        splits: Their names, one at least.
    """
    asked: Any = recipe.data
    if asked.held_out_share or {*asked.train, asked.test} <= {*splits}:
        return recipe
    if len(splits) == 1:
        return replace(recipe, data=replace(asked, train=tuple(splits), held_out_share=_SHARE))
    test = next((name for name in ("validation", "test") if name in splits), splits[-1])
    return replace(recipe, data=replace(asked, test=test))


def fitted(recipe: DetectorRecipe, images: int) -> DetectorRecipe:
    """Return `detect.finetune` for so many images to train on.

    Small sets are passed over more often: 40 times up to 9 images, 120 / sqrt(images) times
    beyond, and 4 times from 900 on.

    Args:
        recipe: As it stands in the catalogue.
        images: To train on; positive.
    """
    return lengths.fitted(recipe, images, epochs=_PASSES, root=_ROOT, most_warmup_steps=50)
