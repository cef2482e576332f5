"""A ranking and freshly evaluated records as they stand in a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from robustbench_kd.reports.cells import (
    best_known_text,
    caveats,
    cell_text,
    full_test_text,
    seeds_text,
)
from robustbench_kd.reports.columns import MetricColumn, estimate_text
from robustbench_kd.reports.leaderboard import Ranking, RankingRow
from robustbench_kd.results.record import Bits, Record

NAME = 26  # columns that a name takes
EACH = 14  # columns that a value and its interval take
FIXED = 16  # what rank and seed take
SIGNS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def plain_table(title: str) -> Table:
    """A table with a line under its head and little else."""
    return Table(box=SIMPLE_HEAD, title=title, pad_edge=False, padding=(0, 1, 0, 0))


def ranking_table(ranking: Ranking, width: int, highlighted: Sequence[Record] = ()) -> Table:
    """The ranking; as many metrics as there is room for, the one that ranks always among them.

    Args:
        highlighted: freshly evaluated records; rows that hold them are marked, and stand below the
            ranking where they are not ranked.
    """
    metrics, extras = fitting(ranking, width)
    table = plain_table(title(ranking))
    table.add_column("rank", justify="right", no_wrap=True)
    for name in (*(["attack"] if _by_attack(ranking) else []), "defense"):
        table.add_column(name, overflow="fold")
    for name in (*map(head_of, metrics), *extras, "seed"):
        table.add_column(head(name), justify="right", overflow="fold")
    claims = {record.claim for record in highlighted}
    before: RankingRow | None = None
    for row in (*ranking.rows, *(row for row, _ in ranking.outside if holds(row, claims))):
        if before and _section(before) != _section(row):
            table.add_section()
        attack = "" if before and before.attack == row.attack else head(row.attack)
        before = row
        is_highlighted = holds(row, claims)
        table.add_row(
            f"> {row.rank or '-'}" if is_highlighted else row.rank,
            *([Text(attack)] if _by_attack(ranking) else []),
            name_text(row),
            *(stacked(cell_text(row, column)) for column in metrics),
            *(stacked(EXTRAS[name](ranking, row)) for name in extras),
            seeds_text(ranking, row).partition(" (")[0],
            style="bold" if is_highlighted else None,
        )
    return table


def _section(row: RankingRow) -> tuple[str, bool, bool]:
    return row.attack, bool(row.warnings), bool(row.best)


def title(ranking: Ranking) -> str:
    """The leaderboard, and how many samples its ranking rests on where that is one number."""
    typed = ranking.rank_by.typed
    counts = {value.count for row in ranking.rows if (value := row.value(typed)) is not None}
    samples = f", {counts.pop()} samples" if len(counts) == 1 else ""
    return ranking.leaderboard.title + samples


def fitting(ranking: Ranking, width: int) -> tuple[list[MetricColumn], list[str]]:
    """The metrics, in their order, and what else there is room for."""
    names = NAME * (1 + _by_attack(ranking))
    room = max(1, (width - FIXED - names) // EACH)
    every = ranking.columns()
    first = sorted(every, key=lambda column: column.typed != ranking.rank_by.typed)[:room]
    metrics = [column for column in every if column in first]
    extras = [name for name, text in EXTRAS.items() if any(text(ranking, r) for r in ranking.rows)]
    return metrics, extras[: room - len(metrics)]


def hidden_heads(ranking: Ranking, width: int) -> list[str]:
    """Heads of the metrics that there is no room for."""
    metrics, _ = fitting(ranking, width)
    return [column.metric.heading for column in ranking.columns() if column not in metrics]


def _by_attack(ranking: Ranking) -> bool:
    return ranking.leaderboard.poisons and not ranking.leaderboard.joint


def holds(row: RankingRow, claims: set[str]) -> bool:
    """Whether a row holds one of these records, given by their claims."""
    return bool(claims) and any(record.claim in claims for record in row.group.records)


def name_text(row: RankingRow) -> Text:
    """The defense, broken behind its signs, with marks: local, oracle, and ? for warnings."""
    label = re.sub(r"([:,])(?=.{5})", r"\1\n", row.label) if len(row.label) > 22 else row.label
    name = Text(label)
    if row.local:
        name.append(" (local)", style="green")
    if row.record.defense.get("oracle"):
        name.append(" (oracle)", style="cyan")
    if row.warnings:
        name.append(" ?", style="yellow")
    return name


def record_table(record: Record) -> Table:
    """The student of a record under each attack: every share, and what the attack spent."""
    table = plain_table(f"{record.label}, seed {record.seed}")
    table.add_column("attack", overflow="fold")
    for name in ("column", "percent", "samples", "forward passes", "backward passes"):
        table.add_column(name, justify="right")
    for label, result in record.attacks.items():
        passes = [f"{result.passes.get(name, 0):,}" for name in ("forward", "backward")]
        for name, column in result.columns["student"].items():
            if isinstance(column, Bits):
                share = (Text(str(column.share)), str(column.count))
                table.add_row(Text(label), Text(name.replace("_", " ")), *share, *passes)
    return table


def remarks(ranking: Ranking, width: int) -> Iterator[str]:
    """What stands below the table, in words: warnings, who stays out and why, how to read it."""
    typed, metric = ranking.rank_by.typed, ranking.rank_by.metric
    for row in (*ranking.rows, *(row for row, _ in ranking.outside)):
        yield from (f"? {row.label}: {warning}" for warning in row.warnings)
    for row in ranking.rows:
        if row.best_known:
            yield f"best known of {row.label}: {best_known_text(ranking, row)}"
        if "(" in (seeds := seeds_text(ranking, row)):
            yield f"other seeds of {row.label}: {seeds.partition('(')[2][:-1]}"
    for row, reason in ranking.outside:
        who = row.label + (" (local)" if row.local else "")
        under = f" under {row.attack}" if _by_attack(ranking) else ""
        value = row.value(typed)
        text = f", {metric.heading} {value_text(ranking, row)}" if value else ""
        yield f"not ranked: {who}{under}{text}; {reason}"
    yield (
        f"Ranked by {metric.heading}; percents where the head names no unit, with 95 % intervals. "
        "Ranks are intervals where a paired test cannot tell rows apart."
    )
    if names := hidden_heads(ranking, width):
        yield f"No room here for {', '.join(names)}; see --format markdown or csv."
    if words := caveats(ranking).strip():
        yield words


def place(row: RankingRow, ranking: Ranking) -> str:
    """Where a row stands, in words."""
    others = len(ranking.contest(row))
    under = f" under {row.attack}" if _by_attack(ranking) else ""
    where = f"rank {row.rank} of {others}{under} on {ranking.leaderboard.name}"
    return f"{row.label}: {where}, {ranking.rank_by.metric.heading} {value_text(ranking, row)}"


def value_text(ranking: Ranking, row: RankingRow) -> str:
    """The value that ranks, with its count: ``61.2 [58.1, 64.2] of 1000``."""
    value = row.value(ranking.rank_by.typed)
    text = estimate_text(ranking.rank_by.metric, value)
    return f"{text} of {value.count}" if value else ""


def stacked(text: str) -> Text:
    """A value over its interval (and what stands behind), so that a column stays narrow."""
    return Text(text.replace(" [", "\n[").replace("] ", "]\n"))


def head(name: str) -> str:
    """The head of a column; a long name is broken behind its signs."""
    return re.sub(r"([-:,])(?=.{5})", r"\1\n", name) if len(name) > 12 else name


def head_of(column: MetricColumn) -> str:
    """The heading of a metric with its unit, but for percents: ``exposure (bits)``."""
    heading, unit = column.metric.heading, column.metric.unit
    return heading if unit == "percent" or unit in heading.lower() else f"{heading} ({unit})"


def short(number: int | None) -> str:
    """``61.2k``, ``1.5M``; empty for what is not known."""
    if number is None:
        return ""
    size, sign = next(((size, sign) for size, sign in SIGNS if number >= size), (1, ""))
    return f"{number / size:.1f}{sign}" if sign else str(number)


EXTRAS: Mapping[str, Callable[[Ranking, RankingRow], str]] = {
    "full test": full_test_text,
    "params": lambda ranking, row: short(row.record.student.get("parameters")),
    "MACs": lambda ranking, row: short(row.record.student.get("macs")),
}
"""What stands behind the metrics where there is room."""
