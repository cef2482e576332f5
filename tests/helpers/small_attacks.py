"""Registered attacks on image classifiers with settings that cost little, and digits for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from robustbench_kd.core import registry
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.types import Examples, Splits
from robustbench_kd.scenarios.digits import Digits

TEST_TIME = {"steps": 4, "queries": 40, "restarts": 1, "rounds": 2, "targets": 2}
TRAINING_TIME = {
    "rate": 0.05,
    "size": 2,
    "frequency": 3.0,
    "strength": 0.3,
    "surrogate": "resnet-4",
    "shadow": "resnet-4",
    "images": 150,
    "steps": 2,
    "rounds": 1,
    "epochs": 1,
}


def image_attacks() -> dict[str, type]:
    """Every attack that a classifier of images decides, by name.

    A bridge is one entry for a whole library, and is nothing before it is given a class.
    """
    names = registry.entries("attacks").keys() - set(registry.BRIDGES)
    loaded = {name: registry.find("attacks", name).load() for name in sorted(names)}
    return {
        name: entry for name, entry in loaded.items() if entry().threat.scorer == "classification"
    }


def acts_on_test_data(entry: type) -> bool:
    """Whether the attack leaves training data alone."""
    return bool(entry().threat.capability == "test_data")


def field_names(entry: Any) -> set[str]:
    """The settings of an attack."""
    return {field.name for field in fields(entry)}


def small(entry: type, **changes: Any) -> Any:
    """The attack with everything that costs time made small; settings that it lacks are ignored."""
    usual: Mapping[str, Any] = TEST_TIME if acts_on_test_data(entry) else TRAINING_TIME
    known = field_names(entry)
    return entry(**{name: value for name, value in {**usual, **changes}.items() if name in known})


def digits(train: int, test: int, channels: int = 1) -> Splits:
    """Some digits, in an order that is not that of their ids."""
    data = Digits().splits(Seed(), whole=True)

    def part(examples: Examples, count: int) -> Examples:
        rows = examples.take(torch.arange(count).flip(0))
        return Examples(rows.ids, rows.inputs.repeat(1, channels, 1, 1), rows.targets)

    return Splits(part(data.train, train), data.validation, part(data.test, test))


def tensors(data: Splits) -> list[Tensor]:
    """Copies of all that the splits hold."""
    parts = (data.train, data.validation, data.test)
    return [value.clone() for part in parts for value in (part.ids, part.inputs, part.targets)]


def all_equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
