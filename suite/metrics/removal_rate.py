"""Removal rate: how often a trigger has no effect after the repair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._columns import first_attack, pooled_share
from robustbench_kd.metrics._trigger_removal import measures_removal, trigger_works
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Column, Record


@dataclass(frozen=True)
class RemovalRate(Metric):
    """One less the attack success of the student, where the attack worked before the repair.

    A model that generates noise has a high rate as well; see ``joint-removal``.
    """

    name: ClassVar[str] = "removal-rate"
    margin: ClassVar[float] = 5.0

    def available(self, record: Record) -> bool:
        return measures_removal(record)

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        return unsuccessful(group, "student") if trigger_works(group) else None

    def why_none(self, group: SeedGroup) -> str:
        return "attack failed"

    def samples(self, record: Record) -> Column | None:
        success = record.bits(first_attack(record), "student", "attack_success")
        return Bits.of([not flag for flag in success.flags])

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """The share without success, by model, also where the attack failed."""
        roles = group.first.attacks[first_attack(group.first)].columns
        return {role: unsuccessful(group, role) for role in roles}


def unsuccessful(group: SeedGroup, role: str) -> Estimate:
    """The share of triggered prompts whose images do not show what the attacker wants."""
    success = pooled_share(group, role, "attack_success")
    return Estimate.share(success.count - (success.hits or 0), success.count)
