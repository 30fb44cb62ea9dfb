"""The rows that `resnets list` and `resnets data` print."""

from typing import Any

from resnets.core import errors
from resnets.core.errors import DataError
from resnets.data import fetch as fetching
from resnets.data import opening
from resnets.inference import published
from resnets.inference.checkpoints import Checkpoint
from resnets.models import cost, zoo
from resnets.recipes import catalogue, codec


def recipes(fields: bool) -> list[dict[str, Any]]:
    """Return every recipe with its digest, length, expected error and source.

    Args:
        fields: Whether to add every field, under the names that `--set` takes.
    """
    return [
        {
            "recipe": name,
            "digest": codec.digest(recipe),
            "data": recipe.data.name,
            "updates": recipe.total_steps,
            "batch_images": recipe.batch_images,
            "expected_top1_error_percent": recipe.expected and recipe.expected.top1_error_percent,
            "source": recipe.source,
            **({"fields": codec.to_tree(recipe)} if fields else {}),
        }
        for name, recipe in catalogue.RECIPES.items()
    ]


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
    """Return everything that `resnets reproduce` takes, and the gaps."""
    from resnets.experiment.studies import catalogue  # brings matplotlib, which no other list needs

    rows = [
        {
            "study": name,
            "quick": "yes" if study.quick_networks else "no",
            "needs": study.needs,
            "source": study.source,
            "what": study.title,
        }
        for name, study in catalogue.STUDIES.items()
    ]
    gaps = [
        {"study": name, "quick": "no", "needs": "a later version", "source": None, "what": what}
        for name, what in catalogue.GAPS.items()
    ]
    return rows + gaps


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
