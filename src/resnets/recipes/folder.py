"""A folder of one's own images: a trained network goes on learning on them.

resnets train folder.finetune --data DIR --weights msra/resnet50
resnets train --data DIR          the same

Images, classes and their names come from the data, the network and how it wants its images from
the weights. What is held out, length and batch fit the data: `holding_out`, `fitted`; what learns
and the size of the crops fit a ResNet's weights too: `of_resnet`.

The last layer begins as the solution of the linear problem on the network's features, so that the
rest isn't led astray by a random one (Kumar et al. 2022); then everything learns that is to, with
BN's averages fixed, and the best network of all evaluations is kept.
"""

from dataclasses import replace
from typing import Final

from resnets.data.crops import ResizedCrop
from resnets.models import zoo
from resnets.models.spec import ResNetSpec
from resnets.recipes import lengths
from resnets.recipes.schedule import Cosine
from resnets.recipes.schema import DataSpec, Recipe, SgdSpec, Transfer

FINETUNE: Final = "folder.finetune"
_BATCH: Final = 32
_SHARE: Final = 0.2  # held out for validation where the data has no split for it
_EPOCHS: Final = (4, 40)  # least and most
_ROOT: Final = 300  # passes over the images times the root of their number
_FEW: Final = 1_000  # images to train on, of which the last stage alone learns; not measured

_finetune: Final = Recipe(
    source="this project, docs/lab-log.md; Kumar et al. 2022, for the first last layer",
    model=zoo.named("resnet50"),
    data=DataSpec(name="folder", augment=ResizedCrop(area=(0.25, 1.0))),
    optim=SgdSpec(learning_rate=0.03, nesterov=True),
    schedule=Cosine(warmup_steps=10),
    batch_images=_BATCH,
    rate_rule="linear",
    total_steps=300,
    label_smoothing=0.1,
    clip_norm=1.0,  # with fixed BN nothing else holds back a network that was hardly trained
    transfer=Transfer(weights="msra/resnet50"),
    keep="best",
)
RECIPES: Final[dict[str, Recipe]] = {FINETUNE: _finetune}


def holding_out(recipe: Recipe, *, splits: int) -> Recipe:
    """Return `folder.finetune` with a fifth of every class held out of data with one split.

    Args:
        recipe: What it holds out already, because that was asked for, is left.
        splits: How many the data has.
    """
    if splits > 1 or recipe.data.held_out_images or recipe.data.held_out_share:
        return recipe
    return replace(recipe, data=replace(recipe.data, held_out_share=_SHARE))


def fitted(recipe: Recipe, images: int) -> Recipe:
    """Return `folder.finetune` for so many images to train on.

    Small sets are passed over more often: 40 times up to 56 images, 300 / sqrt(images) times
    beyond, and 4 times from 5,625 on. A set of fewer images than a batch is one batch.

    Args:
        recipe: As it stands in the catalogue.
        images: Without those held out; positive.
    """
    return lengths.fitted(recipe, images, epochs=_EPOCHS, root=_ROOT, most_warmup_steps=10)


def of_resnet(recipe: Recipe, images: int) -> Recipe:
    """Return `folder.finetune` with what of a trained ResNet learns, and from crops of what size.

    Below 1,000 images all stages but the last are frozen, unless BN is to learn its averages. A
    crop of a share of the image is enlarged, so that training at the side of the test's crop would
    show everything larger: of a square image the mean crop gets the scale of the test, in whole
    strides, 192 px for weights that want 224 of 256.

    Args:
        recipe: With the network of the weights and the view that they want.
        images: To train on; positive.

    Source: Touvron et al. 2019, sec. 3, for the size; this project, docs/lab-log.md, for the rest.
    """
    began, network = recipe.transfer, recipe.model
    augment, test = recipe.data.augment, recipe.data.test
    if not isinstance(network, ResNetSpec) or began is None:
        return recipe
    if began.fixed_bn and images < _FEW:
        recipe = replace(recipe, transfer=replace(began, frozen_stages="all-but-last"))
    if test is None or not isinstance(augment, ResizedCrop):
        return recipe
    stride = network.total_stride
    strides = max(1, round(augment.mean_side * test.resize_px / stride))
    side = min(test.crop_px, strides * stride)
    return replace(recipe, data=replace(recipe.data, augment=replace(augment, crop_px=side)))
