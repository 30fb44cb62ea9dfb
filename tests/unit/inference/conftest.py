from dataclasses import replace

import pytest

from resnets.data import synthetic
from resnets.experiment import run
from resnets.models import zoo
from resnets.recipes.schedule import Linear
from resnets.recipes.schema import DataSpec, Recipe, SgdSpec


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run of a few updates on the synthetic images."""
    recipe = Recipe(
        source="here",
        model=replace(zoo.named("cifar-resnet8"), classes=4),
        data=DataSpec(name="synthetic"),
        optim=SgdSpec(learning_rate=0.1, nesterov=True),
        schedule=Linear(),
        batch_images=32,
        total_steps=6,
        precision="float32",
    )
    out = tmp_path_factory.mktemp("runs") / "finished"
    run.start(recipe, synthetic.make(), name="tiny", out=out, device="cpu", compiling="off")
    return out
