"""The ranking of a leaderboard, computed from records: who enters, and who ranks where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.metrics._best_known import best_known, question
from robustbench_kd.reports.admission import reasons_outside
from robustbench_kd.reports.columns import MetricColumn, columns_of
from robustbench_kd.reports.filters import ALL, Selection, select
from robustbench_kd.reports.places import in_order
from robustbench_kd.reports.ranking_row import RankingRow
from robustbench_kd.results.groups import SeedGroup, reference_of, seed_groups
from robustbench_kd.results.record import Record

__all__ = ["ALL", "Ranking", "RankingRow", "Selection", "rank", "rank_with"]


@dataclass(frozen=True)
class Ranking:
    """The rows in order, those with warnings last; and what is not ranked, with the reason.

    ``only`` says in words which records were selected, where not all were.
    """

    leaderboard: Leaderboard
    rows: tuple[RankingRow, ...]
    outside: tuple[tuple[RankingRow, str], ...] = ()
    only: str = ""

    def columns(self) -> tuple[MetricColumn, ...]:
        """The metrics of the table, in the order of the leaderboard."""
        return columns_of(self.leaderboard)

    @cached_property
    def rank_by(self) -> MetricColumn:
        """The column that ranks."""
        columns = {column.typed: column for column in self.columns()}
        return columns[self.leaderboard.rank_by]

    def contest(self, row: RankingRow) -> list[RankingRow]:
        """The rows that a row is ranked among: those of the same attack on training data."""
        return [other for other in self.rows if other.attack == row.attack]

    def row_of(self, record: Record) -> RankingRow | None:
        """The ranked row that a record stands in."""
        for row in self.rows:
            if record.claim in (member.claim for member in row.group.records):
                return row
        return None


def rank(
    leaderboard: Leaderboard,
    committed: Sequence[Record],
    local: Sequence[Record] = (),
    selection: Selection = ALL,
) -> Ranking:
    """The ranking of these records; of a student that is in both, only the committed row stays.

    Best-known accuracies and references rest on all records, also those that are not selected.

    Raises:
        NothingEvaluated: where there are records, and none is selected.
        BadSetting: where the leaderboard names a metric that there is not.
    """
    everything = (*committed, *local)
    stay, without_size = select(everything, selection, leaderboard.name)
    reasons = {id(record): "" for record in stay} | {id(r): reason for r, reason in without_size}
    committed = [record for record in _once(committed) if id(record) in reasons]
    students = {_student(record) for record in committed}
    local = [r for r in _once(local) if id(r) in reasons and _student(r) not in students]
    reasons |= reasons_outside(leaderboard, committed, local)
    rows = _rows(leaderboard, committed, reasons, is_local=False)
    rows += _rows(leaderboard, local, reasons, is_local=True)
    best = {} if leaderboard.poisons else best_known(everything)
    plain = seed_groups(leaderboard, [r for r in _once(everything) if _may_be_reference(r)])
    inside: list[RankingRow] = []
    outside: list[tuple[RankingRow, str]] = []
    for bare, reason in rows:
        known = best.get(question(bare.record)) if best else None
        row = replace(bare, reference=reference_of(plain, bare.group), best_known=known)
        if why := reason or _no_value(row, leaderboard.rank_by):
            outside.append((row, why))
        else:
            inside.append(row)
    return Ranking(leaderboard, in_order(leaderboard, inside), tuple(outside), str(selection))


def _rows(
    leaderboard: Leaderboard,
    records: Sequence[Record],
    reasons: Mapping[int, str],
    is_local: bool,
) -> list[tuple[RankingRow, str]]:
    """Rows of records, each with the reason why it is not ranked, or an empty one.

    Those that are not ranked have the columns of their own attacks.
    """
    parts: dict[str, list[Record]] = {}
    for record in records:
        parts.setdefault(reasons[id(record)], []).append(record)
    rows = []
    for reason, members in parts.items():
        for group in _groups(leaderboard, members):
            columns = columns_of(leaderboard, group.first.attack_labels if reason else ())
            rows.append((RankingRow(group, columns, local=is_local), reason))
    return rows


def rank_with(
    leaderboard: Leaderboard, committed: Sequence[Record], records: Sequence[Record]
) -> Ranking:
    """The ranking with further records; they replace committed ones of the same student."""
    further = {_student(record): record for record in records}
    replaced = [further.pop(_student(record), record) for record in committed]
    return rank(leaderboard, replaced, list(further.values()))


def _student(record: Record) -> tuple[object, ...]:
    """What tells two records apart that a leaderboard may hold side by side."""
    threat = record.threat.get("norm"), record.threat.get("eps")
    weights = record.student["weights"]
    return record.label, weights, record.seed, record.limit, threat, tuple(record.attacks)


def _once(records: Sequence[Record]) -> list[Record]:
    return list({_student(record): record for record in records}.values())


def _groups(leaderboard: Leaderboard, records: Sequence[Record]) -> list[SeedGroup]:
    """The rows of records; those of another leaderboard stand alone."""
    others = [SeedGroup((record,)) for record in records if record.board != leaderboard.name]
    return [*seed_groups(leaderboard, records), *others]


def _may_be_reference(record: Record) -> bool:
    return record.defense["name"] == "distillation" and record.limit is None


def _no_value(row: RankingRow, typed: str) -> str:
    """Why a row has no value to be ranked by; empty where it has one."""
    if row.value(typed) is not None:
        return ""
    column = row.column(typed)
    return f"it has no {column.metric.heading}: {column.why_none(row.group)}"
