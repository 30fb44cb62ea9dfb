import os
import signal
from dataclasses import replace

import pytest

from resnets.core.errors import InterruptedRunError
from resnets.data import synthetic
from resnets.experiment import run
from resnets.models import zoo
from resnets.recipes.schedule import Linear
from resnets.recipes.schema import DataSpec, Recipe, SgdSpec

TINY = Recipe(
    source="here",
    model=replace(zoo.named("cifar-resnet8"), classes=4),
    data=DataSpec(name="synthetic"),
    optim=SgdSpec(learning_rate=0.01, nesterov=True),
    schedule=Linear(warmup_steps=2),
    batch_images=16,
    total_steps=10,
    precision="float32",
)


@pytest.fixture
def tiny():
    """A recipe of ten updates; they leave an error of about a quarter."""
    return TINY


def start(recipe, out, data=None, **given):
    made = synthetic.make() if data is None else data
    return run.start(recipe, made, name="tiny", out=out, device="cpu", compiling="off", **given)


@pytest.fixture(scope="session")
def train():
    return start


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of the recipe `tiny`, with a record of its journal every 4 updates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_LOG_EVERY", 4)
        return start(TINY, tmp_path_factory.mktemp("runs") / "finished")


class Watched:
    """The training loop of the runs that follow, with something done after each update.

    The updates are the real ones. What is done comes before anything is logged or saved.
    """

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.updates = run.updates

    def after_each(self, act):
        def watched(*given, **named):
            for update in self.updates(*given, **named):
                act(update.number)
                yield update

        self.monkeypatch.setattr(run, "updates", watched)

    def undisturbed(self):
        self.monkeypatch.setattr(run, "updates", self.updates)

    def save_after(self, *numbers):
        """Save after these updates and at no other time, however long they take."""

        def act(number):
            self.monkeypatch.setattr(run, "_SAVE_AFTER_S", 0 if number in numbers else 1e9)
            self.monkeypatch.setattr(run, "_SAVE_SHARE", float("inf"))

        self.after_each(act)

    def terminate_after(self, number):
        """Send this process SIGTERM, once, after that update."""

        def act(done):
            if done == number:
                os.kill(os.getpid(), signal.SIGTERM)

        self.after_each(act)


@pytest.fixture
def loop(monkeypatch):
    # Should a signal come while the run does not catch it, the test fails and not the process.
    before = signal.signal(signal.SIGTERM, lambda number, frame: pytest.fail("SIGTERM not caught"))
    yield Watched(monkeypatch)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """The folder of the run `tiny` as SIGTERM left it after update 6; not to be changed."""
    out = tmp_path / "interrupted"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_LOG_EVERY", 4)
        loop = Watched(patch)
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        loop.terminate_after(6)
        with pytest.raises(InterruptedRunError):
            start(TINY, out)
        signal.signal(signal.SIGTERM, before)
    return out
