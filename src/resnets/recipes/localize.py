"""Where the object of an image stands, its class being known: He et al. 2015, appendix C.

resnets train imagenet.localization-resnet101 --data ILSVRC      13.3 % in one crop in the paper
resnets train localize.finetune --data D --weights msra/resnet50
resnets evaluate RUN CLASSIFIER --protocol multi-scale

D is in ILSVRC's layout, or has boxes in any other; images whose objects are all of one class are
taken. `localize.finetune` is for one's own: classes come from the data, the network from the
weights, and the length fits the data.
"""

from typing import Final

from resnets.detection.spec import LocalizerSpec
from resnets.recipes import imagenet_facts, lengths
from resnets.recipes.boxes import Pretrained
from resnets.recipes.detect import network
from resnets.recipes.localizer import BoxCropsSpec, ExpectedLocalization, LocalizerRecipe
from resnets.recipes.optimizers import SgdSpec
from resnets.recipes.schedule import Cosine, StepDecay

FINETUNE: Final = "localize.finetune"
_BATCH: Final = 256
_STEPS: Final = 60_000
_PASSES: Final = (10, 100)  # least and most over the images
_ROOT: Final = 600  # passes over the images times the root of their number
_EPOCHS: Final = _STEPS * _BATCH / imagenet_facts.IMAGES

_resnet101: Final = LocalizerRecipe(
    source="He et al. 2015, appendix C",
    expected=ExpectedLocalization(
        localization_error_percent=13.3,
        source="He et al. 2015, appendix C, Table 13, one crop and the true class",
        cost=f"at most {imagenet_facts.cost(101, _EPOCHS)}; conv5_x is not computed",
    ),
    differs=(
        "the rate and the length are ours, and so are the anchors; the paper gives none",
        "an image teaches the outputs of its own class alone; the paper does not say",
        "BN is fixed, as for detection; the paper does not say",
        "boxes are those of the per-class RPN; the R-CNN that comes after it is not here",
    ),
    model=LocalizerSpec(backbone=network("resnet101"), classes=1000),
    data=BoxCropsSpec(name="imagenet"),
    optim=SgdSpec(learning_rate=0.01),
    schedule=StepDecay(milestones=(40_000,), warmup="linear", warmup_steps=500),
    batch_images=_BATCH,
    rate_rule="linear",
    total_steps=_STEPS,
    clip_norm=10.0,
    transfer=Pretrained(weights="msra/resnet101"),
)
_finetune: Final = LocalizerRecipe(
    source="this project; He et al. 2015, appendix C",
    model=LocalizerSpec(backbone=network("resnet50"), classes=1000),
    data=BoxCropsSpec(name="folder"),
    optim=SgdSpec(learning_rate=0.01),
    schedule=Cosine(warmup_steps=50),
    batch_images=16,
    rate_rule="linear",
    total_steps=1_000,
    clip_norm=10.0,
    transfer=Pretrained(weights="msra/resnet50", frozen_stages=1),
)
RECIPES: Final[dict[str, LocalizerRecipe]] = {
    "imagenet.localization-resnet101": _resnet101,
    FINETUNE: _finetune,
}


def fitted(recipe: LocalizerRecipe, images: int) -> LocalizerRecipe:
    """Return `localize.finetune` for so many images to train on.

    Small sets are passed over more often: 100 times up to 36 images, 600 / sqrt(images) times
    beyond, and 10 times from 3,600 on.

    Args:
        recipe: As it stands in the catalogue.
        images: To train on; positive.
    """
    return lengths.fitted(recipe, images, epochs=_PASSES, root=_ROOT, most_warmup_steps=50)
