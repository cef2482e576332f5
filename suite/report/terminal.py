"""A board and its entrant as they stand in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from robustbench_kd.records import Record, Share
from robustbench_kd.report.board import Board, Row
from robustbench_kd.report.texts import seeds, wide

ROOM = 108  # columns that are needed to show every attack


def board_table(board: Board, width: int, entrant: Record | None = None) -> Table:
    """The ranking; with a column for each attack where there is room for them."""
    attacks = [a for a in board.contest.panel if a != "untouched"] if width >= ROOM else []
    first = board.rows[0].record if board.rows else entrant
    images = f", {first.worst.count} images" if first else ""
    table = Table(box=SIMPLE_HEAD, title=f"{board.contest.title}{images}", pad_edge=False)
    table.add_column("", width=1)
    table.add_column("rank", justify="right")
    table.add_column("defense", overflow="fold", min_width=12)
    wider = any(row.wide for row in board.rows)
    names = ["robust", "clean", *attacks, *(["wide"] if wider else [])]
    for column in (*names, "params", "MACs", "seed"):
        table.add_column(head(column), justify="right", overflow="fold")
    mine = board.row_of(entrant) if entrant else None
    for row in board.rows:
        record = row.record
        name = Text(row.label)
        if row.yours:
            name.append(" (yours)", style="green")
        if record.doubts:
            name.append(" ?", style="yellow")
        shares = [record.worst, record.clean, *(record.cell(a).share for a in attacks)]
        table.add_row(
            Text(">" if row is mine else ""),
            row.rank,
            name,
            *(stacked(share) for share in shares),
            *([Text(wide(row).replace(" [", "\n[").replace("] ", "]\n"))] if wider else []),
            short(record.model["parameters"]),
            short(record.model["macs"]),
            Text(seeds(row).replace(" (", "\n").rstrip(")").replace("], ", "]\n")),
            style="bold" if row is mine else None,
        )
    return table


def entrant_table(record: Record) -> Table:
    """The entrant under each attack: what is left, and what the attack spent."""
    table = Table(box=SIMPLE_HEAD, title=f"{record.label}, seed {record.seed}", pad_edge=False)
    table.add_column("attack", overflow="fold")
    for name in ("answered right, %", "images", "forward passes", "backward passes"):
        table.add_column(name, justify="right")
    for cell in record.cells:
        spent = (f"{cell.forward:,}", f"{cell.backward:,}")
        table.add_row(Text(cell.attack), Text(str(cell.share)), str(cell.count), *spent)
    table.add_section()
    worst = record.worst
    table.add_row("worst case", Text(str(worst)), str(worst.count), "", "", style="bold")
    return table


def remarks(board: Board, width: int) -> Iterator[str]:
    """What stands below the table, in words: doubts, who stays out and why, how to read it."""
    for row in board.rows:
        for doubt in row.record.doubts:
            yield f"? {row.label}: {doubt}"
    for row, reason in board.outside:
        yours = " (yours)" if row.yours else ""
        yield f"not ranked: {row.label}{yours}, robust {told(row.record.worst)}; {reason}"
    yield (
        "Percent answered right, 95 % Wilson intervals; robust: under every attack. "
        "Ranks are intervals where a paired test cannot tell rows apart."
    )
    if width < ROOM:
        yield f"Each attack is shown from {ROOM} columns on, and by --format csv."


def place(row: Row, board: Board) -> str:
    """Where a row stands, in words."""
    record = row.record
    where = f"rank {row.rank} of {len(board.rows)}"
    return f"{row.label}: {where} on {board.contest.name}, robust {told(record.worst)}"


def told(share: Share) -> str:
    """``61.2 [58.1, 64.2] of 1000``."""
    return f"{share} of {share.count}"


def stacked(share: Share) -> Text:
    """A share over its interval, so that a column stays narrow."""
    return Text(str(share).replace(" ", "\n", 1))


def head(name: str) -> str:
    """The head of a column; a long name is broken behind its signs."""
    return re.sub(r"([-:,])(?=.{5})", r"\1\n", name) if len(name) > 12 else name


def short(number: int) -> str:
    """``61.2k``, ``1.5M``."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{sign}"
    return str(number)
