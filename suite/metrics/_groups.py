"""Probed records by what they are about: one case a defense and taint, a record a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.results.probed import Probed

ALL, BUT = "all", "all but "  # every format together, or all but the one named behind it
Ground = tuple[str, str, str]


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
        """(rank, of) of the canaries of a format (see ``within``) and of these doses, by seed."""
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
                [(k, int(of)) for f, n, k, of in rows if within(f, family) and dose(int(n))]
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


def within(family: str, asked: str) -> bool:
    """Whether a format is among those asked for: one by its name, ``all``, or ``all but`` one."""
    if asked.startswith(BUT):
        return family != asked.removeprefix(BUT)
    return asked in (ALL, family)


def cases(contest: Leaderboard, records: Sequence[Probed]) -> list[Case]:
    """One case a defense and taint; attacks and defenses in the order of the board."""
    groups: dict[tuple[str, str, Ground], dict[int, Probed]] = {}
    for record in sorted(records, key=lambda r: r.seed):
        if record.board == contest.name:
            key = ("+".join(record.attacks), record.label, ground_of(record))
            groups.setdefault(key, {})[record.seed] = record
    order = {text: n for n, text in enumerate((*contest.panel, *contest.defenses))}
    last = len(order)
    return [
        Case(tuple(groups[key].values()))
        for key in sorted(groups, key=lambda k: (order.get(k[0], last), order.get(k[1], last), k))
    ]


def ground_of(record: Probed) -> Ground:
    """What records must share to be compared: the text, its tokens, and the student's network.

    Anybody's text and models may stand in the place of a board's own.
    """
    return record.data["edition"], record.data["examples"], record.subjects["student"].net


def apart(found: Sequence[Case]) -> str:
    """Whether rows are about different texts or models, in a sentence; empty where they are not."""
    grounds = {ground_of(case.first) for case in found}
    if len(grounds) < 2:
        return ""
    return f" Rows are about {len(grounds)} different texts or models, and compare within each."


def reference_of(found: Sequence[Case], case: Case) -> Case | None:
    """Plain distillation on the same ground, which the case is measured against."""
    soft = [
        one
        for one in found
        if one.first.defense["name"] == "distillation"
        and "hard" not in one.first.defense["settings"]
        and ground_of(one.first) == ground_of(case.first)
        and set(one.first.attacks) == set(case.first.attacks)
    ]
    return soft[0] if soft else None
