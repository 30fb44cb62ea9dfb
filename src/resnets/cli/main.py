"""The command `resnets`: one function a subcommand, imports inside it so that help is instant."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from resnets.cli import output, weights
from resnets.cli.options import CheckpointArgument, DataOption, Device, Json, Settings
from resnets.core import launcher
from resnets.core.errors import ResNetsError

app = typer.Typer(
    help="Deep residual learning (He et al. 2015) as real software.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# The base of every usage error; typer gives it no public name of its own.
_UsageError: Any = typer.BadParameter.__mro__[1]

data_app = typer.Typer(help="List, fetch, check and pack data sets.")
app.add_typer(data_app, name="data")
app.add_typer(weights.app, name="weights")

_INTERRUPTED = 130  # the shell's status for SIGINT


@app.command()
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="[RECIPE]", help="A name of `resnets list recipes`."),
    ] = None,
    data: DataOption = None,
    model: Annotated[
        str | None, typer.Option(metavar="M", help="Another network: `resnets list models`.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Passes over the data; the schedule is stretched to fit."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images in a batch, on all devices together.")
    ] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Base learning rate.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(metavar="W", help="Begin from a run, a file, or published weights."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A new folder for the run. [default: runs/RECIPE]"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of everything random. [default: 0]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue this run; needs nothing else.")
    ] = None,
    device: Device = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads that read images. [default: one a core]"),
    ] = None,
    compiling: Annotated[
        Literal["auto", "on", "off"],
        typer.Option("--compile", help="auto: when the run is long enough to win the time back."),
    ] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write its events to RUN/tensorboard.")
    ] = False,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Train a network, or continue a run that was stopped.

    Without a recipe: the one that fits --data, or sample.resnet20, which needs no download.
    """
    from resnets.experiment import asking

    changes = asking.Changes(
        model=model,
        epochs=epochs,
        batch_images=batch_size,
        rate=lr,
        settings=tuple(settings or ()),
        weights=weights,
    )
    if resume is not None:
        compiled = None if compiling == "auto" else compiling
        fixed = {
            "--out": out,
            "--seed": seed,
            "--compile": compiled,
            "--tensorboard": tensorboard or None,
        }
        named = [flag for flag, value in fixed.items() if value is not None]
        if named:
            raise ResNetsError(f"{named[0]}: --resume keeps what the run began with; leave it out")
        finished = asking.resume(resume, recipe, data, changes, device=device, workers=workers)
    else:
        finished = asking.start(
            recipe,
            data,
            changes,
            out=out,
            seed=seed or 0,
            device=device,
            compiling=compiling,
            workers=workers,
            tensorboard=tensorboard,
        )
    if launcher.leads():
        output.finished(finished, json)


@app.command()
def evaluate(
    checkpoint: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT...",
            help="A run's folder, a checkpoint file, or published weights; several: the ensemble.",
        ),
    ],
    data: DataOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="train, validation, test. [default: test, or validation where there is no test "
            "split]",
        ),
    ] = None,
    protocol: Annotated[
        Literal["single-crop", "ten-crop", "multi-scale", "voc2007", "voc2010", "coco"] | None,
        typer.Option(
            help="The views of an image to average over (He et al. 2015, sec. 3.4), or how a "
            "detector's precision is measured. [default: single-crop, or the recipe's]"
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="auto: the counts of float32, by bfloat16 where that is sure."),
    ] = "auto",
    settings: Settings = None,
    submission: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a detector's findings as test servers take them."),
    ] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Each class's error too.")] = False,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure the error of a checkpoint, or of several together, on every image of a split."""
    from resnets.experiment import measuring

    measured = measuring.measure(
        checkpoint,
        data,
        split=split,
        protocol=protocol,
        precision=precision,
        settings=settings or (),
        submission=submission,
        per_class=per_class,
        device=device,
    )
    output.evaluation(measured, json)


@app.command()
def predict(
    checkpoint: CheckpointArgument,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, folders of them, or - for standard input: one image, or names.",
        ),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            min=1,
            help="Classes to print for each image, or objects. [default: 1 class, every object "
            "that is likelier there than not]",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Draw where the class was seen, or the objects: a .png, or a folder for several "
            "images.",
        ),
    ] = None,
    layout: Annotated[
        Literal["table", "jsonl", "csv"], typer.Option("--format", help="How to print.")
    ] = "table",
    device: Device = None,
    json: Json = False,
) -> None:
    """Name what is in images."""
    from resnets.inference import detector, explanation, loading, pictures
    from resnets.inference.detector import Detector

    if json and layout != "table":
        raise ResNetsError(f"--json: is a format of its own; leave it or --format {layout} out")
    found = pictures.find(images)
    kind: Literal["table", "json", "jsonl", "csv"] = "json" if json else layout
    loaded = loading.load(checkpoint, device)
    if isinstance(loaded, Detector):
        told = detector.told(loaded, found, top, explain)
        refused = output.predictions(told, kind, empty=detector.nothing(top))
    else:
        if explain is not None:
            explanation.check(loaded.plain, explain, found)
        refused = output.predictions(loaded.stream(found, top or 1), kind)
        if explain is not None:
            output.explained(explanation.draw(loaded.explain, found, explain))
    if refused is not None:  # the other images come first
        raise refused


