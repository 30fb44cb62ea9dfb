"""The rows that `resnets list` and `resnets data` print."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from resnets.core import errors
from resnets.core.errors import DataError
from resnets.data import fetch as fetching
from resnets.data import opening, packing, packs
from resnets.inference import published
from resnets.inference.checkpoints import Checkpoint
from resnets.models import cost, zoo
from resnets.recipes import catalogue, codec, imagenet_facts
from resnets.recipes.detector import AnyRecipe, LocalizerRecipe

_CHECKED: Final = {True: "measured", False: "unverified"}


def recipes(fields: bool) -> list[dict[str, Any]]:
    """Return every recipe with its digest, length, expected error, cost and source.

    `checked` says whether this project ran a recipe as it stands and found the expected error.

    Args:
        fields: Whether to add every field, under the names that `--set` takes.
    """
    return [
        {
            "recipe": name,
            "digest": codec.digest(recipe),
            "data": recipe.data.name,
            "epochs": _epochs(recipe),
            "updates": recipe.total_steps,
            "batch_images": recipe.batch_images,
            **_expected(recipe),
            "checked": recipe.expected and _CHECKED[recipe.expected.measured],
            "source": recipe.source,
            **(_whole(recipe) if fields else {}),
        }
        for name, recipe in catalogue.RECIPES.items()
    ]


def _expected(recipe: AnyRecipe) -> dict[str, float | None]:
    wanted = recipe.expected
    return {
        "expected_top1_error_percent": getattr(wanted, "top1_error_percent", None),
        "expected_ap50_percent": getattr(wanted, "ap50_percent", None),
        "expected_localization_error_percent": getattr(wanted, "localization_error_percent", None),
    }


def _epochs(recipe: AnyRecipe) -> int | None:
    images = catalogue.TRAINING_IMAGES.get(recipe.data.name)
    if images == imagenet_facts.IMAGES and isinstance(recipe, LocalizerRecipe):
        images = imagenet_facts.BOXED_IMAGES
    return images and round(recipe.total_steps * recipe.batch_images / images)


def _whole(recipe: AnyRecipe) -> dict[str, Any]:
    """Return what is too long for a table."""
    return {"cost": recipe.expected and recipe.expected.cost, "fields": codec.to_tree(recipe)}


def models() -> list[dict[str, Any]]:
    """Return every network with its cost for the paper's image size."""
    rows = []
    for name in zoo.NAMES:
        measured = cost.measure(zoo.named(name))
        rows.append(
            {
                "model": name,
                "depth": measured.depth,
                "parameters": measured.parameters,
                "multiply_adds": measured.multiply_adds,
                "image_px": measured.image_px,
            }
        )
    return rows


def studies() -> list[dict[str, Any]]:
    """Return everything that `resnets reproduce` takes."""
    from resnets.experiment.studies import catalogue  # brings matplotlib, which no other list needs

    return [
        {
            "study": name,
            "quick": "yes" if study.quick_networks else "no",
            "needs": study.needs,
            "source": study.source,
            "what": study.title,
        }
        for name, study in catalogue.STUDIES.items()
    ]


def data_sets() -> list[dict[str, Any]]:
    """Return every data set that has a name."""
    here = {"cifar10": fetching.is_cached()}
    return [
        {"data": name, "here": "yes" if here.get(name, True) else "no", "what": what}
        for name, what in opening.NAMES.items()
    ]


def weights(whole: bool) -> list[dict[str, Any]]:
    """Return all published weights that have a name.

    Args:
        whole: Whether to add where they come from and how their images are prepared in full.
    """
    rows = []
    for entry in published.CATALOGUE.values():
        reported, wanted = entry.reported, entry.preprocess
        row: dict[str, Any] = {
            "weights": entry.name,
            "model": entry.model,
            "reported_top1_error_percent": reported and reported.top1_error_percent,
            "at": reported and f"{reported.crop_px} of {reported.resize_px} px",
            "preprocessing": f"{wanted.crop_px} of {wanted.resize_px} px, {wanted.interpolation}",
            "licence": entry.licence,
        }
        if whole:
            row |= published.description(entry)
            row["preprocessing"] = codec.preprocess_to_tree(wanted)
        rows.append(row)
    return rows


def checkpoint(made: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint of other people's weights is."""
    return {
        "checkpoint": str(made.path),
        "model": zoo.name_of(made.spec),
        "preprocessing": codec.preprocess_to_tree(made.preprocess),
        "classes": len(made.classes),
        "class_names": ", ".join(made.classes[:3]) + (", ..." if made.classes[3:] else ""),
        "weights_sha256": made.weights_sha256,
        "source": made.about.get("source"),
    }


def fetch(name: str) -> dict[str, Any]:
    """Fetch a data set by name and return what came."""
    if name not in opening.NAMES:
        raise DataError(errors.unknown("data", name, opening.NAMES, "resnets data list"))
    return opening.open_data(name).check().summary()


def pack(
    data: str, out: Path, shorter_px: int | None, quality: int | None, whole: bool
) -> dict[str, Any]:
    """Pack a data set and return what was written.

    Args:
        data: A name or a path.
        out: The folder for the pack.
        shorter_px: As of `packing.pack`.
        quality: The same; None for the usual one.
        whole: Whether to add the images that were left out.
    """
    if quality is not None and shorter_px is None:
        raise DataError("--quality: of the images that are resized; --shorter-px is missing")
    used = packing.QUALITY if quality is None else quality
    made = packing.pack(opening.open_data(data), out, shorter_px=shorter_px, quality=used)
    return {
        "data": made.origin.name,
        "pack": str(out),
        "images": len(made.names),
        **({} if made.boxes is None else {"boxes": len(made.boxes.objects.every)}),
        "bytes": sum(made.shards_bytes),
        "shards": len(made.shards_bytes),
        "resized_images": made.resized_images,
        "left_out_images": len(made.left_out),
        **({"left_out": [asdict(each) for each in made.left_out]} if whole else {}),
        "digest": packs.read(out).digest,
    }
