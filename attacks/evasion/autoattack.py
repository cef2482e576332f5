"""AutoAttack: four attacks that fail for different reasons, in the standard and a fast version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustbench_kd.attacks.evasion._base import Evasion, Perturbed
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.apgd import apgd
from robustbench_kd.ops.attacks.autoattack import (
    AttackCascade,
    CascadeAttack,
    apgd_targeted,
    apgd_targeted_pooled,
    targets_by_distance,
    targets_by_score,
)
from robustbench_kd.ops.attacks.fab import fab_targeted
from robustbench_kd.ops.attacks.pgd import LogitFunction, pgd, with_restarts
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal

STAGES = (
    "clean",
    "pgd",
    "apgd-ce",
    "apgd-t",
    "fab-t",
    "square",
    "apgd-margin",
    "square-continued",
    "square-extended",
)
CLEAN, PGD, APGD_CE, APGD_T, FAB, SQUARE, MARGIN, CONTINUED, EXTENDED = range(len(STAGES))

# fmt: off
VERSIONS = {
    "standard": {"kill": 0, "steps": 100, "targets": 9, "fab_targets": 9,
                 "probe": 5000, "climb": 0, "queries": 5000, "alarm_queries": 5000},
    "fast": {"kill": 10, "steps": 30, "targets": 5, "fab_targets": 0,
             "probe": 250, "climb": 50, "queries": 1000, "alarm_queries": 5000},
}
# fmt: on


@dataclass(frozen=True)
class AutoAttack(Evasion):
    """APGD-CE, APGD-T, FAB-T and Square, each on the images that the ones before did not break.

    ``version`` sets every budget that is not given; the record holds them all. ``standard`` spends
    those of the paper: 100 steps, 9 targets, 5,000 queries. ``fast`` spends about a sixth of the
    passes, and misses up to two images in a hundred that ``standard`` breaks
    (leaderboards/RESULTS.md has the figures):

    - ``kill`` steps of plain PGD from the input itself break most of what will be broken;
    - APGD-CE and APGD-T take fewer ``steps``, APGD-T towards fewer ``targets``: those with the
      nearest linearised boundaries, all in one batch; FAB-T is left out (``fab_targets`` 0);
    - after ``probe`` queries of Square, Auto-PGD takes ``climb`` steps up the margin from Square's
      last point, where gradients that are masked at the input are of use again;
    - Square goes on from there to ``queries``. If that breaks more than ``alarm`` of the remaining
      images, which no gradient could, gradients are masked, and it goes on to ``alarm_queries``.

    The metadata ``stage`` is the index in ``STAGES`` of the attack that broke an image, or -1. In
    the targeted form all stages try the given class alone.
    """

    name: ClassVar[str] = "autoattack"
    source: ClassVar[str] = "Croce & Hein 2020, Reliable evaluation of adversarial robustness"

    version: Literal["standard", "fast"] = "standard"
    kill: int = -1
    steps: int = -1
    targets: int = -1
    fab_targets: int = -1
    probe: int = -1
    climb: int = -1
    queries: int = -1
    alarm_queries: int = -1
    alarm: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version not in VERSIONS:
            raise BadSetting(f"version must be one of {', '.join(VERSIONS)}, not {self.version!r}")
        for field, default in VERSIONS[self.version].items():
            if getattr(self, field) < 0:
                object.__setattr__(self, field, default)
        if min(self.steps, self.targets, self.probe, self.queries) < 1:
            raise BadSetting(f"{self.name} needs at least one step, one target and one query")
        if not 0 <= self.alarm <= 1:
            raise BadSetting(f"alarm must be a share between 0 and 1, not {self.alarm:g}")

    def perturb(self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed) -> Perturbed:
        budget, cascade = self.budget, AttackCascade(x, goal)
        probe = min(self.probe, self.queries)

        def random_search(queries: int, spent: int) -> CascadeAttack:
            def attack(x: Images, goal: Goal, last: Images) -> tuple[Images, Mask]:
                noise, start = seed / "square" / spent, last if spent else None
                return square(
                    logits, x, goal, budget, queries=queries, seed=noise, start=start, done=spent
                )[:2]

            return attack

        cascade.run(CLEAN, lambda x, goal, _: (x, goal.is_reached(_detached(logits, x))))
        if self.kill:
            cascade.run(
                PGD,
                lambda x, goal, _: pgd(
                    logits, x, goal, budget, steps=self.kill, stride=0.25, start=x
                ),
            )
        cascade.run(APGD_CE, lambda x, goal, _: self._apgd_ce(logits, x, goal, seed / "apgd-ce"))
        cascade.run(APGD_T, lambda x, goal, _: self._apgd_t(logits, x, goal, seed / "apgd-t"))
        if self.fab_targets:
            cascade.run(FAB, lambda x, goal, _: self._fab_t(logits, x, goal, seed / "fab-t"))
        cascade.run(SQUARE, random_search(probe, 0))
        if self.climb:
            cascade.run(
                MARGIN,
                lambda x, goal, last: apgd(
                    logits, x, goal, budget, steps=self.climb, start=last, score=Goal.margin
                ),
            )
        if self.queries > probe:
            remaining = cascade.remaining
            broken = cascade.run(CONTINUED, random_search(self.queries, probe))
            if broken > self.alarm * remaining and self.alarm_queries > self.queries:
                cascade.run(EXTENDED, random_search(self.alarm_queries, self.queries))
        return cascade.inputs, {"stage": cascade.stage}

    def _apgd_ce(
        self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed
    ) -> tuple[Images, Mask]:
        start = uniform_start(x, self.budget, seed.generator())
        return apgd(logits, x, goal, self.budget, steps=self.steps, start=start)

    def _apgd_t(
        self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed
    ) -> tuple[Images, Mask]:
        budget, steps = self.budget, self.steps
        if self.version == "standard":
            order = targets_by_score(logits, x, goal, self.targets)
            return apgd_targeted(logits, x, goal, order, budget, steps=steps, seed=seed)
        order = targets_by_distance(logits, x, goal, budget, self.targets)
        return apgd_targeted_pooled(logits, x, goal, order, budget, steps=steps, seed=seed)

    def _fab_t(
        self, logits: LogitFunction, x: Images, goal: Goal, seed: Seed
    ) -> tuple[Images, Mask]:
        order = targets_by_score(logits, x, goal, self.fab_targets)

        def attempt(rows: Tensor, turn: int) -> tuple[Images, Mask]:
            return fab_targeted(
                logits,
                x[rows],
                goal.labels[rows],
                order[rows, turn],
                self.budget,
                steps=self.steps,
                seed=seed / turn,
                only_target=goal.targets is not None,
            )

        return with_restarts(attempt, x, order.shape[1])


def _detached(logits: LogitFunction, x: Images) -> Tensor:
    with torch.no_grad():
        return logits(x)