@app.command()
def inspect(
    model: Annotated[
        str,
        typer.Argument(
            help="A name of `resnets list models`, a detector's recipe, or a checkpoint."
        ),
    ],
    image_px: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Side of the image, a detector's shorter one. [default: the paper's]"
        ),
    ] = None,
    diagram: Annotated[
        Path | None, typer.Option(metavar="OUT.svg", help="Draw it as in Fig. 3, 2 and 5.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain a network: its stages, every different block, sizes, parameters, multiply-adds."""
    from resnets.experiment import diagram as diagrams
    from resnets.experiment import inspection

    if diagram is not None:
        diagrams.check(diagram)
    found = inspection.inspect(model, image_px)
    if diagram is not None:
        found.diagram().save(diagram)
    output.inspection(found, json)


@app.command()
def reproduce(
    study: Annotated[str, typer.Argument(metavar="NAME", help="A name of `resnets list studies`.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Short runs on the built-in sample: minutes.")
    ] = False,
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each network.")] = 1,
    data: DataOption = None,
    device: Device = None,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Reproduce a table, a figure or an argument of the paper; stopped, it goes on where it was.

    Writes results/NAME.json and its figure; the runs are in runs/reproduce.
    """
    from resnets.experiment import reproduce as reproducing

    found = reproducing.reproduce(
        study,
        quick=quick,
        seeds=seeds,
        data=data,
        device=device,
        settings=tuple(settings or ()),
    )
    output.reproduction(found, json)


@app.command("list")
def list_(what: Literal["recipes", "models", "studies"], json: Json = False) -> None:
    """List what there is: recipes, with digest and expected error; models; the paper's studies."""
    from resnets.cli import listing

    kinds = {
        "recipes": lambda: listing.recipes(fields=json),
        "models": listing.models,
        "studies": listing.studies,
    }
    output.table(kinds[what](), json)


@data_app.command("list")
def data_list(json: Json = False) -> None:
    """List the data sets that have a name."""
    from resnets.cli import listing

    output.table(listing.data_sets(), json)


@data_app.command("fetch")
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name of `resnets data list`.")], json: Json = False
) -> None:
    """Get a data set and keep it in the cache; does nothing where it is there already."""
    from resnets.cli import listing

    output.record(listing.fetch(name), json)


@data_app.command("check")
def data_check(
    data: Annotated[str, typer.Argument(metavar="D", help="A name or a folder.")],
    json: Json = False,
) -> None:
    """Decode every image of a data set and say what is in it and what is wrong with it."""
    from resnets.data import opening

    refused = output.checked(opening.open_data(data).check(), json)
    if refused is not None:
        raise refused


@data_app.command("pack")
def data_pack(
    data: Annotated[str, typer.Argument(metavar="D", help="A folder of image files.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder, or one to continue in.")
    ],
    shorter_px: Annotated[
        int | None,
        typer.Option(metavar="N", help="Resize longer shorter sides to it. [default: as it is]"),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(metavar="Q", help="Of resized JPEGs, 1 to 100. [default: 90]"),
    ] = None,
    json: Json = False,
) -> None:
    """Pack image files into a few large ones, which --data takes; killed, it continues."""
    from resnets.cli import listing

    output.record(listing.pack(data, out, shorter_px, quality, json), json)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what this machine has and what a run would use."""
    from resnets.experiment import doctor as examining

    output.record(examining.examine(), json)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A name of `resnets list models`.")] = (
        "cifar-resnet20"
    ),
    batch_size: Annotated[int, typer.Option(metavar="N", help="Images in a batch.")] = 128,
    device: Device = None,
    json: Json = False,
) -> None:
    """Time training and inference of a network on this machine."""
    from resnets.experiment import bench as benching

    output.record(benching.measure(model, batch_images=batch_size, device=device), json)


def main() -> NoReturn:
    """Run the command; one line and a status for what goes wrong, a traceback with --debug."""
    words = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        _check_processes(words)
        status = app(words or ["--help"], prog_name="resnets", standalone_mode=False)
        if status == _INTERRUPTED:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        sys.stdout.flush()  # so that a full disk is said here
    except (Exception, KeyboardInterrupt) as err:
        explained = _explain(err)
        if explained is None or "--debug" in sys.argv:
            raise
        _leave(*explained, everywhere=getattr(err, "everywhere", False))
    sys.exit(0)


def _check_processes(words: list[str]) -> None:
    """Refuse to do the same thing several times over."""
    here = launcher.place()
    if here is not None and here.size > 1 and words[:1] != ["train"]:
        raise ResNetsError(
            f"torchrun started {here.size} processes, and only `resnets train` shares its work "
            "among several; start one"
        )


def _explain(err: BaseException) -> tuple[str, int] | None:
    """Return the line and the status for what went wrong; None for a mistake of our own."""
    if isinstance(err, ResNetsError):
        return str(err), err.exit_status
    if isinstance(err, _UsageError):
        command = err.ctx.command_path if err.ctx is not None else "resnets"
        wrong = err.format_message().rstrip(".")
        return f"{wrong}; `{command} --help` shows what is accepted", 2
    if isinstance(err, KeyboardInterrupt | typer.Abort):
        return "stopped", _INTERRUPTED
    if isinstance(err, OSError):
        return f"{err.filename or 'output'}: {err.strerror or err}", 2
    if isinstance(err, MemoryError | RuntimeError) and "memory" in str(err):
        return "out of memory; a smaller --batch-size needs less", 1
    return None


def _leave(message: str, status: int, *, everywhere: bool) -> NoReturn:
    line = "resnets: " + " ".join(message.split()) + "\n"
    if launcher.leads() if everywhere else launcher.first_to_say(line):
        sys.stderr.write(line)
    sys.exit(status)
