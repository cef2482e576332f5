"""Audited epsilon: the least privacy loss that the ranks of canaries admit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Unit
from robustbench_kd.metrics._canaries import ATTACK, canaries_of, formats_of, levels_of
from robustbench_kd.metrics._intervals import point
from robustbench_kd.metrics._model import ModelMetric
from robustbench_kd.metrics._share import role_of
from robustbench_kd.ops.privacy.exposure import epsilon_bound
from robustbench_kd.results.groups import SeedGroup


@dataclass(frozen=True)
class EpsilonBound(ModelMetric):
    """Lower 95 % bound of epsilon for a single copy, in nats, of pure differential privacy.

    Every format and number of repetitions is tested, the error is shared among them, and the
    largest bound counts; the remark says how many repetitions it rests on. Where a guarantee allows
    a delta, the bound is indicative only.
    """

    name: ClassVar[str] = "epsilon-bound"
    attack: ClassVar[str] = ATTACK
    column: ClassVar[str] = "rank"
    unit: ClassVar[Unit] = "nats"
    digits: ClassVar[int] = 2
    margin: ClassVar[float] = 0.1

    def value(self, group: SeedGroup, role: str) -> Estimate:
        return point(_largest(group, role)[0], len(canaries_of(group.records, role)))

    def remark(self, group: SeedGroup) -> str:
        role = role_of(group, self.model)
        known = role in self.roles(group) and role
        return f"repetitions={_largest(group, known)[1]}" if known else ""


def _largest(group: SeedGroup, role: str) -> tuple[float, int]:
    """The largest bound, and the repetitions that show it."""
    levels = [level for level in levels_of(group.first) if level]
    formats = formats_of(group.first)
    tests = len(levels) * len(formats)
    largest = (0.0, levels[0])
    for level in levels:
        for name in formats:
            canaries = canaries_of(group.records, role, name, level)
            if not canaries:
                continue
            bound = epsilon_bound(
                [max(1, round(canary.rank)) for canary in canaries],
                canaries[0].candidates,
                copies=level,
                confidence=1 - 0.05 / tests,
            )
            largest = max(largest, (bound, level))
    return largest
