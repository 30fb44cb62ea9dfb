"""Options and arguments that several commands share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]
DataOption = Annotated[
    str | None,
    typer.Option("--data", metavar="D", help="A name of `resnets data list`, or a path."),
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="cpu, cuda or cuda:N. [default: a GPU if any]")
]
CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="A run's folder, a checkpoint file, or published weights."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=value", help="Set one field of the recipe; repeatable."),
]
