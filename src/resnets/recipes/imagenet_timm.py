"""The procedures A1, A2 and A3 of "ResNet strikes back" (Wightman et al. 2021, Table 2).

resnets train imagenet.resnet50-a1 --data D        19.62 % for the authors; 600 epochs
resnets train imagenet.resnet50-a2 --data D        20.17 % for the authors; 300 epochs
resnets train imagenet.resnet50-a3 --data D        21.95 % for the authors; 100 epochs at 160 px

They are made for resnet50 and used for all. The authors chose on the validation set. Not run here:
unverified.

Table 2 doesn't say all. From timm and its users' commands: the warm-up begins at a rate of 1e-4 and
the cosine ends at 1e-6; three repeats; bicubic crops; a mixed image shows a class from a fifth of
it on; weight decay is for weights alone; and LAMB clips the norm of all gradients to 1, which Table
2 denies and timm's optimizer does unasked.

The paper's machine had four GPUs, hence 512 images each to take BN's statistics over, or fewer.
Here it is 256 (`part_images`), so that eight GPUs may share a batch.

Deviation: bfloat16 where the processor computes in it, and not float16.
Deviation: BN's scales all begin at 1, as in the paper; timm's last one of each block at 0.
Deviation: the rate changes with every update, not with every epoch, and the cosine begins where the
    warm-up ends; timm's begins with it.
Deviation: labels are smoothed after they are made 0 or 1 (`resnets.training.losses`).

Source: Wightman et al. 2021, Table 2; https://github.com/huggingface/pytorch-image-models, timm.
"""

from dataclasses import replace
from typing import Final

from resnets.data.crops import ResizedCrop
from resnets.data.mixing import Mixing
from resnets.data.policies import RandAugment
from resnets.models import zoo
from resnets.models.spec import ResNetSpec
from resnets.recipes import imagenet_facts
from resnets.recipes.imagenet_facts import steps
from resnets.recipes.schedule import Cosine
from resnets.recipes.schema import DataSpec, Expected, LambSpec, Recipe, TestView

_BATCH: Final = 2048
_EPOCHS: Final = {"a1": 600, "a2": 300, "a3": 100}
_HOURS_ON_4_V100: Final = {"a1": 110, "a2": 55, "a3": 15}  # of resnet50, for the authors


def _cosine(rate: float) -> Cosine:
    """Return the schedule from 1e-4 up to a rate and down to 1e-6."""
    return Cosine(warmup_steps=steps(5, _BATCH), warmup_factor=1e-4 / rate, floor=1e-6 / rate)


_a1: Final = Recipe(
    source="Wightman et al. 2021, Table 2, procedure A1",
    differs=(
        "BN's statistics are over part_images images; the authors' four GPUs had up to 512 each",
        "BN's scales all begin at 1; timm's last one of each block begins at 0",
        "the rate changes with every update, not with every epoch, and the cosine begins after the "
        "warm-up",
    ),
    model=zoo.named("resnet50-v1.5"),
    data=DataSpec(
        name="imagenet",
        augment=ResizedCrop(interpolation="bicubic"),
        policy=RandAugment(magnitude=7),
        repeats=3,
        test=TestView(resize_px=235, crop_px=224, interpolation="bicubic"),
    ),
    mixing=Mixing(mixup_alpha=0.2, cutmix_alpha=1.0),
    optim=LambSpec(learning_rate=5e-3, weight_decay=0.01),
    schedule=_cosine(5e-3),
    batch_images=_BATCH,
    part_images=256,
    rate_rule="square-root",
    total_steps=steps(_EPOCHS["a1"], _BATCH),
    loss="bce",
    label_smoothing=0.1,
    clip_norm=1.0,
)
_a2: Final = replace(
    _a1,
    source="Wightman et al. 2021, Table 2, procedure A2",
    mixing=Mixing(mixup_alpha=0.1, cutmix_alpha=1.0),
    optim=LambSpec(learning_rate=5e-3, weight_decay=0.02),
    total_steps=steps(_EPOCHS["a2"], _BATCH),
    label_smoothing=0.0,
)
_a3: Final = replace(
    _a2,
    source="Wightman et al. 2021, Table 2, procedure A3",
    data=replace(
        _a2.data,
        augment=ResizedCrop(crop_px=160, interpolation="bicubic"),
        policy=RandAugment(magnitude=6),
        repeats=1,
    ),
    optim=LambSpec(learning_rate=8e-3, weight_decay=0.02),
    schedule=_cosine(8e-3),
    total_steps=steps(_EPOCHS["a3"], _BATCH),
)
_PROCEDURES: Final = {"a1": _a1, "a2": _a2, "a3": _a3}
_DROP_PATH: Final = {"a1": 0.05, "a2": 0.05, "a3": 0.0}
# Top-1 accuracy of the authors' weights in one crop of 224 px, by depth: A1, A2, A3.
_ACCURACIES: Final = {
    18: (71.50, 70.63, 68.25),
    34: (76.42, 75.52, 73.00),
    50: (80.38, 79.83, 78.05),
    101: (81.49, 81.34, 79.84),
    152: (82.00, 81.76, 80.55),
}


def _recipe(procedure: str, depth: int, accuracy: float) -> Recipe:
    base = _PROCEDURES[procedure]
    model = zoo.named(f"resnet{depth}" if depth < 50 else f"resnet{depth}-v1.5")
    crop = base.data.augment
    assert isinstance(model, ResNetSpec)
    assert isinstance(crop, ResizedCrop)
    cost = imagenet_facts.cost(depth, _EPOCHS[procedure], crop.crop_px)
    if depth == 50:
        cost = f"{_HOURS_ON_4_V100[procedure]} hours on 4 V100 for the authors; {cost}"
    return replace(
        base,
        model=replace(model, drop_path=_DROP_PATH[procedure]),
        expected=Expected(
            top1_error_percent=round(100 - accuracy, 2),
            source="Wightman et al. 2021, whose weights timm tested in one crop of 224 px",
            cost=cost,
        ),
    )


RECIPES: Final[dict[str, Recipe]] = {
    f"imagenet.resnet{depth}-{procedure}": _recipe(procedure, depth, accuracy)
    for depth, accuracies in _ACCURACIES.items()
    for procedure, accuracy in zip(_PROCEDURES, accuracies, strict=True)
}
