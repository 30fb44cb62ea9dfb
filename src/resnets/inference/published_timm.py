"""The facts about timm's published ResNets that were trained on ImageNet-1k alone."""

from typing import Final

from resnets.core.spec import spec

_GITHUB: Final = "https://github.com/"
_RSB: Final = f"{_GITHUB}huggingface/pytorch-image-models/releases/download/v0.1-rsb-weights/"
_RSB_OLD: Final = f"{_GITHUB}rwightman/pytorch-image-models/releases/download/v0.1-rsb-weights/"
_TIMM: Final = f"{_GITHUB}huggingface/pytorch-image-models/releases/download/v0.1-weights/"
_TIMM_OLD: Final = f"{_GITHUB}rwightman/pytorch-image-models/releases/download/v0.1-weights/"
_GLUON: Final = f"{_GITHUB}rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/"
_PYTORCH: Final = "https://download.pytorch.org/models/"

RESULTS: Final = (
    "https://github.com/huggingface/pytorch-image-models/blob/"
    "0173a139a2c66db3a41ebfe1d8ac4fb02483642e/results/results-imagenet.csv"
)

# What the tags in the names mean.
# Source: Wightman et al. 2021, Table 2, https://arxiv.org/abs/2110.00476; timm's model cards.
RECIPES: Final = {
    "tv": "torchvision's first weights in timm's form",
    "tv2": "torchvision's newer weights in timm's form",
    "a1": "ResNet strikes back, recipe A1: 600 epochs",
    "a1h": "ResNet strikes back, recipe A1 with more augmentation",
    "a2": "ResNet strikes back, recipe A2: 300 epochs",
    "a3": "ResNet strikes back, recipe A3: 100 epochs at 160 px",
    "b1k": "ResNet strikes back, recipe B",
    "b2k": "ResNet strikes back, recipe B",
    "c1": "ResNet strikes back, recipe C",
    "c2": "ResNet strikes back, recipe C",
    "d": "ResNet strikes back, recipe D",
    "am": "timm's own: AugMix",
    "ra": "timm's own: RandAugment",
    "ram": "timm's own: RandAugment and AugMix",
    "ra4": "timm's own: RandAugment, the recipe of MobileNetV4 for 3600 epochs",
    "bt": "timm's own: a bag of tricks",
    "gluon": "GluonCV's, ported to timm",
}


@spec
class TimmWeights:
    """One of timm's sets of weights.

    Args:
        name: timm's.
        crop_px: The crop, at the size it was trained at.
        crop_share: Of the resized side that the crop takes.
        url: The file with a checksum in its name; some have none.
        tested: The published top-1 and top-5 error in percent, and the crop in pixels and its
            share that they were measured with, often larger ones than the above.
        halves: Whether it wants pixels in [-1, 1] and not ImageNet's mean and deviation.

    Source: https://github.com/huggingface/pytorch-image-models, each model's default_cfg.
    """

    name: str
    crop_px: int
    crop_share: float
    url: str | None
    tested: tuple[float, float, int, float] | None
    halves: bool = False


