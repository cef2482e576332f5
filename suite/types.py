"""The values that pass between attacks, defenses, scenarios and the judge; all of them frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from robustbench_kd.errors import BadSetting
from robustbench_kd.shapes import Ids, PerExample

S = TypeVar("S")
Norm = Literal["linf", "l2"]
Door = Literal["input", "student data", "teacher data", "shared data"]
"""Where a taint gets in; data are shared where one owner trains teacher and student on them."""

IGNORED = -100
"""The target of a token that is not asked about."""


@dataclass(frozen=True)
class Budget:
    """How far an adversary may move an input: ``amount`` in pixel units of [0, 1], by ``kind``."""

    kind: Norm
    amount: float

    def __post_init__(self) -> None:
        if self.kind not in ("linf", "l2"):
            raise BadSetting(f"norm must be 'linf' or 'l2', not {self.kind!r}")
        if not (math.isfinite(self.amount) and self.amount >= 0):
            raise BadSetting(f"eps must be a finite number of at least 0, not {self.amount}")


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
class Schedule:
    """How long and how fast a network is trained: SGD with Nesterov momentum, one cycle of rates.

    ``rate`` is the peak, reached after the share ``warm`` of all steps; both slopes are straight.
    """

    epochs: int
    batch: int = 128
    rate: float = 0.1
    decay: float = 5e-4
    momentum: float = 0.9
    warm: float = 0.25

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise BadSetting("a schedule needs at least one epoch and one example a batch")
        if not (self.rate > 0 and self.decay >= 0 and 0 <= self.momentum < 1 and 0 < self.warm < 1):
            raise BadSetting(f"impossible schedule: {self}")


@dataclass(frozen=True)
class AdamW(Schedule):
    """The same clock for networks that SGD does not train: AdamW (Loshchilov & Hutter 2019).

    ``momentum`` is its first beta. A class of its own, so that the keys of what was trained by SGD
    stay what they are.
    """

    rate: float = 2e-3
    decay: float = 0.01
    batch: int = 16
    warm: float = 0.1
    second: float = 0.99


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


class Doubt(StrEnum):
    """Why a row may claim more than it has; printed in words and ranked below the others."""

    OVER_BUDGET = "an attack left its ball or the box"
    MASKED = "masked gradients: attacks that see them fail where others succeed"
    RANDOMISED = "answers change when the same question is asked twice"
    PROBABILITIES = "the network returns probabilities, not logits"
    BLACK_BEATS_WHITE = "a black-box attack breaks what the white-box attacks do not"


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


@dataclass(frozen=True)
class Leaderboard:
    """One contest, as a literal: who is tried, on what, by whom, and what ranks.

    Where the ``door`` is a training set, every attack of the panel makes students of its own:
    ``tried`` limits costly defenses to some attacks, ``more_seeds`` may also name attacks,
    and ``teaching`` holds schedules of teachers that differ from the scenario's. A ``probed``
    board's attacks hand in suspicions, item by item; where it tries them ``together``, all plant in
    one training set, and one student answers all of them.
    """

    name: str
    title: str
    scenario: str
    budget: Budget
    panel: tuple[str, ...]
    defenses: tuple[str, ...]
    schedule: Schedule
    rank_by: str = "robust"
    told: bool = False
    seeds: tuple[int, ...] = (0,)
    more_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    wide: tuple[str, ...] = ()
    door: Door = "input"
    teaching: Mapping[str, Schedule] = field(default_factory=dict)
    tried: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    probed: bool = False
    together: bool = False

    def seeds_of(self, defense: str) -> tuple[int, ...]:
        """The seeds under which this defense stands on the board."""
        return self.more_seeds.get(defense, self.seeds)


Json = dict[str, Any]
