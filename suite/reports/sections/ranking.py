"""The ranking: every row with the intervals of its metrics, and what is not ranked, with why."""

from __future__ import annotations

from collections.abc import Callable

from robustbench_kd.metrics._inheritance import comparable, group_verdict
from robustbench_kd.reports.cells import note, seeds_text
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    Section,
    Table,
    metric_cell,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.filters import teacher_roles
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.robustness_curve import radius_curves

Reason = tuple[RankingRow, str]
CellOf = Callable[[RankingRow], Cell]


def ranking(board: BoardRecords) -> Block | None:
    """The whole table; columns that are empty in every row are left out."""
    lines = listed_rows(board)
    if not lines:
        return None
    metrics = {column.metric.heading: column for column in lines[0][0].columns}
    facts = {head: [of(row) for row, _ in lines] for head, of in _facts(board).items()}
    facts = {head: cells for head, cells in facts.items() if any(cell.text for cell in cells)}
    names = ("attack", "defense") if board.by_attack else ("defense",)
    rows = []
    for place, (row, reason) in enumerate(lines):
        attack = [text_cell(row.attack)] if board.by_attack else []
        oracle = " (oracle)" if row.record.defense.get("oracle") else ""
        name = text_cell(row.label + oracle, href=board.href(row))
        values = [metric_cell(row, column) for column in metrics.values()]
        known = [cells[place] for cells in facts.values()]
        rows.append((_rank(row, reason), *attack, name, *values, *known, _remarks(row, reason)))
    heads = ("rank", *names, *metrics, *facts, "remarks")
    filterable = (*(names if board.by_attack else ()), "verdict", "teachers", "remarks")
    filters = tuple(head for head in filterable if head in heads)
    table = Table(board.leaderboard.title, heads, tuple(rows), filters, row_head=len(names))
    return Block(paragraphs=(note(board.ranking),), tables=(table,))


def listed_rows(board: BoardRecords) -> list[Reason]:
    """The ranked rows, then the others with the reason; those of a radius curve stand there."""
    drawn = {id(point.record) for points in radius_curves(board).values() for point in points}
    outside = board.ranking.outside
    others = [(row, reason) for row, reason in outside if id(row.record) not in drawn]
    ranked = [(row, "") for row in board.ranking.rows]
    return [*ranked, *others] or list(outside)


def _rank(row: RankingRow, reason: str) -> Cell:
    if reason:
        return text_cell("not ranked", key=1e9)
    return text_cell(row.rank, key=row.best + row.last / 1e4)


def _remarks(row: RankingRow, reason: str) -> Cell:
    texts = [f"not ranked: {reason}"] if reason else []
    text = "; ".join([*texts, *row.warnings])
    return text_cell(text or "none", warns=bool(text))


def _facts(board: BoardRecords) -> dict[str, CellOf]:
    """What is known of a row besides its metrics, by head."""
    ranking = board.ranking

    def samples(row: RankingRow) -> Cell:
        estimate = row.value(ranking.rank_by.typed)
        return _count(estimate.count if estimate else None)

    def best_known(row: RankingRow) -> Cell:
        return share_cell(row.best_known.share if row.best_known else None)

    def verdict(row: RankingRow) -> Cell:
        return text_cell(group_verdict(row.group) if comparable(row.record) else "")

    return {
        "verdict": verdict,
        "samples": samples,
        "full test": lambda row: share_cell(row.full_test),
        "samples of the full test": lambda row: _count(row.full_test and row.full_test.count),
        "best known": best_known,
        "records": lambda row: _count(row.best_known and len(row.best_known.first)),
        "poisoned": lambda row: _count(row.record.poison.get("count")),
        "parameters": lambda row: _count(row.record.student.get("parameters")),
        "MACs": lambda row: _count(row.record.student.get("macs")),
        "forward": lambda row: _count(row.passes.get("forward")),
        "backward": lambda row: _count(row.passes.get("backward")),
        "CPU seconds": lambda row: _seconds(row.record.compute.get("cpu_seconds")),
        "teachers": lambda row: text_cell(", ".join(teacher_roles(row.record)) or "none"),
        "seeds": lambda row: text_cell(seeds_text(ranking, row), key=float(row.record.seed)),
    }


def _count(number: int | None) -> Cell:
    return Cell("") if number is None else number_cell(number)


def _seconds(seconds: float | None) -> Cell:
    return Cell("") if seconds is None else number_cell(seconds, f"{seconds:,.1f}")


SECTIONS = (Section("ranking", "Ranking", 10, ranking),)
