"""Records put together as a report takes them, and what it makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.leaderboards.fashion_linf import FASHION_LINF
from robustbench_kd.reports.document import Block, BoardRecords, Entry, Table
from robustbench_kd.reports.html_page import as_html, board_report
from robustbench_kd.reports.loading import record_count
from robustbench_kd.results.record import Record


def board_records(
    *records: Record, board: Leaderboard = FASHION_LINF, **fields: Any
) -> BoardRecords:
    """Records of a leaderboard that lie in no file."""
    entries = tuple(Entry(Path(f"{n}.json"), record) for n, record in enumerate(records))
    return BoardRecords(board, entries, **fields)


def section_block(board: BoardRecords, name: str) -> Block | None:
    """The content of a section; None where it is not on the page."""
    key = f"{board.leaderboard.name}-{name}"
    return next((s.block for s in board_report(board).sections if s.key == key), None)


def html_of(*boards: BoardRecords) -> str:
    """The page of these leaderboards."""
    return as_html([board_report(board) for board in boards], "Report", record_count(boards))


def texts(table: Table) -> list[dict[str, str]]:
    """The text of each row of a table, by the heads of its columns."""
    return [
        {head: cell.text for head, cell in zip(table.heads, row, strict=True)} for row in table.rows
    ]
