"""Robust accuracy: the share of test inputs that survive every attack of the panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Bits, Column, Record, every


@dataclass(frozen=True)
class RobustAccuracy(Metric):
    """Share of the test inputs that the student answers correctly under every attack.

    The lowest seed stands for the group.
    """

    name: ClassVar[str] = "robust-accuracy"

    def available(self, record: Record) -> bool:
        return record.capability == "test_data" and all(
            isinstance(result.columns.get("student", {}).get("correct"), Bits)
            for result in record.attacks.values()
        )

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        return group.first.worst

    def samples(self, record: Record) -> Column | None:
        return record.robust

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By seed; and on the whole test set, where some attacks were run on it."""
        shares: dict[str, Estimate | None] = {
            f"seed {record.seed}": record.worst for record in group.records
        }
        if group.first.full_test:
            shares["full test"] = full_test_accuracy(group.first)
        return shares


def full_test_accuracy(record: Record) -> Estimate | None:
    """Share of the whole test set that survives the attacks run on it; None without such."""
    columns = [result.columns["student"]["correct"] for result in record.full_test.values()]
    bits = [column for column in columns if isinstance(column, Bits)]
    return every(bits).share if bits else None
