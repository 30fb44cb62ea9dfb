"""What was trained, and all that is needed to do it again."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element

from resnets.experiment import inspect_detectors
from resnets.experiment.page import markup, summary
from resnets.experiment.page.markup import Part, element
from resnets.experiment.page.story import Told, images
from resnets.inference import checkpoints
from resnets.inference.checkpoints import AnyCheckpoint, DetectorCheckpoint
from resnets.models import cost, freezing, zoo

_FROM_NOTHING: Final = "newly initialised"


def trained(story: Told) -> Element:
    """Return what was trained, from what, for how long and on what."""
    manifest, checkpoint = story.manifest, story.checkpoint
    recipe, runtime = manifest["recipe"], manifest["runtime"]
    done = max((record["update"] for record in story.records), default=checkpoint.update)
    length = [f"{done:,} updates of {images(recipe['batch_images'])}"]
    if time := summary.training_time(story):
        length.append(time)
    if checkpoint.update < done:
        length.append(f"the network after update {checkpoint.update:,} was kept")
    pairs: list[tuple[str, Part]] = [
        ("Recipe", f"{manifest['name']} ({manifest['recipe_digest']})"),
        ("Network", _network(checkpoint)),
        ("Weights it began from", _began_from(manifest)),
        ("Frozen", _frozen(recipe)),
        ("Length", ", ".join(length)),
        ("Optimizer", _said(recipe.get("optim"))),
        ("Learning rate", _said(recipe.get("schedule"))),
        ("Augmentation", _augmentation(recipe.get("data", {}))),
        ("Data", _data(story)),
        ("Computed in", f"{runtime['precision']['value']}, {runtime['compilation']['value']}"),
        ("Hardware", _machine(manifest["hardware"])),
    ]
    return markup.section("trained", "What was trained", markup.facts(pairs))


def again(story: Told) -> Element:
    """Return the command, the versions and the digests that a repetition needs."""
    made, checkpoint = story.manifest["provenance"], story.checkpoint
    packages = ", ".join(f"{k} {v}" for k, v in (made.get("packages") or {}).items())
    pairs: list[tuple[str, Part]] = [
        ("Command", element("code", str(made["command"]))),
        ("Seed", str(story.manifest["seed"])),
        ("Commit", element("code", str(made["commit"] or "not from a source checkout"))),
        ("Versions", f"resnets {made['resnets']}, Python {made['python']}, {packages}"),
        ("Begun", str(made["started"])),
        ("Continued", _continued(story.manifest)),
        ("Data digest", element("code", str(story.manifest["data"]["digest"]))),
        ("Recipe digest", element("code", str(story.manifest["recipe_digest"]))),
        ("Weights (SHA-256)", element("code", checkpoint.weights_sha256)),
        ("Checkpoint", element("code", str(checkpoint.path))),
    ]
    whole = json.dumps(story.manifest["recipe"], indent=2)
    return markup.section(
        "again",
        "To do it again",
        markup.facts(pairs),
        element("details", element("summary", "The whole recipe"), element("pre", whole)),
    )


def _network(checkpoint: AnyCheckpoint) -> str:
    if isinstance(checkpoint, DetectorCheckpoint):
        found = inspect_detectors.of_checkpoint("", checkpoint).cost
        name = f"Faster R-CNN of {zoo.name_of(checkpoint.spec.backbone)}"
        width, height = found.size
        told = _cost(found.parameters, found.multiply_adds)
        return f"{name}: {told} an image of {width} x {height} px with {found.regions:,} regions"
    checkpoint = checkpoints.classifier(checkpoint)
    side = checkpoint.preprocess.crop_px
    measured = cost.measure(checkpoint.spec, side)
    told = _cost(measured.parameters, measured.multiply_adds)
    return f"{zoo.name_of(checkpoint.spec)}: {told} an image of {side} px"


def _cost(parameters: int, multiply_adds: int) -> str:
    return f"{parameters:,} parameters, {multiply_adds / 1e6:,.1f} million multiply-adds"


def _augmentation(data: Mapping[str, Any]) -> str | None:
    """Return how images are changed; a detector's are flipped at most."""
    if data.get("flip") is True:
        return "half of the images flipped"
    return _said(data.get("augment"))


def _frozen(recipe: Mapping[str, Any]) -> str | None:
    stages = (recipe.get("transfer") or {}).get("frozen_stages", 0)
    return freezing.told(stages) if stages else None


def _began_from(manifest: Mapping[str, Any]) -> str:
    """Return the weights' name and hash; runs of earlier versions all began from nothing."""
    weights = manifest.get("weights")
    if isinstance(weights, Mapping):
        digest = weights.get("sha256")
        return f"{weights.get('name')} ({str(digest)[:12]})" if digest else str(weights.get("name"))
    return str(weights) if weights else _FROM_NOTHING


def _data(story: Told) -> str:
    data = story.manifest["data"]
    return f"{data['name']} ({data['digest'][:12]}), {len(story.checkpoint.classes):,} classes"


def _machine(machine: Mapping[str, Any]) -> str:
    gpu = f"{machine['gpu']}, " if "gpu" in machine else ""
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"
    return f"{gpu}{machine['processor']}, {threads}, {machine['system']}"


def _continued(manifest: Mapping[str, Any]) -> str | None:
    updates = [f"{each['update']:,}" for each in manifest.get("continued", [])]
    return f"after update {', '.join(updates)}" if updates else None


def _said(tree: Any) -> str | None:
    """Return a part of a recipe as words: its kind, then its fields."""
    if not isinstance(tree, Mapping):
        return None
    return ", ".join(_fields(tree))


def _fields(tree: Mapping[str, Any]) -> Iterator[str]:
    if "kind" in tree:
        yield str(tree["kind"])
    for key, value in tree.items():
        if key == "kind" or value is None:
            continue
        told = f"{value:g}" if isinstance(value, float) else _plain(value)
        yield f"{key.replace('_', ' ')} {told}"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(str, value)) if len(value) == 2 else " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
