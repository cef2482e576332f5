"""Two students, sample by sample: what one loses and the other does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from robustbench_kd.core.errors import UnknownName
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    RowSection,
    Section,
    Table,
    text_cell,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.paired_tables import (
    OUTCOMES,
    Cells,
    bits_cells,
    outcome_table,
    paired_cells,
)

BITS_NOTE = (
    "On the same samples, in percent: what the metric counts (correct answers, say) in both rows, "
    "in one of them alone, in neither. The difference of the first and the second is in points, "
    "with Tango's 95 % interval; p is McNemar's, exact and two-sided."
)
NUMBERS_NOTE = (
    "The mean difference of the first and the second on the same samples, with a 95 % interval by "
    "weighted means; p is two-sided, the larger of a sign-flip test's and of the weighted means'."
)


def comparison(board: BoardRecords) -> Block | str | None:
    """The chosen two rows (the best two unless chosen), and every row beside the next one."""
    neighbours = [pair for rows in contests(board.rows) for pair in pairwise(rows)]
    if not neighbours and board.pair is None:
        return "pairwise comparison: there is only one row"
    first, second = board.pair or (neighbours[0][0].label, neighbours[0][1].label)
    metric = board.ranking.rank_by.metric
    compared = outcome_table(
        f"{first} (first) and {second} (second)",
        ("compared",),
        [
            (text_cell(name), *cells)
            for rows in _rows_named(board, first, second)
            for name, cells in _by_attack(board, *rows)
        ],
    )
    beside = outcome_table(
        f"Each row and the next one: {metric.heading}",
        (*(("attack",) if board.by_attack else ()), "first", "second"),
        [
            (*attack_cells(board, one), text_cell(one.label), text_cell(other.label), *cells)
            for one, other in neighbours
            if (cells := paired_cells(metric, one, other))
        ],
    )
    return _block((compared, beside)) or (
        f"pairwise comparison: {metric.heading} has no value for samples that two rows share"
    )


def with_pair(boards: Sequence[BoardRecords], pair: tuple[str, str] | None) -> list[BoardRecords]:
    """The leaderboards, with the pair to compare on those that have a row of either label.

    Where none has, on all of them, so that the comparison says which label is unknown.
    """
    if pair is None:
        return list(boards)
    about = [bool(set(pair) & {row.label for row in board.rows}) for board in boards]
    return [
        replace(board, pair=pair) if named or not any(about) else board
        for board, named in zip(boards, about, strict=True)
    ]


def beside_others(board: BoardRecords, row: RankingRow) -> Block | None:
    """A row beside each of the rows that it is ranked among."""
    metric = board.ranking.rank_by.metric
    others = [other for other in board.ranking.contest(row) if other is not row]
    rows = [
        (text_cell(other.label, href=board.href(other)), *cells)
        for other in others
        if row.best and (cells := paired_cells(metric, row, other))
    ]
    caption = f"{row.label} (first) and every other row (second): {metric.heading}"
    return _block((outcome_table(caption, ("second",), rows),))


def contests(rows: Sequence[RankingRow]) -> list[list[RankingRow]]:
    """Rows by attack on training data, in their order."""
    return [list(members) for _, members in groupby(rows, key=lambda row: row.attack)]


def attack_cells(board: BoardRecords, row: RankingRow) -> Cells:
    """The attack of a row, where rows are ranked by it."""
    return (text_cell(row.attack),) if board.by_attack else ()


def _rows_named(
    board: BoardRecords, first: str, second: str
) -> Iterator[tuple[RankingRow, RankingRow]]:
    """The rows of two labels, under each attack that both were evaluated under.

    Raises:
        UnknownName: for a label that no row has.
    """
    labels = list(dict.fromkeys(row.label for row in board.rows))
    for label in (first, second):
        if label not in labels:
            raise UnknownName("row", label, labels)
    for rows in contests(board.rows):
        by_label = {row.label: row for row in rows}
        if first in by_label and second in by_label:
            yield by_label[first], by_label[second]


def _by_attack(
    board: BoardRecords, first: RankingRow, second: RankingRow
) -> Iterator[tuple[str, Cells]]:
    """What is compared, and the fields of ``HEADS``: each attack on test data and the worst case.

    On other leaderboards what ranks.
    """
    metric = board.ranking.rank_by.metric
    if not board.leaderboard.poisons:
        for attack in first.record.attacks:
            if attack in second.record.attacks:
                columns = [row.record.bits(attack, "student", "correct") for row in (first, second)]
                if columns[0].count == columns[1].count:
                    yield attack, bits_cells(*columns)
    if cells := paired_cells(metric, first, second):
        ranked = first.attack if board.by_attack else metric.heading
        yield ranked if board.leaderboard.poisons else "worst case", cells


def _block(tables: Sequence[Table]) -> Block | None:
    """The tables that have rows, with what their columns are."""
    filled = tuple(table for table in tables if table.rows)
    bits = any(head in table.heads for table in filled for head in OUTCOMES)
    return Block((BITS_NOTE if bits else NUMBERS_NOTE,), tables=filled) if filled else None


SECTIONS = (Section("pairwise", "Pairwise comparison", 55, comparison),)
ROW_SECTIONS = (RowSection("Compared with the other rows", 55, beside_others),)
