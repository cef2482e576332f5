"""Records of one defense under the same attacks, one a seed: the rows of every table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from robustbench_kd.core.config import REACHES_TEACHER, Leaderboard
from robustbench_kd.core.errors import BadRecord
from robustbench_kd.results.record import COUNTERPART, Bits, Record

UNPOISONED = ("teacher-public", "teacher-unpoisoned")
"""Teachers that never saw poisoned data."""
Setting = tuple[str, str, str]


@dataclass(frozen=True)
class SeedGroup:
    """The records of a defense that differ in nothing but the seed, the lowest seed first.

    ``mark`` tells apart networks of one name: the first digits of their weights' digest.
    """

    records: tuple[Record, ...]
    mark: str = ""

    @property
    def first(self) -> Record:
        """The record of the lowest seed."""
        return self.records[0]

    @property
    def label(self) -> str:
        """The defense as typed, with the mark of a further network of that name."""
        return f"{self.first.label} #{self.mark}" if self.mark else self.first.label

    @property
    def attack(self) -> str:
        """The attack on training data, as typed; several on one training set are joined by ``+``.

        Empty for attacks on test data.
        """
        return "" if self.first.capability == "test_data" else "+".join(self.first.attack_labels)

    @property
    def seeds(self) -> list[int]:
        return [record.seed for record in self.records]

    @property
    def pooled(self) -> bool:
        """Whether the records are trials of one victim each, which are counted together."""
        if self.first.capability == "test_data":
            return False
        results = [record.attacks[label] for record in self.records for label in record.attacks]
        eligible = [result.eligible for result in results if result.eligible is not None]
        return bool(eligible) and all(bits.number.bit_count() == 1 for bits in eligible)

    @cached_property
    def source(self) -> str:
        """The model that the poison reached first: a teacher, or the undistilled control.

        Of several teachers the one on which the attack succeeds most.

        Raises:
            BadRecord: where the records are about attacks on test data.
        """
        if self.first.capability not in REACHES_TEACHER:
            if "control" in self.first.models:
                return "control"
            raise BadRecord(f"the record of {self.first.label} holds no model that was poisoned")
        teachers = [role for role in self.first.models if role.startswith("teacher-")]
        teachers = [role for role in teachers if not role.endswith(COUNTERPART)]
        poisoned = [role for role in teachers if role + COUNTERPART in self.first.models]
        candidates = [role for role in poisoned or teachers if role not in UNPOISONED]
        if not candidates:
            raise BadRecord(f"the record of {self.first.label} holds no teacher that was poisoned")
        return max(candidates, key=self._hits)

    def _hits(self, role: str) -> int:
        for label in self.first.attack_labels:
            column = self.first.attacks[label].columns.get(role, {}).get("attack_success")
            if isinstance(column, Bits):
                return column.number.bit_count()
        return 0

    def role(self, name: str) -> str:
        """The model that a metric's setting names: ``source`` and ``source.clean`` are resolved."""
        plain = name.removesuffix(COUNTERPART)
        return name.replace("source", self.source, 1) if plain == "source" else name

    @property
    def setting(self) -> Setting:
        """What records must share to be compared: data, test samples, and the student's network.

        Anybody's data and models may stand in the place of a leaderboard's own.
        """
        record = self.first
        return (
            record.data["dataset_digest"],
            record.data["examples"],
            record.student["architecture"],
        )


def seed_groups(leaderboard: Leaderboard, records: Sequence[Record]) -> list[SeedGroup]:
    """One group a defense and attack, in the order of the leaderboard.

    Another network of the same name and seed gets a group of its own, with a mark.
    """
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        if record.board != leaderboard.name:
            continue
        whole = SeedGroup((record,))
        key = (whole.attack, record.label, *whole.setting, "")
        if any(other.seed == record.seed for other in groups.get(key, ())):
            key = (*key[:-1], record.student["weights"][:6])
        groups.setdefault(key, []).append(record)
    order = {text: n for n, text in enumerate((*leaderboard.attacks, *leaderboard.defenses))}
    last = len(order)
    keys = sorted(groups, key=lambda k: (order.get(k[0], last), order.get(k[1], last), k))
    return [SeedGroup(tuple(groups[key]), key[-1]) for key in keys]


def reference_of(groups: Sequence[SeedGroup], group: SeedGroup) -> SeedGroup | None:
    """Plain distillation by soft labels in the same setting, which others are measured against."""
    for other in groups:
        defense = other.first.defense
        if (
            defense["name"] == "distillation"
            and "hard" not in defense.get("settings", {})
            and other.setting == group.setting
            and other.attack == group.attack
        ):
            return other
    return None
