"""What is counted and not trained: Table 1, and every number of parameters that is printed.

resnets reproduce table-1
resnets reproduce parameters
"""

from typing import Any

from resnets.experiment import paper
from resnets.experiment.studies.study import Found, Setting, Study
from resnets.models import cost, zoo
from resnets.models.cost import Cost
from resnets.models.spec import ResNetSpec


def _table_1(setting: Setting) -> Found:
    rows = []
    for depth, claimed in paper.MULTIPLY_ADDS.items():
        rows.append(_row(f"resnet{depth}", claimed, "Table 1"))
    for depth, claimed in paper.MULTIPLY_ADDS_VGG.items():
        rows.append(_row(f"vgg{depth}", claimed, "sec. 3.3"))
    agree = sum(row["agrees"] == "yes" for row in rows)
    return Found(
        columns={
            "network": "network",
            "layers": "layers",
            "sizes": "output sizes",
            "blocks": "blocks",
            "paper": "paper: multiply-adds, 10^9",
            "ours": "ours: multiply-adds, 10^9",
            "convolutions": "convolutions alone",
            "agrees": "agrees",
        },
        rows=rows,
        says=f"{agree} of {len(rows)} printed numbers are ours rounded or cut to their digits, "
        "counted either whole or in convolutions alone.",
    )


def _row(name: str, claimed: str, where: str) -> dict[str, Any]:
    spec = zoo.named(name)
    measured = cost.measure(spec)
    convolutions = _convolutions(measured)
    counts = [measured.multiply_adds, convolutions]
    return {
        "network": name,
        "layers": measured.depth,
        "sizes": " ".join(str(stage.output_size[-1]) for stage in measured.stages),
        "blocks": " ".join(str(s.blocks) for s in spec.stages)
        if isinstance(spec, ResNetSpec)
        else "",
        "paper": f"{claimed} ({where})",
        "ours": round(measured.multiply_adds / 1e9, 3),
        "convolutions": round(convolutions / 1e9, 3),
        "agrees": "yes" if any(_agrees(claimed, n / 1e9) for n in counts) else "no",
    }


def _convolutions(measured: Cost) -> int:
    return sum(layer.multiply_adds for layer in measured.layers if layer.kind == "convolution")


def _parameters(setting: Setting) -> Found:
    claims = [(f"cifar-resnet{d}", c, "Table 6") for d, c in paper.PARAMETERS.items()]
    claims += [(f"resnet{d}-small", c, "small-image variants") for d, c in paper.SMALL.items()]
    rows = []
    for name, claimed, where in claims:
        count = cost.measure(zoo.named(name)).parameters
        rows.append(
            {
                "network": name,
                "paper": f"{claimed} ({where})",
                "ours": count,
                "agrees": "yes" if _agrees(claimed, count / 1e6) else "no",
            }
        )
    agree = sum(row["agrees"] == "yes" for row in rows)
    return Found(
        columns={
            "network": "network",
            "paper": "printed: parameters, 10^6",
            "ours": "ours: parameters",
            "agrees": "agrees",
        },
        rows=rows,
        says=f"{agree} of {len(rows)} printed numbers are ours rounded or cut to their digits.",
    )


def _agrees(claimed: str, value: float) -> bool:
    """Tell whether a printed number is the value rounded, or cut off, to its digits."""
    digits = len(claimed.partition(".")[2])
    unit = 10.0**-digits
    return abs(float(claimed) - value) <= unit / 2 or 0 <= value - float(claimed) < unit


TABLE_1 = Study(
    title="Layers, sizes and multiply-adds of the ImageNet networks",
    source="He et al. 2015, Table 1, sec. 3.3",
    find=_table_1,
    needs="nothing",
)
PARAMETERS = Study(
    title="Parameters of the CIFAR networks and the small-image variants",
    source="He et al. 2015, Table 6; counts in circulation for the variants",
    find=_parameters,
    needs="nothing",
)
