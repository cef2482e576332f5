"""Accuracy under one attack on test data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.metrics._share import ShareMetric
from robustbench_kd.results.record import Record


@dataclass(frozen=True)
class AttackAccuracy(ShareMetric):
    """Share of the test inputs that the student answers correctly under one attack.

    Args:
        attack: as typed, or its name; the first attack unless given.
    """

    name: ClassVar[str] = "attack-accuracy"
    per_attack: ClassVar[bool] = True
    column: ClassVar[str] = "correct"

    attack: str = ""

    @property
    def heading(self) -> str:
        return self.attack or super().heading

    def attack_label(self, record: Record) -> str | None:
        if not self.attack:
            return super().attack_label(record)
        names = (label for label in record.attacks if self.attack in (label, label.split(":")[0]))
        return next(names, None)
