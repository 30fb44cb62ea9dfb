"""PASCAL VOC and COCO with the paper's detectors: He et al. 2015, Tables 7 and 8.

resnets train voc.resnet101 --data VOCdevkit --weights msra/resnet101
resnets train voc2012.resnet101 --data VOCdevkit --weights msra/resnet101
resnets train coco.resnet101 --data coco --weights msra/resnet101

`voc.*` trains on the trainval splits of 2007 and 2012 ("07+12") and is tested on 2007's test split.
`voc2012.*` trains on 2007's test split too ("07++12") and is meant for 2012's test split, whose
boxes VOC's server keeps to itself: `resnets evaluate RUN --split 2012/test --submission FOLDER`.
"""

from dataclasses import replace
from typing import Final

from resnets.detection import anchors
from resnets.detection.spec import FasterRCNNSpec
from resnets.recipes.detect import network
from resnets.recipes.detector import DetectorRecipe, ExpectedAP, Pretrained, ScenesSpec
from resnets.recipes.optimizers import SgdSpec
from resnets.recipes.schedule import StepDecay

_TABLE_7: Final = "He et al. 2015, Table 7"
_TABLE_8: Final = "He et al. 2015, Table 8"
# conv1 and conv2 of either network, as Ren et al.'s code has it.
_FROZEN: Final = {"vgg16": 2, "resnet50": 1, "resnet101": 1}
_WEIGHTS: Final = {
    "vgg16": "torchvision/vgg16.imagenet1k-v1",
    "resnet50": "msra/resnet50",
    "resnet101": "msra/resnet101",
}


def _voc(name: str, ap50_percent: float | None) -> DetectorRecipe:
    return DetectorRecipe(
        source="He et al. 2015, appendix A; Ren et al. 2015, sec. 3.1.3, for the rates",
        expected=None
        if ap50_percent is None
        else ExpectedAP(ap50_percent=ap50_percent, source=_TABLE_7),
        differs=(
            "joint training and not alternating steps",
            "80,000 updates at 0.001 and 30,000 at 0.0001; the paper does not say how many of VOC",
        ),
        model=FasterRCNNSpec(backbone=network(name), classes=20),
        data=ScenesSpec(
            name="voc",
            train=("2007/train", "2007/validation", "2012/train", "2012/validation"),
            test="2007/test",
            protocol="voc2007",
        ),
        optim=SgdSpec(learning_rate=0.001, weight_decay=0.0005),
        schedule=StepDecay(milestones=(80_000,)),
        batch_images=1,
        rate_rule="linear",
        total_steps=110_000,
        transfer=Pretrained(weights=_WEIGHTS[name], frozen_stages=_FROZEN[name]),
    )


def _voc2012(name: str, ap50_percent: float) -> DetectorRecipe:
    made = _voc(name, ap50_percent)
    whole = (*made.data.train[:2], "2007/test", *made.data.train[2:])
    return replace(
        made,
        differs=(
            *made.differs,
            "one image in a hundred is held out to watch the training: nothing else has boxes",
        ),
        data=replace(
            made.data, train=whole, test="2012/test", held_out_share=0.01, protocol="voc2010"
        ),
    )


def _coco(name: str, ap50_percent: float | None) -> DetectorRecipe:
    return DetectorRecipe(
        source="He et al. 2015, appendix A",
        expected=None
        if ap50_percent is None
        else ExpectedAP(ap50_percent=ap50_percent, source=_TABLE_8),
        differs=("joint training of 8 images and not alternating steps of 8 and 16",),
        model=FasterRCNNSpec(backbone=network(name), classes=80, anchors=anchors.COCO),
        data=ScenesSpec(name="coco", protocol="coco"),
        optim=SgdSpec(learning_rate=0.001, weight_decay=0.0005),
        schedule=StepDecay(milestones=(240_000,)),
        batch_images=8,
        rate_rule="linear",
        total_steps=320_000,
        transfer=Pretrained(weights=_WEIGHTS[name], frozen_stages=_FROZEN[name]),
    )


RECIPES: Final[dict[str, DetectorRecipe]] = {
    "voc.vgg16": _voc("vgg16", 73.2),
    "voc.resnet50": _voc("resnet50", None),
    "voc.resnet101": _voc("resnet101", 76.4),
    "voc2012.vgg16": _voc2012("vgg16", 70.4),
    "voc2012.resnet101": _voc2012("resnet101", 73.8),
    "coco.vgg16": _coco("vgg16", 41.5),
    "coco.resnet50": _coco("resnet50", None),
    "coco.resnet101": _coco("resnet101", 48.4),
}
