"""Where every number comes from: records, data, versions, and how to make and verify a record."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from robustbench_kd.evaluation.verification_levels import MEANING, level_of
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    RowSection,
    Section,
    Table,
    number_cell,
    text_cell,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.results.record import CLEAN, Record

HEADS = (
    *("record", "about", "seed", "file"),
    *("examples", "versions", "level", "CPU seconds"),
)
NOTE = (
    "A record is named by the first 12 digits of the SHA-256 of its content, and so are its test "
    f"examples; damaged and edited records are refused. Level L1: {MEANING['L1']}. verify queries "
    "the models again (L2), and compares a re-run (L3)."
)


def provenance(board: BoardRecords) -> Block:
    """A row for each record."""
    return sources(board, board.records)


def provenance_of_row(board: BoardRecords, row: RankingRow) -> Block:
    """The records of one row."""
    return sources(board, row.group.records)


def sources(board: BoardRecords, records: Sequence[Record]) -> Block:
    """Provenance of some records, and the commands that make the first again and verify it.

    What is the same for all of them stands above the table.
    """
    rows = [_cells(board, record) for record in records]
    columns = list(zip(*rows, strict=True))
    same = [n for n in range(4, len(HEADS)) if len({cell.text for cell in columns[n]}) == 1]
    shared = "; ".join(f"{HEADS[n]} {rows[0][n].text}" for n in same)
    left = [n for n in range(len(HEADS)) if n not in same]
    table = Table(
        "Provenance",
        tuple(HEADS[n] for n in left),
        tuple(tuple(row[n] for n in left) for row in rows),
    )
    return Block(
        paragraphs=(NOTE, f"For all of these: {shared}.") if shared else (NOTE,),
        tables=(table,),
        commands=tuple(commands(board, records[0])),
    )


def commands(board: BoardRecords, record: Record) -> list[str]:
    """How a record is made again, and how it is verified."""
    leaderboard = board.leaderboard
    parts = ["robustbench-kd evaluate"]
    parts += ["--train"] if leaderboard.poisons else []  # their networks do not ship
    parts.append(f"--board {shlex.quote(record.board)}")
    name = shlex.quote(record.label)
    # Where a user's model comes from only its owner knows.
    user_model = record.student.get("user_model")
    parts.append(f"--model MODULE:FACTORY --name {name}" if user_model else f"--defense {name}")
    parts += [f"--attack {shlex.quote(attack)}" for attack in _attacks_to_give(board, record)]
    eps = record.threat.get("eps")
    if eps not in (None, leaderboard.budget.amount):
        parts.append(f"--eps {eps:g}")
    if record.limit is not None:
        parts.append(f"--limit {record.limit}")
    again = f"{' '.join(parts)} --seed {record.seed}"
    return [again, f"robustbench-kd verify {shlex.quote(board.path(record).name)}"]


def _attacks_to_give(board: BoardRecords, record: Record) -> list[str]:
    """The attacks of a record, where they are not all those of the leaderboard."""
    panel = [attack for attack in board.leaderboard.attacks if attack != CLEAN]
    return record.attack_labels if board.by_attack or record.attack_labels != panel else []


def _cells(board: BoardRecords, record: Record) -> tuple[Cell, ...]:
    about = " on ".join([*(record.attack_labels if board.by_attack else ()), record.label])
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    seconds = float(record.compute.get("cpu_seconds", 0.0))
    path = board.path(record)
    level = board.computed(("level", path), lambda: level_of(path).name or "none")
    return (
        text_cell(record.id[:12]),
        text_cell(about),
        number_cell(record.seed),
        text_cell(path.name),
        text_cell(record.data["examples"][:12]),
        text_cell(versions),
        text_cell(level),
        number_cell(seconds, f"{seconds:,.1f}"),
    )


SECTIONS = (Section("provenance", "Provenance", 90, provenance),)
ROW_SECTIONS = (RowSection("Provenance", 90, provenance_of_row),)
