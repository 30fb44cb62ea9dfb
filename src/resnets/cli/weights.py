"""`resnets weights`: other people's weights in, ours out."""

from pathlib import Path
from typing import Annotated

import typer

from resnets.cli import output
from resnets.cli.options import CheckpointArgument, DataOption, Device, Json

app = typer.Typer(help="List, fetch, convert and export weights.")

To = Annotated[Path, typer.Option("--to", metavar="OUT", help="The file to write.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List published weights that have a name, with their error, preprocessing and licence."""
    from resnets.cli import listing

    output.table(listing.weights(whole=json), json)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A name of `resnets weights list`.")],
    json: Json = False,
) -> None:
    """Get published weights and keep them in the cache; does nothing where they are there."""
    from resnets.cli import listing
    from resnets.inference import converting

    output.record(listing.checkpoint(converting.from_published(name)), json)


@app.command()
def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="PyTorch, safetensors, Keras or TensorFlow.js.")
    ],
    to: To,
    model: Annotated[
        str | None,
        typer.Option(metavar="M", help="Which network, where the file does not tell it all."),
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="torchvision, caffe or scaled, perhaps with settings: torchvision,resize=232.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Class names, one a line. [default: ImageNet's]"),
    ] = None,
    json: Json = False,
) -> None:
    """Turn another library's weights into a checkpoint of ours; nothing in the file is run."""
    from resnets.cli import listing
    from resnets.inference import converting

    made = converting.convert(file, to, model=model, preprocess=preprocess, classes=classes)
    output.record(listing.checkpoint(made), json)


@app.command()
def export(checkpoint: CheckpointArgument, to: To, json: Json = False) -> None:
    """Write a checkpoint's weights under torchvision's names: OUT ends in .pth or .safetensors."""
    from resnets.inference import converting, opening

    output.record(converting.export(opening.checkpoint(checkpoint), to), json)


@app.command("true-average")
def true_average(
    checkpoint: CheckpointArgument,
    to: To,
    data: DataOption = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Replace the moving averages of BN by true averages over training data, as the authors did."""
    from resnets.cli import listing
    from resnets.experiment import averaging

    output.record(listing.checkpoint(averaging.average(checkpoint, to, data, device)), json)
