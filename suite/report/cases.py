"""Probed records by what they are about: one case a defense and taint, a record a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2

from robustbench_kd.exposed import Probed
from robustbench_kd.types import Leaderboard

ALL = "all"  # every format together


@dataclass(frozen=True)
class Case:
    """One defense under one taint: the record of each seed, the lowest first."""

    records: tuple[Probed, ...]

    @property
    def first(self) -> Probed:
        """The record of the lowest seed."""
        return self.records[0]

    @property
    def teacher(self) -> str:
        """The teacher that saw what was planted."""
        return "teacher-clean"

    @property
    def families(self) -> list[str]:
        """The formats of canaries that were planted, in the order of the questions."""
        typed = self.first.typed("canary")
        if typed is None:
            return []
        items = self.first.items[typed]
        pairs = zip(items["family"], items["dose"], strict=True)
        return list(dict.fromkeys(family for family, dose in pairs if dose))

    def ranks(
        self, subject: str, family: str = ALL, dose: Callable[[int], bool] = bool
    ) -> list[list[tuple[float, int]]]:
        """(rank, of) of the canaries of a format and of these doses, one list a seed."""
        found = []
        for record in self.records:
            items = record.items[record.typed("canary") or ""]
            rows = zip(
                items["family"],
                items["dose"],
                record.column(subject, "canary", "rank"),
                record.column(subject, "canary", "of"),
                strict=True,
            )
            found.append(
                [(k, int(of)) for f, n, k, of in rows if family in (ALL, f) and dose(int(n))]
            )
        return found

    def bits(
        self, subject: str, family: str = ALL, dose: Callable[[int], bool] = bool
    ) -> list[list[float]]:
        """Their exposures in bits, one list a seed."""
        return [
            [log2(of) - log2(rank) for rank, of in seed]
            for seed in self.ranks(subject, family, dose)
        ]

    @property
    def doses(self) -> list[int]:
        """The doses, from none upwards."""
        typed = self.first.typed("canary") or ""
        return sorted(set(self.first.items[typed]["dose"]))


def cases(contest: Leaderboard, records: Sequence[Probed]) -> list[Case]:
    """One case a defense and taint; attacks and defenses in the order of the board."""
    groups: dict[tuple[str, str], dict[int, Probed]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        if record.board == contest.name:
            groups.setdefault(("+".join(record.attacks), record.label), {})[record.seed] = record
    order = {text: n for n, text in enumerate((*contest.panel, *contest.defenses))}
    last = len(order)
    return [
        Case(tuple(groups[key].values()))
        for key in sorted(groups, key=lambda k: (order.get(k[0], last), order.get(k[1], last), k))
    ]


def reference_of(found: Sequence[Case]) -> Case | None:
    """Plain distillation, which others are measured against."""
    soft = [case for case in found if case.first.defense["name"] == "distillation"]
    soft = [case for case in soft if "hard" not in case.first.defense["settings"]]
    return soft[0] if soft else None
