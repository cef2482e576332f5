"""Signs that an evaluation overestimates robustness: what else each network was tested for."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.evaluation.sanity_checks import STILL
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    RowSection,
    Section,
    Table,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.tradeoffs import evasion_rows
from robustbench_kd.results.record import Record

HEADS = (
    "defense",
    "verdict",
    "warnings",
    "zero gradient",
    "PGD",
    "PGD, rescaled",
    "Square",
    "checked samples",
    "missed by the last attack",
    "samples",
)
NOTE = (
    "Signs that a row overestimates robustness. Zero gradient: the share of inputs at which the "
    f"gradient of the loss is exactly zero; from {100 * STILL:.0f} % on, gradients are masked. "
    "Then what survives PGD, PGD on rescaled logits (fewer survivors: masked gradients) and the "
    "black-box attack Square (breaks what PGD does not: masked gradients). Missed by the last "
    "attack: samples that another attack of the panel breaks and the last one does not. Rows with "
    "warnings stand below the others."
)


def checks(board: BoardRecords) -> Block | None:
    """A row for each student under attacks on test data."""
    rows = evasion_rows(board)
    return check_table(rows) if rows else None


def row_checks(board: BoardRecords, row: RankingRow) -> Block | None:
    """The checks of one student."""
    return check_table([row]) if row.record.capability == "test_data" else None


def check_table(rows: Sequence[RankingRow]) -> Block:
    """The checks of these rows."""
    cells = tuple(_cells(row.label, row.record) for row in rows)
    return Block(paragraphs=(NOTE,), tables=(Table("Sanity checks", HEADS, cells),))


def _cells(label: str, record: Record) -> tuple[Cell, ...]:
    values, warnings = record.sanity_checks, "; ".join(record.warnings)
    checked = int(values.get("asked", 0))
    still = round(float(values.get("still", 0)) * checked)
    counts = [still, *(int(values.get(name, 0)) for name in ("pgd", "pgd_rescaled", "square"))]
    count = record.robust.count
    return (
        text_cell(label),
        text_cell(_verdict(checked, warnings), warns=bool(warnings)),
        text_cell(warnings or "none"),
        *(share_cell(Estimate.share(n, checked) if checked else None) for n in counts),
        number_cell(checked),
        share_cell(Estimate.share(missed_by_last(record), count)),
        number_cell(count),
    )


def _verdict(checked: int, warnings: str) -> str:
    if warnings:
        return "warnings"
    return "no sign" if checked else "not checked"


def missed_by_last(record: Record) -> int:
    """How many samples some attack breaks and the last of the panel does not."""
    last = record.bits(list(record.attacks)[-1], "student", "correct")
    return (last.number & ~record.robust.number).bit_count()


SECTIONS = (Section("checks", "Sanity checks", 80, checks),)
ROW_SECTIONS = (RowSection("Sanity checks", 80, row_checks),)
