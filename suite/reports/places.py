"""Who ranks where: order by a metric, and the ranks that paired tests allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._columns import first_attack
from robustbench_kd.metrics._rank_intervals import rank_intervals
from robustbench_kd.reports.ranking_row import RankingRow
from robustbench_kd.results.record import Bits, Column

Seeds = tuple[int, ...]


def in_order(leaderboard: Leaderboard, rows: Sequence[RankingRow]) -> tuple[RankingRow, ...]:
    """Rows by attack, in the order of the leaderboard; within each, those with warnings last."""
    order = {label: place for place, label in enumerate(leaderboard.attacks)}
    attacks = dict.fromkeys(row.attack for row in rows)
    sequence: list[RankingRow] = []
    for attack in sorted(attacks, key=lambda label: (order.get(label, len(order)), label)):
        contest = [row for row in rows if row.attack == attack]
        before = 0
        for warned in (False, True):
            half = [row for row in contest if bool(row.warnings) == warned]
            half.sort(key=lambda row: _order(row, leaderboard))
            places = _places(half, leaderboard.rank_by)
            sequence += [
                replace(row, best=before + best, last=before + last)
                for row, (best, last) in zip(half, places, strict=True)
            ]
            before += len(half)
    return tuple(sequence)


def _order(row: RankingRow, leaderboard: Leaderboard) -> tuple[float, float, str]:
    """The best value first; of equal ones the more accurate model, then the alphabet."""
    values = [_signed(row, leaderboard.rank_by)]
    accurate = "clean-accuracy" in leaderboard.metrics
    values.append(_signed(row, "clean-accuracy") if accurate else 0.0)
    return values[0], values[1], row.label


def _signed(row: RankingRow, typed: str) -> float:
    """A value of which less is better; infinite where there is none."""
    estimate = row.value(typed)
    if estimate is None:
        return inf
    return -estimate.value if row.column(typed).metric.higher_is_better else estimate.value


def _places(rows: Sequence[RankingRow], typed: str) -> list[tuple[int, int]]:
    """The best and the last place of each row, best rows first, as paired tests allow.

    Two rows are compared on the seeds that both have, where seeds have samples of their own.
    """
    if not rows:
        return []
    metric = rows[0].column(typed).metric
    if all(metric.samples(row.record) is None for row in rows):
        return [(place, place) for place in range(1, len(rows) + 1)]
    alike: dict[Seeds, list[RankingRow]] = {}
    for row in rows:
        alike.setdefault(sampled_seeds(row), []).append(row)
    wins = _Wins(metric, Counter(), Counter())
    for seeds, members in alike.items():
        wins.count(members, seeds)
    for (seeds, members), (other_seeds, others) in combinations(alike.items(), 2):
        if common := tuple(seed for seed in seeds if seed in other_seeds):
            wins.count([*members, *others], common)
            wins.count(members, common, -1)
            wins.count(others, common, -1)
    # Values are over all seeds of a row and tests over common ones, so the place itself is added.
    return [
        (min(place, 1 + wins.losses[id(row)]), max(place, len(rows) - wins.wins[id(row)]))
        for place, row in enumerate(rows, 1)
    ]


def sampled_seeds(row: RankingRow) -> Seeds:
    """The seeds with samples of their own; empty where the lowest seed stands for the row."""
    record = row.record
    if record.capability == "test_data":
        return ()
    listed = bool(record.attacks[first_attack(record)].samples)
    return tuple(row.group.seeds) if listed or row.group.pooled else ()


@dataclass(frozen=True)
class _Wins:
    """How many rows each row beats beyond chance, and how many beat it, by ``id()`` of the row."""

    metric: Metric
    wins: Counter[int]
    losses: Counter[int]

    def count(self, rows: Sequence[RankingRow], seeds: Seeds, weight: int = 1) -> None:
        """Counts the wins between these rows on these seeds; -1 takes them back."""
        columns = [samples_of_seeds(self.metric, row, seeds) for row in rows]
        places = rank_intervals(columns, self.metric.higher_is_better)
        for row, (best, last) in zip(rows, places, strict=True):
            self.losses[id(row)] += weight * (best - 1)
            self.wins[id(row)] += weight * (len(rows) - last)


def samples_of_seeds(metric: Metric, row: RankingRow, seeds: Seeds) -> Column | None:
    """The samples of these seeds, one seed's behind the other's; without seeds of the lowest."""
    if not seeds:
        return metric.samples(row.record)
    columns = [metric.samples(record) for record in row.group.records if record.seed in seeds]
    if all(isinstance(column, Bits) for column in columns):
        return Bits.of([flag for c in columns if isinstance(c, Bits) for flag in c.flags])
    if any(column is None for column in columns):
        return None
    return tuple(value for column in columns if isinstance(column, tuple) for value in column)
