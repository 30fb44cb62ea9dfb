"""Recipes to and from JSON, and the command line's `--set`. The only place that parses one."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from resnets.core import errors
from resnets.core.errors import RecipeError
from resnets.data.preprocess import Preprocess
from resnets.data.scenes import Scaling
from resnets.models.spec import ModelSpec
from resnets.recipes.detector import AnyRecipe, DetectorRecipe, LocalizerRecipe
from resnets.recipes.schema import Recipe

_ADAPTER: Final = TypeAdapter(Recipe)
_DETECTOR: Final = TypeAdapter(DetectorRecipe)
_LOCALIZER: Final = TypeAdapter(LocalizerRecipe)
_MODEL: Final[TypeAdapter[ModelSpec]] = TypeAdapter(ModelSpec)
_PREPROCESS: Final = TypeAdapter(Preprocess)
_SCALING: Final = TypeAdapter(Scaling)
# What is no classifier's, by the kind of its model.
_BOXED: Final[dict[str, TypeAdapter[Any]]] = {"faster-rcnn": _DETECTOR, "localizer": _LOCALIZER}
T = TypeVar("T")
R = TypeVar("R", Recipe, DetectorRecipe, LocalizerRecipe, AnyRecipe)

# They change no result, so the digest leaves them out.
_NOT_NUMBERS: Final = ("source", "expected", "differs")
# Fields that are younger than the first digests, and their defaults, which mean what there was
# before: left out of the digest, so that what was published and what runs keeps its name.
# By the part of a recipe and, where that may be of several kinds, its kind.
_YOUNGER: Final[dict[tuple[str, str | None], dict[str, Any]]] = {
    ("", None): {
        "mixing": None,
        "part_images": None,
        "rate_rule": "none",
        "loss": "cross-entropy",
        "class_weights": [],
        "clip_norm": None,
        "ema": None,
        "transfer": None,
        "keep": "last",
        "patience": None,
    },
    ("model", "resnet"): {"drop_path": 0.0, "in_channels": 3},
    ("model", "vgg"): {"in_channels": 3},
    ("data", None): {
        "held_out_share": 0.0,
        "policy": None,
        "erasing": None,
        "repeats": 1,
        "test": None,
        "mean": None,
        "std": None,
    },
    ("optim", "sgd"): {"kind": "sgd"},
    ("schedule", "step-decay"): {"warmup": "constant"},
    ("schedule", "plateau"): {"warmup_steps": 0, "warmup_factor": 0.1},
}


def to_tree(recipe: AnyRecipe) -> dict[str, Any]:
    """Return the recipe as JSON values, every default written out."""
    adapter: TypeAdapter[Any] = _BOXED.get(recipe.model.kind, _ADAPTER)
    tree: dict[str, Any] = adapter.dump_python(recipe, mode="json")
    return tree


def from_tree(tree: dict[str, Any]) -> AnyRecipe:
    """Return the recipe that `to_tree` wrote.

    Raises:
        RecipeError: A key is unknown or missing, or a value has the wrong type.
    """
    model = tree.get("model") if isinstance(tree, dict) else None
    kind = model.get("kind") if isinstance(model, dict) else None
    made: AnyRecipe = _parse(
        _BOXED.get(kind, _ADAPTER) if isinstance(kind, str) else _ADAPTER, tree
    )
    return made


def model_to_tree(spec: ModelSpec) -> dict[str, Any]:
    """Return a network's spec as JSON values."""
    tree: dict[str, Any] = _MODEL.dump_python(spec, mode="json")
    return tree


def model_from_tree(tree: dict[str, Any]) -> ModelSpec:
    """Return the spec that `model_to_tree` wrote.

    Raises:
        RecipeError: It is none.
    """
    return _parse(_MODEL, tree)


def preprocess_to_tree(preprocess: Preprocess | Scaling) -> dict[str, Any]:
    """Return how a network wants its images as JSON values."""
    adapter: TypeAdapter[Any] = _PREPROCESS if isinstance(preprocess, Preprocess) else _SCALING
    tree: dict[str, Any] = adapter.dump_python(preprocess, mode="json")
    return tree


def preprocess_from_tree(tree: dict[str, Any]) -> Preprocess:
    """Return what `preprocess_to_tree` wrote.

    Raises:
        RecipeError: It is none.
    """
    return _parse(_PREPROCESS, tree)


def digest(recipe: AnyRecipe) -> str:
    """Return 12 hex digits naming this experiment: the same numbers give the same name."""
    tree = {key: value for key, value in to_tree(recipe).items() if key not in _NOT_NUMBERS}
    for (part, kind), fields in _YOUNGER.items():
        node = tree[part] if part else tree
        if kind in (None, node.get("kind")):
            for name, default in fields.items():
                if name in node and node[name] == default:
                    del node[name]
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:12]


def override(recipe: R, settings: Iterable[str]) -> R:
    """Return `recipe` with `a.b=value` settings applied, then checked as a whole.

    A value is JSON, or a bare word.

    Raises:
        RecipeError: A setting is malformed, names no field, or gives a bad value.
    """
    tree = to_tree(recipe)
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: expected field=value")
        node, leaf = _find(tree, path)
        try:
            node[leaf] = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            node[leaf] = value
    made = from_tree(tree)
    if not isinstance(made, type(recipe)):
        raise RecipeError("--set model.kind: a recipe's task cannot be set; train another recipe")
    return made


def difference(old: AnyRecipe, new: AnyRecipe) -> str:
    """Return what changes from one recipe to another: "optim.momentum: 0.9 -> 0.8; ..."."""
    before, after = _flat(to_tree(old)), _flat(to_tree(new))
    keys = [key for key in before | after if key.split(".")[0] not in _NOT_NUMBERS]
    return "; ".join(
        f"{key}: {json.dumps(before.get(key))} -> {json.dumps(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    )


def _parse(adapter: TypeAdapter[T], tree: Any) -> T:
    try:
        return adapter.validate_json(json.dumps(tree), strict=True)
    except ValidationError as err:
        raise RecipeError(_message(err)) from err


def _find(tree: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    *parents, leaf = path.split(".")
    node: Any = tree
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or leaf not in node:
        names = [*_flat(tree)]
        message = errors.unknown("--set", path, names, "resnets list recipes --json")
        raise RecipeError(message)
    return node, leaf


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _names_a_field(part: str) -> bool:
    """Tell a field from a member of a union: a class, a type, the words that are taken."""
    return not part[:1].isupper() and part != "int" and not part.startswith("literal[")


def _message(err: ValidationError) -> str:
    """Return one line; of a union only the member that the text's `kind` names is quoted."""
    found = [
        (
            list(map(str, e["loc"])),
            e["msg"] + ", not null" * (e["input"] is None),
            e["type"],
        )
        for e in err.errors()
    ]
    others = {
        tuple(loc[:-1])
        for loc, _, kind in found
        if loc[-1:] == ["kind"] and kind == "literal_error"
    }
    quoted = [
        (loc, msg) for loc, msg, _ in found if not any(tuple(loc[: len(o)]) == o for o in others)
    ]
    if not quoted:
        quoted = [(next(loc for loc, _, _ in found if loc[-1] == "kind"), "names no known kind")]
    said: dict[str, dict[str, None]] = {}  # every member of a union may say the same
    for loc, msg in quoted:
        said.setdefault(".".join(filter(_names_a_field, loc)), {})[msg] = None
    return "; ".join(f"{path}: {', or: '.join(messages)}" for path, messages in said.items())
