"""Every study by the name that `resnets reproduce` takes."""

from typing import Final

from resnets.core import errors
from resnets.core.errors import RecipeError
from resnets.experiment.studies import counts, depth, imagenet, inside
from resnets.experiment.studies.study import Study

STUDIES: Final[dict[str, Study]] = {
    "table-1": counts.TABLE_1,
    "parameters": counts.PARAMETERS,
    "figure-1": depth.FIGURE_1,
    "figure-6": depth.FIGURE_6,
    "table-6": depth.TABLE_6,
    "construction": inside.CONSTRUCTION,
    "gradients": inside.GRADIENTS,
    "figure-4": imagenet.FIGURE_4,
    "options": depth.OPTIONS,
    "table-2": imagenet.TABLE_2,
    "table-3": imagenet.TABLE_3,
    "table-4": imagenet.TABLE_4,
    "table-5": imagenet.TABLE_5,
    "figure-7": inside.FIGURE_7,
    "gates": inside.GATES,
}
# What the paper has and this version cannot do.
GAPS: Final = {
    "detection": "Tables 7 and 8: train voc.vgg16, voc.resnet101; no study compares them yet"
}
# What no study asks for, and how to have it all the same.
BESIDE: Final = {
    "plain-110 (above 60 %, sec. 4.2)": "`resnets train cifar10.plain110`",
    "ResNet-1202 (7.93 %, Table 6)": "`resnets train cifar10.resnet1202`",
    "VGG, GoogLeNet, PReLU-net, BN-inception (rows of Tables 3 to 5)": (
        "others' networks, whose errors are theirs; `resnets evaluate` takes their weights"
    ),
}


def named(name: str) -> Study:
    """Return the study of that name.

    Raises:
        RecipeError: There is none, or it is a gap.
    """
    if name in GAPS:
        raise RecipeError(f"{name}: {GAPS[name]}; `resnets list studies` shows what there is")
    if name not in STUDIES:
        raise RecipeError(errors.unknown("study", name, STUDIES, "resnets list studies"))
    return STUDIES[name]
