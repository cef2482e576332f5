"""The values that pass between attacks, defenses, scenarios and the judge; all of them frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from robustbench_kd.core.config import Budget, Door, Doubt
from robustbench_kd.core.tensor_types import Ids, PerExample

S = TypeVar("S")

IGNORED = -100
"""The target of a token that is not asked about."""


@dataclass(frozen=True)
class Threat:
    """What an adversary wants, where it gets in, what it sees, and how much it may spend."""

    goal: Literal["evade", "degrade", "implant", "expose"]
    door: Door
    sight: Literal["weights", "scores", "answers"]
    budget: Budget | None = None


@dataclass(frozen=True)
class Examples:
    """Inputs with their targets and an id each; the ids of one scenario never repeat."""

    ids: Ids
    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, index: Tensor) -> Examples:
        """The examples at these positions (or under this mask)."""
        return Examples(self.ids[index], self.inputs[index], self.targets[index])

    def named(self, ids: Ids) -> Examples:
        """The examples with these ids, in this order.

        Raises:
            KeyError: where an id is not here.
        """
        if torch.equal(ids, self.ids):
            return self
        place = {int(i): n for n, i in enumerate(self.ids)}
        return self.take(torch.tensor([place[int(i)] for i in ids], dtype=torch.int64))


def append(train: Examples, more: Examples, noise: torch.Generator) -> Examples:
    """A training set with further examples at its end."""
    return Examples(
        torch.cat([train.ids, more.ids]),
        torch.cat([train.inputs, more.inputs]),
        torch.cat([train.targets, more.targets]),
    )


@dataclass(frozen=True)
class Splits:
    """A scenario's data. ``validation`` is for choices, ``test`` for the verdict alone.

    ``reserve`` holds what no ordinary training set contains, for who plants canaries; ``audit``
    ordinary examples that are left out of ``train``, for who plants members. ``weave`` is how
    further examples enter a training set: ids are those of examples, so copies share one. ``kinds``
    tells the number of an id's task, where there are several.
    """

    train: Examples
    validation: Examples
    test: Examples
    reserve: Examples | None = None
    audit: Examples | None = None
    weave: Callable[[Examples, Examples, torch.Generator], Examples] = append
    kinds: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Tainted(Generic[S]):
    """The data as the adversary hands it back, and what it will need to remember."""

    data: Splits
    secret: S


@dataclass(frozen=True)
class Submission:
    """Inputs that an adversary hands in; it never says whether it won.

    ``notes`` are measurements by example that the record keeps beside the verdict (a norm, say).
    """

    ids: Ids
    inputs: Tensor
    wanted: Tensor | None = None
    notes: Mapping[str, PerExample] = field(default_factory=dict)


@dataclass(frozen=True)
class Suspicion:
    """A score by example: the higher, the more the adversary believes it was in the data.

    ``notes`` are further measurements by example, other scores among them.
    """

    ids: Ids
    score: PerExample
    notes: Mapping[str, PerExample] = field(default_factory=dict)


Exhibit = Submission | Suspicion


@dataclass(frozen=True)
class Evidence:
    """The verdict, example by example, and the coded inputs that prove it."""

    ids: Ids
    columns: Mapping[str, PerExample]
    doubts: frozenset[Doubt] = frozenset()
    codes: Tensor | None = None


@dataclass(frozen=True)
class Estimate:
    """A share with its interval and the count it rests on; never printed without both."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """In percent: ``0.0 [0.0, 0.8]``."""
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]".replace("%", "")


Json = dict[str, Any]
