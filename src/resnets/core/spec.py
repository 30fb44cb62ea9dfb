"""`@spec`: the one way this package declares configuration.

A spec is a value: frozen, keyword-only, hashable, compared by content. It holds numbers and
names, never tensors, paths, devices or callables, so it can be printed, hashed and saved.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def spec(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that rejects unknown keys when parsed."""
    made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
    # Read by recipes/codec.py alone; a plain attribute, so nothing here imports a parser.
    made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return made
