"""What must not change by accident: the flags of the command, and the numbers of training.

`make golden-update` rewrites the files after a change that was meant.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer.main

from resnets.cli.main import app
from resnets.data import synthetic
from resnets.experiment import build
from resnets.models import zoo
from resnets.recipes import sample
from resnets.training import loop

HERE = Path(__file__).parent
UPDATES = 20
RATE = 0.005
DECAY = 0.1


def described(option, command):
    """Return one line on an option or argument: its names, what it takes, its default."""
    if option.param_type_name == "argument":
        names = option.metavar or option.name.upper()
    else:
        names = " ".join([*option.opts, *option.secondary_opts, option.metavar or ""]).strip()
    details = [option.display_type(typer.Context(command))]
    if option.required:
        details.append("required")
    if option.multiple or option.nargs == -1:
        details.append("repeatable")
    if option.default not in (None, False):
        details.append(f"default {option.default}")
    return f"    {names:<20} {', '.join(details)}"


def flags(command, words):
    """Yield the lines of a command and of all below it."""
    yield words
    for option in command.params:
        yield described(option, command)
    for name, below in sorted(getattr(command, "commands", {}).items()):
        yield from flags(below, f"{words} {name}")


def test_the_commands_and_flags_are_those_that_people_type(golden_update):
    file = HERE / "flags.txt"
    found = "\n".join(flags(typer.main.get_command(app), "resnets")) + "\n"
    if golden_update:
        file.write_text(found)
    assert found.splitlines() == file.read_text().splitlines()


def train():
    """Return the losses of the first updates of sample.resnet20, with less of everything.

    At its own rate so few images are chaotic: a last bit that a processor rounds otherwise is a
    part in 300 of the loss 20 updates later; at this rate it is a part in 100,000. Its own weight
    decay would hardly show in so few updates.
    """
    data = synthetic.make()
    recipe = sample.RECIPES["sample.resnet20"]
    recipe = replace(
        recipe,
        model=zoo.cifar(8),
        optim=replace(recipe.optim, learning_rate=RATE, weight_decay=DECAY),
        batch_images=16,
        precision="float32",
    )
    device = torch.device("cpu")
    parts = build.build(build.fitted(recipe, data), data, seed=0, device=device)
    updates = loop.updates(
        parts.model,
        parts.loss_of,
        parts.batch_of,
        parts.optimizer,
        parts.rate_of,
        parts.precision,
        first=1,
        last=UPDATES,
    )
    return [float(update.measured["loss"]) for update in updates]


LOSSES = f"""\
# Losses of the first {UPDATES} updates of sample.resnet20 with cifar-resnet8 on synthetic data, at
# rate {RATE}, weight decay {DECAY}, batch 16, in float32 on one thread of a CPU. Compared to a part
# in 10,000, because processors round differently.
"""


def test_the_losses_are_those_that_were_measured(golden_update):
    file = HERE / "losses.txt"
    found = train()
    if golden_update:
        file.write_text(LOSSES + "".join(f"{loss:.9g}\n" for loss in found))
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert found == pytest.approx([float(line) for line in lines], rel=1e-4)
    assert len(found) == UPDATES
