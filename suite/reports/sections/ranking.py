"""The ranking of attacks on test inputs: every row with its intervals, and who stays out."""

from __future__ import annotations

from dataclasses import dataclass

from robustbench_kd.reports.document import Block, Cell, Facts, Section, Table, number, shown, word
from robustbench_kd.reports.formats.markdown_latex import note, seeds
from robustbench_kd.reports.leaderboard import Board, Row, fold
from robustbench_kd.reports.sections.robustness_curve import curves_in
from robustbench_kd.results.record import SCHEMA, Record, parse_body

READS = {SCHEMA.partition("/")[0]: parse_body}


@dataclass(frozen=True)
class Columns:
    """Attacks, and whether some row has flags of the whole test set, or several records."""

    names: tuple[str, ...]
    spread: bool
    joined: bool


def board_in(facts: Facts) -> Board | None:
    """The board of the records that are about attacks on test inputs; none without any."""
    records = facts.of(Record)
    if not records:
        return None
    return facts.once("board", lambda: fold(facts.contest, records))


def rows_in(facts: Facts) -> list[Row]:
    """The rows that figures show: those that are ranked, or else all."""
    board = board_in(facts)
    if board is None:
        return []
    return list(board.rows) or [row for row, _ in board.outside]


def ranking(facts: Facts) -> Block | None:
    """Who ranks where, and who does not; records at other radii stand in their curve."""
    board = board_in(facts)
    if board is None:
        return None
    drawn = {id(record) for points in curves_in(facts).values() for *_, record in points}
    out = [(row, reason) for row, reason in board.outside if id(row.record) not in drawn]
    every = [(row, "") for row in board.rows] + (out or ([] if board.rows else list(board.outside)))
    names = tuple(cell.attack for cell in every[0][0].record.cells[1:])
    spread = any(row.wide for row, _ in every)
    joined = any(row.known for row, _ in every)
    columns = Columns(names, spread, joined)
    heads = ("rank", "defense", "robust", "clean", *names)
    heads += ("wide", "wide images") if spread else ()
    heads += ("best known", "records") if joined else ()
    heads += ("images", "parameters", "MACs", "forward", "backward", "CPU seconds", "teachers")
    lines = tuple(_line(facts, row, reason, columns) for row, reason in every)
    facets = ("teachers", "remarks")
    whole = Table(facts.contest.title, (*heads, "seed (others)", "remarks"), lines, facets, lead=2)
    return Block(words=(note(board),), tables=(whole,))


def _line(facts: Facts, row: Row, reason: str, columns: Columns) -> tuple[Cell, ...]:
    record = row.record
    by_name = {cell.attack: cell.share for cell in record.cells}
    remarks = f"not ranked: {reason}" if reason else "; ".join(record.doubts)
    seconds = float(record.spent.get("cpu_seconds", 0.0))
    place = word("out", key=1e9) if reason else word(row.rank, key=row.best + row.last / 1e4)
    return (
        place,
        word(row.label, href=facts.links.get(record.id, "")),
        shown(record.worst),
        shown(record.clean),
        *(shown(by_name.get(name)) for name in columns.names),
        *([shown(row.wide), _count(row)] if columns.spread else []),
        *(_joined(row) if columns.joined else []),
        number(record.worst.count),
        number(record.model["parameters"]),
        number(record.model["macs"]),
        number(row.passes[0]),
        number(row.passes[1]),
        number(seconds, f"{seconds:,.1f}"),
        word(", ".join(sorted(record.teachers)) or "none"),
        word(seeds(row), key=float(record.seed)),
        word(remarks or "none", warns=bool(remarks)),
    )


def _count(row: Row) -> Cell:
    return number(row.wide.count) if row.wide else word("")


def _joined(row: Row) -> tuple[Cell, Cell]:
    """What survives every record of the row's network, and how many there are."""
    if row.known is None:
        return word(""), word("")
    return shown(row.known.share), number(len(row.known.first))


SECTIONS = (Section("ranking", "Ranking", 10, ranking),)
