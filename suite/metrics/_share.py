"""Metrics that are a share of ones in one column: what they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._columns import counted_records, pooled_share
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import COUNTERPART, Bits, Column, Record


def role_of(group: SeedGroup, model: str) -> str | None:
    """The role that a setting ``model`` names; None where no model of the group was poisoned."""
    try:
        return group.role(model)
    except BadRecord:
        return None


def model_name(model: str) -> str:
    """A setting ``model`` in words: a clean counterpart was trained without the poison."""
    plain = model.removesuffix(COUNTERPART)
    return f"unpoisoned {plain}" if plain != model else plain


@dataclass(frozen=True)
class ShareMetric(Metric):
    """The share of ones in the column ``column`` of a model.

    Args:
        model: ``student``, ``control``, ``teacher-ROLE``, or ``source`` (the model that the poison
            reached first); with ``.clean`` behind it the counterpart trained without the poison.
    """

    column: ClassVar[str] = ""

    model: str = "student"

    @property
    def heading(self) -> str:
        plain = self.name.replace("-", " ")
        return plain if self.model == "student" else f"{plain} of {model_name(self.model)}"

    def attack_label(self, record: Record) -> str | None:
        """The attack whose column is read; None where the record has no such attack."""
        return next(iter(record.attack_labels), None)

    def available(self, record: Record) -> bool:
        label = self.attack_label(record)
        if label is None:
            return False
        column = record.attacks[label].columns.get("student", {}).get(self.column)
        return isinstance(column, Bits)

    def __call__(self, group: SeedGroup, reference: SeedGroup | None = None) -> Estimate | None:
        label, role = self.attack_label(group.first), role_of(group, self.model)
        if label is None or role is None or role not in group.first.attacks[label].columns:
            return None
        return pooled_share(group, role, self.column, label)

    def why_none(self, group: SeedGroup) -> str:
        return f"no {model_name(self.model)}"

    def samples(self, record: Record) -> Column | None:
        label, role = self.attack_label(record), role_of(SeedGroup((record,)), self.model)
        if label is None or role is None or role not in record.attacks[label].columns:
            return None
        return record.bits(label, role, self.column)

    def breakdown(
        self, group: SeedGroup, reference: SeedGroup | None = None
    ) -> Mapping[str, Estimate | None]:
        """By model, by its second oracle classifier, and by seed where the lowest seed counts."""
        label = self.attack_label(group.first)
        if label is None:
            return {}
        shares: dict[str, Estimate | None] = {}
        for role, columns in group.first.attacks[label].columns.items():
            shares[role] = pooled_share(group, role, self.column, label)
            if f"{self.column}_2" in columns:
                shares[f"{role} second oracle"] = pooled_share(
                    group, role, f"{self.column}_2", label
                )
        if len(counted_records(group, label)) < len(group.records):
            for record in group.records:
                shares[f"seed {record.seed}"] = self(SeedGroup((record,)))
        return shares
