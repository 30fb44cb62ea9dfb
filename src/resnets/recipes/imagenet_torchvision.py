"""torchvision's two ways of training on ImageNet: those of its weights V1 and V2.

resnets train imagenet.resnet50-tv1 --data D       23.87 % for torchvision; 90 epochs
resnets train imagenet.resnet50-tv2 --data D       19.14 % for torchvision; 600 epochs

`-tv1` is what the command of torchvision's references does without options on eight GPUs. Others
who ran it for resnet50 found 24.1 to 24.6 % (torchvision's issue 5593, examples' issue 1153).
`-tv2` is the command of torchvision's issue 3995, made for resnet50 and used for all; its weights
were chosen on the validation set, as the best of three runs. Not run here: unverified.

BN's statistics are over the images that a GPU of theirs had, 32 and 128 (`part_images`).
torchvision's average of weights has a decay for one epoch's updates and one image a batch; its
script reckons the decay that is used from that, and so does this file.

Deviation: bfloat16 where the processor computes in it; `--set precision=float32` is the source's.
Deviation: first weights from N(0, 2 / fan_in), as in the paper; torchvision's are by fan_out.
Deviation: the rate of V2 changes with every update, not with every epoch.
Deviation: batches straddle epochs, where torchvision's last batch of an epoch is a smaller one.

Source: https://github.com/pytorch/vision/tree/main/references/classification.
"""

from dataclasses import replace
from typing import Final

from resnets.data.crops import ResizedCrop
from resnets.data.erasing import RandomErasing
from resnets.data.mixing import Mixing
from resnets.data.policies import TrivialAugment
from resnets.models import zoo
from resnets.recipes import imagenet_facts
from resnets.recipes.imagenet_facts import steps
from resnets.recipes.schedule import Cosine, StepDecay
from resnets.recipes.schema import DataSpec, EmaSpec, Expected, Recipe, SgdSpec, TestView

_FIRST_WEIGHTS: Final = "the first weights are from N(0, 2 / fan_in), not N(0, 2 / fan_out)"
_V1_EPOCHS: Final = 90
_V1_BATCH: Final = 8 * 32
_V2_EPOCHS: Final = 600
_V2_BATCH: Final = 8 * 128
_V2_WARMUP: Final = steps(5, _V2_BATCH)
_V2_AVERAGED_EVERY: Final = 32

_v1: Final = Recipe(
    source="torchvision's references, weights IMAGENET1K_V1",
    differs=(_FIRST_WEIGHTS,),
    model=zoo.named("resnet18"),
    data=DataSpec(
        name="imagenet",
        augment=ResizedCrop(),
        test=TestView(resize_px=256, crop_px=224),
    ),
    optim=SgdSpec(learning_rate=0.1),
    schedule=StepDecay(milestones=(steps(30, _V1_BATCH), steps(60, _V1_BATCH))),
    batch_images=_V1_BATCH,
    part_images=32,
    rate_rule="linear",
    total_steps=steps(_V1_EPOCHS, _V1_BATCH),
)
_v2: Final = Recipe(
    source="torchvision's references, weights IMAGENET1K_V2",
    differs=(_FIRST_WEIGHTS, "the rate changes with every update, not with every epoch"),
    model=zoo.named("resnet50-v1.5"),
    data=DataSpec(
        name="imagenet",
        augment=ResizedCrop(crop_px=176),
        policy=TrivialAugment(),
        erasing=RandomErasing(probability=0.1),
        repeats=4,
        test=TestView(resize_px=232, crop_px=224),
    ),
    mixing=Mixing(mixup_alpha=0.2, cutmix_alpha=1.0),
    optim=SgdSpec(learning_rate=0.5, weight_decay=2e-5, decay_on="all-but-norms"),
    schedule=Cosine(warmup_steps=_V2_WARMUP, warmup_factor=0.01),
    batch_images=_V2_BATCH,
    part_images=128,
    rate_rule="linear",
    total_steps=steps(_V2_EPOCHS, _V2_BATCH),
    label_smoothing=0.1,
    ema=EmaSpec(
        decay=1 - (1 - 0.99998) * _V2_BATCH * _V2_AVERAGED_EVERY / _V2_EPOCHS,
        every_steps=_V2_AVERAGED_EVERY,
        copied_steps=_V2_WARMUP,
    ),
)
# Top-1 accuracy of torchvision's weights in one crop, as their metadata has it.
_V1_ACCURACIES: Final = {18: 69.758, 34: 73.314, 50: 76.130, 101: 77.374, 152: 78.312}
_V2_ACCURACIES: Final = {50: 80.858, 101: 81.886, 152: 82.284}


def _recipe(base: Recipe, depth: int, accuracy: float, epochs: int) -> Recipe:
    crop = base.data.augment
    assert isinstance(crop, ResizedCrop)
    version = base.source.rpartition(" ")[2]
    return replace(
        base,
        model=zoo.named(f"resnet{depth}" if depth < 50 else f"resnet{depth}-v1.5"),
        expected=Expected(
            top1_error_percent=round(100 - accuracy, 3),
            source=f"torchvision, ResNet{depth}_Weights.{version}, one crop of 224 px",
            cost=imagenet_facts.cost(depth, epochs, crop.crop_px),
        ),
    )


RECIPES: Final[dict[str, Recipe]] = {
    **{
        f"imagenet.resnet{depth}-tv1": _recipe(_v1, depth, accuracy, _V1_EPOCHS)
        for depth, accuracy in _V1_ACCURACIES.items()
    },
    **{
        f"imagenet.resnet{depth}-tv2": _recipe(_v2, depth, accuracy, _V2_EPOCHS)
        for depth, accuracy in _V2_ACCURACIES.items()
    },
}
