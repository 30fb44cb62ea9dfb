import contextlib
from dataclasses import replace

import pytest
import torch

from resnets.data import synthetic
from resnets.experiment import run
from resnets.models import zoo
from resnets.recipes.schedule import Linear
from resnets.recipes.schema import DataSpec, Recipe, SgdSpec


@contextlib.contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small only wait for a second thread."""
    with threads(1):
        yield


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
    with threads(1):
        run.start(recipe, synthetic.make(), name="tiny", out=out, device="cpu", compiling="off")
    return out
