"""Parts that records in tests are made of, and records that are changed afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robustbench_kd.results.record import Bits, Column, Json, Record, digest

Flags = int | Sequence[bool] | Bits
"""Bits of a column; a number stands for so many ones, which come first."""


def first(ones: int, count: int = 1000) -> list[bool]:
    """So many ones, then zeros."""
    return [n < ones for n in range(count)]


def bits(flags: Flags, count: int = 1000) -> Bits:
    """Flags, packed; the count matters only where a number stands for them."""
    if isinstance(flags, Bits):
        return flags
    return Bits.of(first(flags, count) if isinstance(flags, int) else flags)


def forged(body: Json, change: Callable[[Json], object]) -> Json:
    """The record, changed, with the digest that fits what it now claims."""
    plain = json.loads(json.dumps({name: value for name, value in body.items() if name != "id"}))
    change(plain)
    return {**plain, "id": digest(plain)}


def forge(path: Path, change: Callable[[Json], object]) -> None:
    """Changes a record on disk and gives it the digest that fits what it now claims."""
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(forged(body, change)), encoding="utf-8")


DIGESTS = {"examples", "ids", "weights", "recipe_digest", "ids_digest", "sha256"}


def record_of(defaults: Json, fields: Mapping[str, Any]) -> Record:
    """A record of these defaults and of the fields that a test gives."""
    common = {
        "limit": None,
        "full_test": {},
        "evidence": {},
        "sanity_checks": {},
        "warnings": (),
        "versions": {"torch": "2"},
        "compute": {"cpu_seconds": 1.5},
    }
    body = {**common, **defaults}
    for name, value in fields.items():
        replaced = name in ("attacks", "full_test") or not isinstance(value, dict)
        body[name] = value if replaced else _merged(body.get(name, {}), value)
    for part in ("data", "models", "poison", "evidence"):
        body[part] = _with_digests(body[part])
    return Record(**body)


def _with_digests(value: Any, name: str = "") -> Any:
    """A word that stands for a digest is replaced by its own, of the form that records hold."""
    if isinstance(value, dict):
        return {key: _with_digests(part, key) for key, part in value.items()}
    stands = name in DIGESTS and isinstance(value, str) and value and len(value) != 64
    return digest(value) if stands else value


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    merged = dict(old)
    for name, value in new.items():
        nested = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if nested else value
    return merged


def defense_of(label: str, teacher_roles: Sequence[str]) -> Json:
    """What a record says of a defense without settings."""
    return {
        "name": label.partition(":")[0],
        "label": label,
        "settings": {},
        "teacher_roles": list(teacher_roles),
        "oracle": False,
    }


def model_of(weights: str, architecture: str = "resnet-12-24-48") -> Json:
    """What a record says of a model."""
    return {"weights": weights, "recipe_digest": digest(weights), "architecture": architecture}


def poison_of(count: int, train_size: int) -> Json:
    """What a record says of the poisoned examples."""
    return {"count": count, "cover_count": 0, "train_size": train_size, "ids_digest": "p"}


def length_of(column: Column) -> int:
    """How many samples a column holds."""
    return column.count if isinstance(column, Bits) else len(column)
