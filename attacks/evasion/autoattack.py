"""AutoAttack: four attacks that fail for different reasons, in its standard and in a lean form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustbench_kd.attacks.evasion._base import Ask, Evasion, Found
from robustbench_kd.core.errors import BadSetting
from robustbench_kd.core.seed import Seed
from robustbench_kd.core.tensor_types import Images, Mask
from robustbench_kd.ops.attacks.apgd import apgd
from robustbench_kd.ops.attacks.autoattack import by_distance, by_score, one_by_one, pooled
from robustbench_kd.ops.attacks.fab import fab_targeted
from robustbench_kd.ops.attacks.pgd import hunt, restarted
from robustbench_kd.ops.attacks.projections import uniform_start
from robustbench_kd.ops.attacks.siege import Siege, Strike
from robustbench_kd.ops.attacks.square import square
from robustbench_kd.ops.attacks.targets import Goal

STAGES = ("clean", "kill", "apgd-ce", "apgd-t", "fab-t", "square", "climb", "square on", "alarm")
CLEAN, KILL, CE, TARGETED, FAB, SQUARE, CLIMB, ON, ALARM = range(len(STAGES))

# fmt: off
FORMS = {
    "standard": {"kill": 0, "steps": 100, "targets": 9, "fab_targets": 9,
                 "probe": 5000, "climb": 0, "queries": 5000, "alarm_queries": 5000},
    "lean": {"kill": 10, "steps": 30, "targets": 5, "fab_targets": 0,
             "probe": 250, "climb": 50, "queries": 1000, "alarm_queries": 5000},
}
# fmt: on


@dataclass(frozen=True)
class AutoAttack(Evasion):
    """APGD-CE, APGD-T, FAB-T and Square, each on what the others left; notes who broke what.

    ``form`` sets every budget that is not given; the record holds them all. ``standard`` spends
    those of the paper: 100 steps, 9 targets, 5,000 queries. ``lean`` spends about a sixth of the
    passes, and leaves up to two images in a hundred standing that ``standard`` breaks
    (leaderboards/RESULTS.md has the figures):

    - ``kill`` steps of plain ascent from the input itself fell most of what will fall;
    - APGD-CE and APGD-T take fewer ``steps``, APGD-T towards fewer ``targets``: those with the
      nearest linearised boundaries, all in one batch; FAB-T is left out (``fab_targets`` 0);
    - after ``probe`` queries of Square, Auto-PGD takes ``climb`` steps up the margin from where
      Square got to, which gradients masked at the input cannot hinder;
    - Square goes on from there to ``queries``. If that breaks more than ``alarm`` of the rows that
      were left, which no gradient could, gradients are masked, and it goes on to ``alarm_queries``.

    The note ``stage`` is the index in ``STAGES`` of who broke a row, or -1. In the targeted form
    all stages go for the given class alone.
    """

    name: ClassVar[str] = "autoattack"
    source: ClassVar[str] = "Croce & Hein 2020, Reliable evaluation of adversarial robustness"

    form: Literal["standard", "lean"] = "standard"
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
        if self.form not in FORMS:
            raise BadSetting(f"form must be one of {', '.join(FORMS)}, not {self.form!r}")
        for field, usual in FORMS[self.form].items():
            if getattr(self, field) < 0:
                object.__setattr__(self, field, usual)
        if min(self.steps, self.targets, self.probe, self.queries) < 1:
            raise BadSetting(f"{self.name} needs at least one step, one target and one query")
        if not 0 <= self.alarm <= 1:
            raise BadSetting(f"alarm must be a share between 0 and 1, not {self.alarm:g}")

    def perturb(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> Found:
        ball, siege = self.budget, Siege(x, goal)
        probe = min(self.probe, self.queries)

        def search(queries: int, done: int) -> Strike:
            def strike(x: Images, goal: Goal, near: Images) -> tuple[Images, Mask]:
                noise, start = seed / "square" / done, near if done else None
                return square(
                    logits, x, goal, ball, queries=queries, seed=noise, start=start, done=done
                )[:2]

            return strike

        siege.strike(CLEAN, lambda x, goal, _: (x, goal.won(_quietly(logits, x))))
        if self.kill:
            siege.strike(
                KILL,
                lambda x, goal, _: hunt(
                    logits, x, goal, ball, steps=self.kill, stride=0.25, start=x
                ),
            )
        siege.strike(CE, lambda x, goal, _: self._rise(logits, x, goal, seed / "apgd-ce"))
        siege.strike(TARGETED, lambda x, goal, _: self._aim(logits, x, goal, seed / "apgd-t"))
        if self.fab_targets:
            siege.strike(FAB, lambda x, goal, _: self._skirt(logits, x, goal, seed / "fab-t"))
        siege.strike(SQUARE, search(probe, 0))
        if self.climb:
            siege.strike(
                CLIMB,
                lambda x, goal, near: apgd(
                    logits, x, goal, ball, steps=self.climb, start=near, score=Goal.lead
                ),
            )
        if self.queries > probe:
            left = siege.standing
            fell = siege.strike(ON, search(self.queries, probe))
            if fell > self.alarm * left and self.alarm_queries > self.queries:
                siege.strike(ALARM, search(self.alarm_queries, self.queries))
        return siege.found, {"stage": siege.stage}

    def _rise(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> tuple[Images, Mask]:
        start = uniform_start(x, self.budget, seed.generator())
        return apgd(logits, x, goal, self.budget, steps=self.steps, start=start)

    def _aim(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> tuple[Images, Mask]:
        ball, steps = self.budget, self.steps
        if self.form == "standard":
            order = by_score(logits, x, goal, self.targets)
            return one_by_one(logits, x, goal, order, ball, steps=steps, seed=seed)
        order = by_distance(logits, x, goal, ball, self.targets)
        return pooled(logits, x, goal, order, ball, steps=steps, seed=seed)

    def _skirt(self, logits: Ask, x: Images, goal: Goal, seed: Seed) -> tuple[Images, Mask]:
        order, only = by_score(logits, x, goal, self.fab_targets), goal.targets is not None

        def once(left: Tensor, turn: int) -> tuple[Images, Mask]:
            part, y, aim = x[left], goal.labels[left], order[left, turn]
            return fab_targeted(
                logits,
                part,
                y,
                aim,
                self.budget,
                steps=self.steps,
                seed=seed / turn,
                only_target=only,
            )

        return restarted(once, x, order.shape[1])


def _quietly(logits: Ask, x: Images) -> Tensor:
    with torch.no_grad():
        return logits(x)