WEIGHTS: Final = (
    TimmWeights(
        name="resnet18.a1_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet18_a1_0-d63eafa0.pth",
        tested=(26.842, 8.974, 288, 1.0),
    ),
    TimmWeights(
        name="resnet18.a2_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet18_a2_0-b61bd467.pth",
        tested=(27.628, 9.404, 288, 1.0),
    ),
    TimmWeights(
        name="resnet18.a3_in1k",
        crop_px=160,
        crop_share=0.95,
        url=_RSB + "resnet18_a3_0-40c531c8.pth",
        tested=(31.746, 11.824, 224, 0.95),
    ),
    TimmWeights(
        name="resnet18.tv_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_PYTORCH + "resnet18-f37072fd.pth",
        tested=(30.24, 10.93, 224, 0.875),
    ),
    TimmWeights(
        name="resnet18.gluon_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_GLUON + "gluon_resnet18_v1b-0757602b.pth",
        tested=(29.162, 10.246, 224, 0.875),
    ),
    TimmWeights(
        name="resnet34.a1_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet34_a1_0-46f8f793.pth",
        tested=(22.082, 6.234, 288, 1.0),
    ),
    TimmWeights(
        name="resnet34.a2_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet34_a2_0-82d47d71.pth",
        tested=(22.842, 6.726, 288, 1.0),
    ),
    TimmWeights(
        name="resnet34.a3_in1k",
        crop_px=160,
        crop_share=0.95,
        url=_RSB + "resnet34_a3_0-a20cabb6.pth",
        tested=(27.03, 8.892, 224, 0.95),
    ),
    TimmWeights(
        name="resnet34.bt_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_TIMM_OLD + "resnet34-43635321.pth",
        tested=(23.52, 6.646, 288, 0.95),
    ),
    TimmWeights(
        name="resnet34.ra4_e3600_r224_in1k",
        crop_px=224,
        crop_share=0.9,
        url=None,
        tested=None,
        halves=True,
    ),
    TimmWeights(
        name="resnet34.tv_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_PYTORCH + "resnet34-b627a593.pth",
        tested=None,
    ),
    TimmWeights(
        name="resnet34.gluon_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_GLUON + "gluon_resnet34_v1b-c6d82d59.pth",
        tested=(25.422, 8.016, 224, 0.875),
    ),
    TimmWeights(
        name="resnet50.a1_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB_OLD + "resnet50_a1_0-14fe96d1.pth",
        tested=(18.786, 4.898, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.a1h_in1k",
        crop_px=176,
        crop_share=0.9,
        url=_RSB + "resnet50_a1h2_176-001a1197.pth",
        tested=(19.324, 4.694, 224, 1.0),
    ),
    TimmWeights(
        name="resnet50.a2_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet50_a2_0-a2746f79.pth",
        tested=(19.228, 5.012, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.a3_in1k",
        crop_px=160,
        crop_share=0.95,
        url=_RSB + "resnet50_a3_0-59cae1ef.pth",
        tested=(21.952, 6.22, 224, 0.95),
    ),
    TimmWeights(
        name="resnet50.b1k_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet50_b1k-532a802a.pth",
        tested=(19.294, 4.568, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.b2k_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet50_b2k-1ba180c1.pth",
        tested=(19.546, 4.682, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.c1_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet50_c1-5ba5e060.pth",
        tested=(19.088, 4.448, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.c2_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet50_c2-d01e05b2.pth",
        tested=(19.13, 4.466, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.d_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet50_d-f39db8af.pth",
        tested=(19.028, 4.57, 288, 1.0),
    ),
    TimmWeights(
        name="resnet50.ram_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_TIMM + "resnet50_ram-a26f946b.pth",
        tested=(20.024, 4.948, 288, 0.95),
    ),
    TimmWeights(
        name="resnet50.am_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_TIMM + "resnet50_am-6c502b37.pth",
        tested=(21.002, 5.604, 224, 0.875),
    ),
    TimmWeights(
        name="resnet50.ra_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_TIMM + "resnet50_ra-85ebb6e5.pth",
        tested=(20.164, 5.034, 288, 0.95),
    ),
    TimmWeights(
        name="resnet50.bt_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_TIMM + "rw_resnet50-86acaeed.pth",
        tested=(20.36, 5.108, 288, 0.95),
    ),
    TimmWeights(
        name="resnet50.tv_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_PYTORCH + "resnet50-0676ba61.pth",
        tested=(23.87, 7.142, 224, 0.875),
    ),
    TimmWeights(
        name="resnet50.tv2_in1k",
        crop_px=176,
        crop_share=0.875,
        url=_PYTORCH + "resnet50-11ad3fa6.pth",
        tested=(19.15, 4.566, 224, 0.965),
    ),
    TimmWeights(
        name="resnet50.gluon_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_GLUON + "gluon_resnet50_v1b-0ebe02e2.pth",
        tested=(22.42, 6.282, 224, 0.875),
    ),
    TimmWeights(
        name="resnet101.a1h_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB_OLD + "resnet101_a1h-36d3f2aa.pth",
        tested=(17.222, 3.69, 288, 1.0),
    ),
    TimmWeights(
        name="resnet101.a1_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet101_a1_0-cdcb52a9.pth",
        tested=(17.678, 4.368, 288, 1.0),
    ),
    TimmWeights(
        name="resnet101.a2_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet101_a2_0-6edb36c7.pth",
        tested=(17.764, 4.27, 288, 1.0),
    ),
    TimmWeights(
        name="resnet101.a3_in1k",
        crop_px=160,
        crop_share=0.95,
        url=_RSB + "resnet101_a3_0-1db14157.pth",
        tested=(20.186, 5.394, 224, 0.95),
    ),
    TimmWeights(
        name="resnet101.tv_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_PYTORCH + "resnet101-63fe2227.pth",
        tested=(22.624, 6.458, 224, 0.875),
    ),
    TimmWeights(
        name="resnet101.tv2_in1k",
        crop_px=176,
        crop_share=0.875,
        url=_PYTORCH + "resnet101-cd907fc2.pth",
        tested=(18.11, 4.232, 224, 0.965),
    ),
    TimmWeights(
        name="resnet101.gluon_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_GLUON + "gluon_resnet101_v1b-3b017079.pth",
        tested=(20.69, 5.478, 224, 0.875),
    ),
    TimmWeights(
        name="resnet152.a1h_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB_OLD + "resnet152_a1h-dc400468.pth",
        tested=(16.55, 3.462, 288, 1.0),
    ),
    TimmWeights(
        name="resnet152.a1_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet152_a1_0-2eee8a7a.pth",
        tested=(17.268, 4.28, 288, 1.0),
    ),
    TimmWeights(
        name="resnet152.a2_in1k",
        crop_px=224,
        crop_share=0.95,
        url=_RSB + "resnet152_a2_0-b4c6978f.pth",
        tested=(17.392, 4.248, 288, 1.0),
    ),
    TimmWeights(
        name="resnet152.a3_in1k",
        crop_px=160,
        crop_share=0.95,
        url=_RSB + "resnet152_a3_0-134d4688.pth",
        tested=(19.454, 5.0, 224, 0.95),
    ),
    TimmWeights(
        name="resnet152.tv_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_PYTORCH + "resnet152-394f9c45.pth",
        tested=(21.678, 5.952, 224, 0.875),
    ),
    TimmWeights(
        name="resnet152.tv2_in1k",
        crop_px=176,
        crop_share=0.875,
        url=_PYTORCH + "resnet152-f82ba261.pth",
        tested=(17.712, 3.996, 224, 0.965),
    ),
    TimmWeights(
        name="resnet152.gluon_in1k",
        crop_px=224,
        crop_share=0.875,
        url=_GLUON + "gluon_resnet152_v1b-c1edb0dd.pth",
        tested=(20.306, 5.264, 224, 0.875),
    ),
)
