"""The sections of a page, one a file; a file that is put here is part of every report.

A file holds ``SECTIONS``, parts of a leaderboard's page, ``ROW_SECTIONS``, parts of the page of
each row, or both.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from robustbench_kd.reports.document import BoardRecords, Page, RowSection, Section
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.results.store import record_name


def sections() -> list[Section]:
    """Every section, in the order in which they stand on a leaderboard's page."""
    parts = [part for module in modules() for part in getattr(module, "SECTIONS", ())]
    return sorted(parts, key=lambda section: section.order)


def row_sections() -> list[RowSection]:
    """Every section of a row's page, in order."""
    parts = [part for module in modules() for part in getattr(module, "ROW_SECTIONS", ())]
    return sorted(parts, key=lambda section: section.order)


def pages(board: BoardRecords) -> list[Page]:
    """A page for every row of a leaderboard, ranked or not."""
    ranking = board.ranking
    return [_page(board, row) for row in (*ranking.rows, *(row for row, _ in ranking.outside))]


def row_title(board: BoardRecords, row: RankingRow) -> str:
    """What a row is about: ``ard``, or ``badnets on ard`` where rows are ranked by attack."""
    return f"{row.attack} on {row.label}" if board.by_attack else row.label


def _page(board: BoardRecords, row: RankingRow) -> Page:
    blocks = ((section.title, section.build(board, row)) for section in row_sections())
    return Page(
        record_name(row.record),
        row_title(board, row),
        row.group.records,
        tuple((title, block) for title, block in blocks if block is not None),
    )


@cache
def modules() -> tuple[ModuleType, ...]:
    """The files of this folder."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(import_module(f"{__name__}.{name}") for name in names)
