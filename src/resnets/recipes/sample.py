"""The built-in sample of CIFAR-10: minutes on two cores.

resnets train sample.resnet20
resnets train sample.plain20          the same network without its shortcuts
"""

from dataclasses import replace
from typing import Final

from resnets.models import zoo
from resnets.recipes.schedule import Linear
from resnets.recipes.schema import DataSpec, Recipe, SgdSpec

_resnet20: Final = Recipe(
    source="this project, docs/lab-log.md",
    model=zoo.cifar(20),
    data=DataSpec(name="cifar10-sample"),
    optim=SgdSpec(learning_rate=0.2, nesterov=True, weight_decay=1e-3),
    schedule=Linear(warmup_steps=80),
    batch_images=128,
    total_steps=1_600,
)

RECIPES: Final[dict[str, Recipe]] = {
    "sample.resnet20": _resnet20,
    "sample.plain20": replace(_resnet20, model=zoo.cifar(20, shortcut="none")),
}
