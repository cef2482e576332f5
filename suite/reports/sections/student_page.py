"""The page of a row: its values, its seeds, and each attack on test data with what it spent."""

from __future__ import annotations

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.columns import legend
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    RowSection,
    Table,
    metric_cell,
    number_cell,
    settings_text,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.filters import teacher_roles
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.attack_breakdown import broken_by_one
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Json, Record

HEADS = ("value", "unit", "samples")


def summary(board: BoardRecords, row: RankingRow) -> Block:
    """Its rank, its student, and every value of it."""
    tables = [Table("Values", ("metric", *HEADS), _values(row))]
    if len(row.group.records) > 1:
        tables.append(_seeds(board, row))
    about = f"{'; '.join((_place(board, row), *_about(row)))}."
    paragraphs = (about[0].upper() + about[1:], " ".join(legend(row.columns)))
    return Block(paragraphs=paragraphs, tables=tuple(tables))


def _place(board: BoardRecords, row: RankingRow) -> str:
    for other, reason in board.ranking.outside:
        if other is row:
            return f"not ranked: {reason}"
    return f"rank {row.rank} of {len(board.ranking.contest(row))}"


def _about(row: RankingRow) -> list[str]:
    record = row.record
    settings = settings_text(record.defense.get("settings", {}))
    texts = [_student(record.student), f"settings: {settings}"]
    texts.append(f"teachers: {', '.join(teacher_roles(record)) or 'none'}")
    if row.attack:
        texts.append(f"capability of the adversary: {record.capability.replace('_', ' ')}")
        texts += [
            f"settings of {attack}: {settings_text(record.attacks[attack].settings)}"
            for attack in record.attack_labels
        ]
    if record.poison:
        count, size = record.poison["count"], record.poison["train_size"]
        texts.append(
            f"poisoned: {count:,} of {size:,} training samples ({100 * count / size:.3g} %)"
        )
    return [*texts, f"warnings: {'; '.join(row.warnings) or 'none'}"]


def _student(student: Json) -> str:
    """Architecture and size of a student, as far as they are known."""
    sizes = (("parameters", "parameters"), ("macs", "multiply-accumulates"))
    known = [f"{student[name]:,} {unit}" for name, unit in sizes if student.get(name) is not None]
    return ", ".join([student["architecture"], *known])


def _values(row: RankingRow) -> tuple[tuple[Cell, ...], ...]:
    rows = [
        _value_cells(column.metric.heading, metric_cell(row, column), column.metric.unit)
        for column in row.columns
    ]
    if row.full_test:
        rows.append(_value_cells("robust accuracy on the full test set", share_cell(row.full_test)))
    if row.best_known:
        name = f"best-known robust accuracy, in {len(row.best_known.first)} records"
        rows.append(_value_cells(name, share_cell(row.best_known.share)))
    return tuple(rows)


def _value_cells(name: str, value: Cell, unit: str = "percent") -> tuple[Cell, ...]:
    count = number_cell(value.estimate.count) if value.estimate else Cell("")
    return text_cell(name), value, text_cell(unit if value.estimate else ""), count


def _seeds(board: BoardRecords, row: RankingRow) -> Table:
    """What the row is ranked by, for each seed alone."""
    column = board.ranking.rank_by
    rows = tuple(
        (
            number_cell(record.seed, str(record.seed)),
            *_value_cells("", metric_cell(_alone(row, record), column), column.metric.unit)[1:],
        )
        for record in row.group.records
    )
    return Table(f"Each seed by itself: {column.metric.heading}", ("seed", *HEADS), rows)


def _alone(row: RankingRow, record: Record) -> RankingRow:
    """The row of one record of several."""
    return RankingRow(SeedGroup((record,)), row.columns, row.reference)


def attacks(board: BoardRecords, row: RankingRow) -> Block | None:
    """Every attack on test data: what survives it, what only it breaks, what it spent."""
    record = row.record
    if record.capability != "test_data":
        return None
    alone, correct = broken_by_one(record), record.clean.hits or 0
    rows = []
    for place, (attack, result) in enumerate(record.attacks.items()):
        column = record.bits(attack, "student", "correct")
        unique = Estimate.share(alone[place], correct) if place and correct else None
        rows.append(
            (
                text_cell(attack),
                share_cell(column.share),
                share_cell(unique),
                *(_passes(result.passes.get(name)) for name in ("forward", "backward")),
                number_cell(column.count),
                text_cell(settings_text(result.settings)),
                text_cell("; ".join(result.warnings) or "none"),
            )
        )
    empty = Cell("")
    worst = (text_cell("worst case"), share_cell(record.worst), empty, empty, empty)
    rows.append((*worst, number_cell(record.robust.count), empty, empty))
    heads = ("attack", "correct", "broken by it alone", "forward", "backward", "samples")
    table = Table("Every attack", (*heads, "settings", "warnings"), tuple(rows))
    return Block(tables=(table,))


def _passes(count: int | None) -> Cell:
    return Cell("") if count is None else number_cell(count)


ROW_SECTIONS = (RowSection("Summary", 10, summary), RowSection("Every attack", 20, attacks))
