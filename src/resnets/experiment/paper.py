"""What the paper prints about a network, to be set beside what was measured."""

from dataclasses import dataclass, replace
from typing import Final

from resnets.models import zoo
from resnets.models.spec import COLOURS, ModelSpec, ResNetSpec, VggSpec

# He et al. 2015, Table 1, last row, 1e9
MULTIPLY_ADDS: Final = {18: "1.8", 34: "3.6", 50: "3.8", 101: "7.6", 152: "11.3"}
# He et al. 2015, sec. 3.3, 1e9
MULTIPLY_ADDS_VGG: Final = {16: "15.3", 19: "19.6"}
# He et al. 2015, Table 6, 1e6
PARAMETERS: Final = {20: "0.27", 32: "0.46", 44: "0.66", 56: "0.85", 110: "1.7", 1202: "19.4"}
# Counts in circulation for 10 classes, 32x32 images, 3x3 stem, option B, 1e6
SMALL: Final = {18: "11.174", 34: "21.282", 50: "23.521", 101: "42.513", 152: "58.157"}
# He et al. 2015, Table 6, error in percent; of ResNet-110 the best of five
TABLE_6: Final = {
    "ResNet-20": 8.75,
    "ResNet-32": 7.51,
    "ResNet-44": 7.17,
    "ResNet-56": 6.97,
    "ResNet-110": 6.43,
    "ResNet-1202": 7.93,
}
# He et al. 2015, Table 6: networks of others, layers and parameters as printed, error in percent
TABLE_6_OTHERS: Final = {
    "Maxout": 9.38,
    "NIN": 8.81,
    "DSN": 8.22,
    "FitNet, 19 layers, 2.5 M": 8.39,
    "Highway, 19 layers, 2.3 M": 7.54,
    "Highway, 32 layers, 1.25 M": 8.80,
}
# He et al. 2015, Table 6: the mean in brackets of those networks that were run five times
TABLE_6_MEANS: Final = {
    "Highway, 19 layers, 2.3 M": "7.72 +- 0.16",
    "ResNet-110": "6.61 +- 0.16",
}
# He et al. 2015, Tables 2 and 3: ImageNet validation, 10-crop, top-1 and top-5 error in percent
TEN_CROP: Final[dict[str, tuple[float | None, float | None]]] = {
    "plain-18": (27.94, None),
    "ResNet-18 A": (27.88, None),
    "plain-34": (28.54, 10.02),
    "ResNet-34 A": (25.03, 7.76),
    "ResNet-34 B": (24.52, 7.46),
    "ResNet-34 C": (24.19, 7.40),
    "ResNet-50": (22.85, 6.71),
    "ResNet-101": (21.75, 6.05),
    "ResNet-152": (21.43, 5.71),
}
# He et al. 2015, Table 4: the same, multi-scale and fully convolutional
MULTI_SCALE: Final[dict[str, tuple[float | None, float | None]]] = {
    "ResNet-34 B": (21.84, 5.71),
    "ResNet-34 C": (21.53, 5.60),
    "ResNet-50": (20.74, 5.25),
    "ResNet-101": (19.87, 4.60),
    "ResNet-152": (19.38, 4.49),
}

# He et al. 2015, Tables 7 and 8, mean average precision in percent: at an overlap of 0.5, and the
# mean over overlaps of 0.5 to 0.95, which COCO alone has
DETECTION: Final[dict[str, dict[str, tuple[float, float | None]]]] = {
    "VOC 2007 test": {"VGG-16": (73.2, None), "ResNet-101": (76.4, None)},
    "VOC 2012 test": {"VGG-16": (70.4, None), "ResNet-101": (73.8, None)},
    "COCO val": {"VGG-16": (41.5, 21.2), "ResNet-101": (48.4, 27.2)},
}


@dataclass(frozen=True, slots=True)
class Printed:
    """A table's claims about one network: rows of stages by name, and a sentence on the whole."""

    where: str
    stages: dict[str, str]
    total: str


def printed(spec: ModelSpec) -> Printed | None:
    """Return what the paper prints about a network, None where it has no such network.

    Source: He et al. 2015, Table 1; sec. 3.3; sec. 4.2, Table 6.
    """
    if spec.in_channels != COLOURS:
        return None
    if isinstance(spec, VggSpec) and spec.depth in MULTIPLY_ADDS_VGG:
        return Printed("sec. 3.3", {}, f"{MULTIPLY_ADDS_VGG[spec.depth]}e9 multiply-adds")
    if not isinstance(spec, ResNetSpec) or spec.shortcut == "highway":
        return None
    if spec.stem == zoo.imagenet(18).stem:
        return _table_1(spec)
    return _section_4_2(spec)


def _table_1(spec: ResNetSpec) -> Printed | None:
    found = [depth for depth in zoo.TABLE_1 if _alike(spec, zoo.imagenet(depth))]
    if not found:
        return None
    stages = {
        "conv1": "112x112  7x7, 64, stride 2",
        **{
            f"conv{number}_x": f"{side}x{side}".ljust(9) + _row(spec, number - 2)
            for number, side in zip(range(2, 6), (56, 28, 14, 7), strict=True)
        },
        "head": "1x1      average pool, 1000-d fc",
    }
    total = f"{MULTIPLY_ADDS[found[0]]}e9 multiply-adds"
    if spec.block == "bottleneck" and spec.stride_on == "3x3":
        total += ", with the stride on the first 1x1 and not, as here, on the 3x3"
    return Printed("Table 1", stages, total)


def _row(spec: ResNetSpec, number: int) -> str:
    stage = spec.stages[number]
    layers = [("3x3", stage.width)] * 2
    if spec.block == "bottleneck":
        layers = [("1x1", stage.width), ("3x3", stage.width), ("1x1", 4 * stage.width)]
    inside = "; ".join(f"{kernel}, {width}" for kernel, width in layers)
    return f"[{inside}] x {stage.blocks}"


def _section_4_2(spec: ResNetSpec) -> Printed | None:
    n, rest = divmod(spec.depth - 2, 6)
    if rest or n < 1 or not _alike(spec, zoo.cifar(spec.depth)):
        return None
    stages = {
        "conv1": "32x32  3x3, 16",
        **{
            f"conv{number}_x": f"{side}x{side}".ljust(7) + f"2n = {2 * n} layers of {width} filters"
            for number, side, width in ((2, 32, 16), (3, 16, 32), (4, 8, 64))
        },
        "head": "1x1    average pool, 10-d fc",
    }
    if spec.depth not in PARAMETERS or spec.shortcut != "A":
        return Printed("sec. 4.2", stages, "")
    return Printed("sec. 4.2, Table 6", stages, f"{PARAMETERS[spec.depth]}e6 parameters")


def _alike(spec: ResNetSpec, known: ResNetSpec) -> bool:
    """Tell whether they differ in no more than shortcuts, classes and the place of the stride."""
    known = replace(known, shortcut=spec.shortcut, classes=spec.classes, stride_on=spec.stride_on)
    return spec == known
