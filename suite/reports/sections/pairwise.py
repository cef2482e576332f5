"""Two students, example by example: what one loses and the other does not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from robustbench_kd.core.errors import UnknownName
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided, tango
from robustbench_kd.reports.document import Block, Cell, Facts, Section, Table, number, shown, word
from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.reports.sections.ranking import rows_in
from robustbench_kd.results.record import Share

FATES = ("both", "only the first", "only the second", "neither")
HEADS = (*FATES, "drop", "p", "examples")
NOTE = (
    "Pair by pair on the same examples: right with both, with one only, with neither. The drop "
    "from the first to the second is in points, with Tango's 95 % interval; p is McNemar's, exact "
    "and two-sided."
)


def pairs(facts: Facts) -> Block | str | None:
    """The chosen two (or the best two) under each attack, and every row beside the next one."""
    rows = rows_in(facts)
    if not rows:
        return None
    if len(rows) < 2 and facts.pair is None:
        return "two students, pair by pair: there is only one row"
    first, second = chosen(rows, facts.pair)
    caption = f"{first.label} (first) and {second.label} (second), attack by attack"
    tables = [Table(caption, ("attack", *HEADS), by_attack(first, second))]
    beside = [
        (word(one.label), word(other.label), *paired(one.record.flags, other.record.flags))
        for one, other in pairwise(rows)
        if len(one.record.flags) == len(other.record.flags)
    ]
    caption = "Each row and the next one, under the whole panel"
    tables.append(Table(caption, ("first", "second", *HEADS), tuple(beside), lead=2))
    return Block(words=(NOTE,), tables=tuple(tables))


def chosen(rows: Sequence[Row], pair: tuple[str, str] | None) -> tuple[Row, Row]:
    """The rows with these labels, or the best two.

    Raises:
        UnknownName: for a label that no row has.
    """
    if pair is None:
        return rows[0], rows[1]
    by_label = {row.label: row for row in rows}
    for label in pair:
        if label not in by_label:
            raise UnknownName("row", label, by_label)
    return by_label[pair[0]], by_label[pair[1]]


def by_attack(first: Row, second: Row) -> tuple[tuple[Cell, ...], ...]:
    """A line an attack that both were tried on, and one for the worst case."""
    theirs = {cell.attack: cell.flags for cell in second.record.cells}
    lines = [
        (word(cell.attack), *paired(cell.flags, theirs[cell.attack]))
        for cell in first.record.cells
        if len(theirs.get(cell.attack, ())) == cell.count
    ]
    if len(first.record.flags) == len(second.record.flags):
        lines.append((word("worst case"), *paired(first.record.flags, second.record.flags)))
    return tuple(lines)


def paired(first: Sequence[bool], second: Sequence[bool]) -> tuple[Cell, ...]:
    """The fields of ``HEADS``."""
    count = len(first)
    lost, won = discordant(first, second)
    both = sum(a and b for a, b in zip(first, second, strict=True))
    low, high = tango(lost, won, count)
    drop = 100 * (lost - won) / count
    p = mcnemar_two_sided(lost, won)
    return (
        *(shown(Share(n, count)) for n in (both, lost, won, count - both - lost - won)),
        number(drop, f"{drop:z.1f} [{100 * low:z.1f}, {100 * high:z.1f}]"),
        number(p, f"{p:.2g}"),
        number(count),
    )


SECTIONS = (Section("pairs", "Two students, pair by pair", 55, pairs),)
