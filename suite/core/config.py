"""What a contest is made of, as plain values: budgets, schedules, boards and doubts.

Nothing here needs a tensor, so that whoever only reads records and boards need not load torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from robustbench_kd.core.errors import BadSetting

Norm = Literal["linf", "l2"]
Door = Literal["input", "student data", "teacher data", "shared data"]
"""Where a taint gets in; data are shared where one owner trains teacher and student on them."""


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


class Doubt(StrEnum):
    """Why a row may claim more than it has; printed in words and ranked below the others."""

    OVER_BUDGET = "an attack left its ball or the box"
    MASKED = "masked gradients: attacks that see them fail where others succeed"
    RANDOMISED = "answers change when the same question is asked twice"
    PROBABILITIES = "the network returns probabilities, not logits"
    BLACK_BEATS_WHITE = "a black-box attack breaks what the white-box attacks do not"


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
