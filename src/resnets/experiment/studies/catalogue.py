"""Every study by the name that `resnets reproduce` takes."""

from typing import Final

from resnets.core import errors
from resnets.core.errors import RecipeError
from resnets.experiment.studies import counts, depth, detection, imagenet, inside
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
    "detection": detection.DETECTION,
}
# What no study asks for, and how to have it all the same.
BESIDE: Final = {
    "plain-110 (above 60 %, sec. 4.2)": "`resnets train cifar10.plain110`",
    "ResNet-1202 (7.93 %, Table 6)": "`resnets train cifar10.resnet1202`",
    "VGG, GoogLeNet, PReLU-net, BN-inception (rows of Tables 3 to 5)": (
        "others' networks, whose errors are theirs; `resnets evaluate` takes their weights"
    ),
    "the improvements of appendix B (Table 9)": (
        "`resnets evaluate RUN --set testing.refined=true`, and docs/detection.md"
    ),
}


def named(name: str) -> Study:
    """Return the study of that name.

    Raises:
        RecipeError: There is none.
    """
    if name not in STUDIES:
        raise RecipeError(errors.unknown("study", name, STUDIES, "resnets list studies"))
    return STUDIES[name]
