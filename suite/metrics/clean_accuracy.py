"""Accuracy when nobody attacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric, role_of
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import CLEAN, Record, counterpart


@dataclass(frozen=True)
class CleanAccuracy(ShareMetric):
    """Share of the clean test inputs that a model answers correctly."""

    name: ClassVar[str] = "clean-accuracy"
    margin: ClassVar[float] = 1.0
    column: ClassVar[str] = "correct"

    def attack_label(self, record: Record) -> str | None:
        return CLEAN

    def remark(self, group: SeedGroup) -> str:
        """Accuracy of the clean counterpart, where there is one."""
        role = role_of(group, self.model)
        beside = None if role is None else CleanAccuracy(counterpart(role))(group)
        return "" if beside is None else f"{100 * beside.value:.1f} without the poison"
