"""ImageNet as in the paper (He et al. 2015, sec. 3.4; Tables 2 and 3, Fig. 4).

resnets train imagenet.resnet34 --data D       24.52 % in ten crops in the paper; 600,000 updates
resnets evaluate RUN --data D --protocol ten-crop

D is the folder of the published archives (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar,
ILSVRC2012_devkit_t12.tar.gz), or holds train/ and val/ with one folder of images a class. What is
expected is the validation error in ten crops; a run itself journals that in a single crop, which is
about two points higher. Not run here: unverified.

The paper trains resnet18 with option A only, so option B has no expected error.

Deviation: bfloat16 where the processor computes in it; `--set precision=float32` is the paper's.
Deviation: the constants of the plateau are ours (`Plateau`); the paper gives none.
Deviation: the per-pixel mean is that of the central squares (`resnets.data.means.central`).
"""

from dataclasses import replace
from typing import Final

from resnets.data.crops import ScaleCrop
from resnets.models import zoo
from resnets.recipes import imagenet_facts
from resnets.recipes.schedule import Plateau
from resnets.recipes.schema import DataSpec, Expected, Recipe, SgdSpec

_protocol: Final = Recipe(
    source="He et al. 2015, sec. 3.4",
    differs=(
        "the constants of the plateau are ours; the paper gives none",
        "the per-pixel mean is that of the central squares",
    ),
    model=zoo.named("resnet18"),
    data=DataSpec(name="imagenet", augment=ScaleCrop()),
    optim=SgdSpec(learning_rate=0.1),
    schedule=Plateau(),
    batch_images=256,
    total_steps=600_000,
    true_averages=True,  # as the authors' released models have them
)
# Top-1 validation error in ten crops. Table 2 has the networks without more parameters than their
# plain counterparts, Table 3 all others.
_TABLE_2: Final = {"plain18": 27.94, "resnet18-a": 27.88}
_TABLE_3: Final = {
    "plain34": 28.54,
    "resnet34-a": 25.03,
    "resnet34": 24.52,
    "resnet34-c": 24.19,
    "resnet50": 22.85,
    "resnet101": 21.75,
    "resnet152": 21.43,
}


_EPOCHS: Final = _protocol.total_steps * _protocol.batch_images / imagenet_facts.IMAGES


def _recipes(table: str, errors: dict[str, float]) -> dict[str, Recipe]:
    return {
        f"imagenet.{name}": replace(
            _protocol,
            model=zoo.named(name),
            expected=Expected(
                top1_error_percent=error,
                source=f"He et al. 2015, {table}, ten crops",
                cost=imagenet_facts.cost(zoo.named(name).depth, _EPOCHS),
            ),
        )
        for name, error in errors.items()
    }


RECIPES: Final[dict[str, Recipe]] = {
    **_recipes("Table 2", _TABLE_2),
    "imagenet.resnet18": _protocol,
    **_recipes("Table 3", _TABLE_3),
}
