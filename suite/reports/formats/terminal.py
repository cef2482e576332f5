"""A board and its entrant as they stand in a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from robustbench_kd.reports.formats.markdown_latex import wide
from robustbench_kd.reports.leaderboard import Board, Row
from robustbench_kd.results.record import Record, Share

NAME = 26  # columns that a name takes
EACH = 14  # columns that a share and its interval take
FIXED = 82  # what the other columns take


def room(board: Board) -> int:
    """Columns that are needed to show every attack."""
    return FIXED + EACH * (len(board.contest.panel) - 1 + any(row.wide for row in board.rows))


def plain_table(title: str) -> Table:
    """A table with a line under its head and little else."""
    return Table(box=SIMPLE_HEAD, title=title, pad_edge=False, padding=(0, 1, 0, 0))


def board_table(board: Board, width: int, entrant: Record | None = None) -> Table:
    """The ranking; with a column for each attack where there is room for them."""
    attacks = [a for a in board.contest.panel if a != "untouched"] if width >= room(board) else []
    images = f", {board.rows[0].record.worst.count} images" if board.rows else ""
    table = plain_table(board.contest.title + images)
    sizes = {row.wide.count for row in board.rows if row.wide} if width >= FIXED + EACH else set()
    names = ["robust", "clean", *attacks, *(["wide"] if sizes else [])]
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("defense", overflow="fold")
    for column in (*names, "params", "MACs", "seed"):
        table.add_column(head(column), justify="right", no_wrap=True)
    mine = board.row_of(entrant) if entrant else None
    for n, row in enumerate(board.rows):
        record = row.record
        shares = [record.worst, record.clean, *(record.cell(a).share for a in attacks)]
        if n and record.doubts and not board.rows[n - 1].record.doubts:
            table.add_section()
        table.add_row(
            f"> {row.rank}" if row is mine else row.rank,
            named(row),
            *(stacked(str(share)) for share in shares),
            *([stacked(wide(row))] if sizes else []),
            short(record.model["parameters"]),
            short(record.model["macs"]),
            str(record.seed),
            style="bold" if row is mine else None,
        )
    return table


def inheritance_table(
    title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], width: int
) -> Table:
    """What each student inherited; accuracies and twins only where there is room."""
    narrow = ("attack", "defense", "source", "student", "student's twin", "inherited")
    shown = heads if width >= FIXED + 8 * EACH else narrow
    table = plain_table(title)
    for name in shown:
        left = name in ("attack", "defense")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    last = ""
    for line in lines:
        values = dict(zip(heads, line, strict=True))
        if last and values["attack"] != last:
            table.add_section()
        last = values["attack"]
        table.add_row(*(stacked(values[name]) for name in shown))
    return table


def stacked_table(
    title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], width: int
) -> Table:
    """Cells with their intervals below; columns that have no room are left out, last ones first."""
    shown = fitting(heads, width)
    table = plain_table(title)
    for name in heads[:shown]:
        left = name in ("attack", "defense")
        table.add_column(head(name), justify="left" if left else "right", overflow="fold")
    for line in lines:
        pairs = zip(heads[:shown], line[:shown], strict=True)
        table.add_row(
            *(
                Text(head(cell)) if name in ("attack", "defense") else stacked(cell)
                for name, cell in pairs
            )
        )
    return table


def fitting(heads: Sequence[str], width: int) -> int:
    """How many columns there is room for; the names and one number always stand."""
    names = sum(name in ("attack", "defense") for name in heads)
    return max(names + 1, min(len(heads), names + (width - NAME * names) // EACH))


def named(row: Row) -> Text:
    """The defense, broken behind its name; whether it is yours, and whether there is a doubt."""
    name = Text(row.label.replace(":", ":\n", 1) if len(row.label) > 22 else row.label)
    if row.yours:
        name.append(" (yours)", style="green")
    if row.record.doubts:
        name.append(" ?", style="yellow")
    return name


def entrant_table(record: Record) -> Table:
    """The entrant under each attack: what is left, and what the attack spent."""
    table = plain_table(f"{record.label}, seed {record.seed}")
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
    for row in (*board.rows, *(row for row, _ in board.outside)):
        yield from (f"? {row.label}: {doubt}" for doubt in row.record.doubts)
    for row in board.rows:
        if row.others:
            rest = ", ".join(f"{seed}: {share}" for seed, share in row.seeds[1:])
            yield f"other seeds of {row.label}: {rest}"
    for row, reason in board.outside:
        yours = " (yours)" if row.yours else ""
        yield f"not ranked: {row.label}{yours}, robust {told(row.record.worst)}; {reason}"
    yield (
        "Percent answered right, 95 % Wilson intervals; robust: under every attack. "
        "Ranks are intervals where a paired test cannot tell rows apart."
    )
    if board.rows and width < room(board):
        yield f"Each attack is shown from {room(board)} columns on, and by --format csv."


def place(row: Row, board: Board) -> str:
    """Where a row stands, in words."""
    record = row.record
    where = f"rank {row.rank} of {len(board.rows)}"
    return f"{row.label}: {where} on {board.contest.name}, robust {told(record.worst)}"


def told(share: Share) -> str:
    """``61.2 [58.1, 64.2] of 1000``."""
    return f"{share} of {share.count}"


def stacked(share: str) -> Text:
    """A share over its interval (and its own count), so that a column stays narrow."""
    return Text(share.replace(" [", "\n[").replace("] ", "]\n"))


def head(name: str) -> str:
    """The head of a column; a long name is broken behind its signs."""
    return re.sub(r"([-:,])(?=.{5})", r"\1\n", name) if len(name) > 12 else name


def short(number: int) -> str:
    """``61.2k``, ``1.5M``."""
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{sign}"
    return str(number)
