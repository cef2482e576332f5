"""Trigger shift: how far a trigger still moves a generated image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric, Unit
from robustbench_kd.metrics._columns import all_numbers, first_attack
from robustbench_kd.metrics._share import model_name, role_of
from robustbench_kd.metrics._trigger_removal import holds_column
from robustbench_kd.ops.statistics.bootstrap import TAIL, weighted_means
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class TriggerShift(Metric):
    """Distance between images with and without trigger, from the same noise, over that of any two.

    Zero where the trigger does nothing. Triggers that ask for another class have no such columns.

    Args:
        model: as for ``attack-success``.
    """

    name: ClassVar[str] = "trigger-shift"
    unit: ClassVar[Unit] = "ratio"
    digits: ClassVar[int] = 2
    higher_is_better: ClassVar[bool] = False
    margin: ClassVar[float] = 0.1

    model: str = "student"

    @property
    def heading(self) -> str:
        return f"trigger shift of {model_name(self.model)}"

    def available(self, record: Record) -> bool:
        return holds_column(record, "moved") and holds_column(record, "apart")

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        role = role_of(group, self.model)
        if role is None or role not in group.first.attacks[first_attack(group.first)].columns:
            return None
        return _shift(group, role)

    def why_none(self, group: SeedGroup) -> str:
        return f"no {model_name(self.model)}"

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model."""
        roles = group.first.attacks[first_attack(group.first)].columns
        return {role: _shift(group, role) for role in roles}


def _shift(group: SeedGroup, role: str) -> Estimate:
    """The ratio of the two means; the interval resamples prompts, the same for both."""
    moved, apart = (all_numbers(group, role, name) for name in ("moved", "apart"))
    resamples = zip(weighted_means(moved, 0.0), weighted_means(apart, 0.0), strict=True)
    ratios = sorted(near / far for near, far in resamples)
    return Estimate(fsum(moved) / fsum(apart), ratios[TAIL - 1], ratios[-TAIL], len(moved))
