"""Plain values that define an evaluation: budgets, threat models, schedules and leaderboards.

Nothing here needs a tensor, so reading records and listing leaderboards does not load torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from robustbench_kd.core.errors import BadSetting

Norm = Literal["linf", "l2"]
Goal = Literal[
    "evasion", "availability_poisoning", "targeted_poisoning", "backdoor", "privacy", "model_theft"
]
Capability = Literal["test_data", "student_train_data", "teacher_train_data", "shared_train_data"]
"""What an adversary controls; shared data train both the teacher and the student."""
Knowledge = Literal["white_box", "score_based", "decision_based"]

REACHES_TEACHER = ("teacher_train_data", "shared_train_data")
REACHES_STUDENT = ("student_train_data", "shared_train_data")


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
class ThreatModel:
    """Goal, capability, knowledge and budget of an adversary: the axes of NIST AI 100-2 (2025).

    Attributes:
        scorer: which of our scorers decides what the adversary achieved; the default follows from
            the goal.
    """

    goal: Goal
    capability: Capability
    knowledge: Knowledge
    budget: Budget | None = None
    scorer: str = ""

    def __post_init__(self) -> None:
        if not self.scorer:
            usual = "ranking" if self.goal == "privacy" else "classification"
            object.__setattr__(self, "scorer", usual)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is trained: SGD with Nesterov momentum, one cycle of rates.

    ``learning_rate`` is the peak, reached after the share ``warmup`` of all steps; it rises and
    falls linearly.
    """

    epochs: int
    batch: int = 128
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    warmup: float = 0.25

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise BadSetting("a schedule needs at least one epoch and one example a batch")
        positive = self.learning_rate > 0 and self.weight_decay >= 0
        if not (positive and 0 <= self.momentum < 1 and 0 < self.warmup < 1):
            raise BadSetting(f"impossible schedule: {self}")


@dataclass(frozen=True)
class AdamW(Schedule):
    """The same schedule for networks that SGD does not train: AdamW (Loshchilov & Hutter 2019).

    ``momentum`` is its first beta. A class of its own, so that the recipe digests of networks that
    were trained by SGD stay as they are.
    """

    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    batch: int = 16
    warmup: float = 0.1
    beta2: float = 0.99


class EvaluationWarning(StrEnum):
    """Why a row may claim more than it has; printed in words and ranked below the others."""

    OVER_BUDGET = "an attack left its ball or the box"
    MASKED = "masked gradients: attacks that see them fail where others succeed"
    RANDOMISED = "answers change when the same question is asked twice"
    PROBABILITIES = "the network returns probabilities, not logits"
    BLACK_BEATS_WHITE = "a black-box attack breaks what the white-box attacks do not"


@dataclass(frozen=True)
class Leaderboard:
    """One leaderboard, as a literal: which attacks meet which defenses on what, and what ranks.

    Attributes:
        capability: what the attacks control. Attacks on training data train students of their own;
            attacks on test data share one student.
        joint: all attacks poison one training set and are run on one student.
        attacks_by_defense: limits costly defenses to some attacks.
        teacher_schedules: schedules of teachers that differ from the scenario's.
        models: which models every attack is measured on; the default follows from the capability.
        clean_counterparts: which of them also as trained on the same data without the poison.
        metrics: columns of the table, as typed: ``attack-success:model=control``.
        rank_by: the metric that orders and ranks the rows; one of ``metrics``.
        full_test_attacks: cheap attacks that ``--full-test`` runs on the whole test set.
        oracle: whether defenses that know the adversary's secret rank.
    """

    name: str
    title: str
    scenario: str
    attacks: tuple[str, ...]
    defenses: tuple[str, ...]
    schedule: Schedule
    metrics: tuple[str, ...]
    rank_by: str
    budget: Budget = Budget("linf", 0.0)
    capability: Capability = "test_data"
    joint: bool = False
    oracle: bool = False
    seeds: tuple[int, ...] = (0,)
    seeds_by_defense: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    attacks_by_defense: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    teacher_schedules: Mapping[str, Schedule] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    clean_counterparts: tuple[str, ...] | None = None
    full_test_attacks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rank_by not in self.metrics:
            raise BadSetting(
                f"{self.name} ranks by {self.rank_by!r}, which is none of its metrics: "
                f"{', '.join(self.metrics)}"
            )
        if not self.models:
            every = ("student",) if not self.poisons else ("teacher", "control", "student")
            object.__setattr__(self, "models", every)
        if self.clean_counterparts is None:
            # Where all attacks share one training set, what was inserted zero times is the control.
            pairs = () if self.joint or not self.poisons else self.models
            pairs = tuple(role for role in pairs if role != "pretrained")
            object.__setattr__(self, "clean_counterparts", pairs)

    @property
    def poisons(self) -> bool:
        """Whether its attacks change training data."""
        return self.capability != "test_data"

    def seeds_of(self, defense: str) -> tuple[int, ...]:
        """The seeds under which this defense stands on the leaderboard."""
        return self.seeds_by_defense.get(defense, self.seeds)

    def attacks_on(self, defense: str) -> tuple[str, ...]:
        """The attacks that this defense is evaluated under."""
        return self.attacks_by_defense.get(defense, self.attacks)
