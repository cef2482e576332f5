"""Who broke which example: the first of the panel that did, and what no other attack breaks."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.reports.document import (
    Block,
    Cell,
    Facts,
    Figure,
    Section,
    Table,
    number,
    shown,
    word,
)
from robustbench_kd.reports.figures import INK, TONES, Canvas, drawable, key_below, named, sketch
from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.reports.sections.ranking import rows_in
from robustbench_kd.results.record import Record, Share

ROBUST = -1


def kills(facts: Facts) -> Block | None:
    """Bars of who broke first, a map of all examples, a table of what only one attack breaks."""
    rows = rows_in(facts)
    if not rows:
        return None
    names = [cell.attack for cell in rows[0].record.cells]
    rows = [row for row in rows if [cell.attack for cell in row.record.cells] == names]
    bars = (
        "For each student the share of the examples that were wrong from the start, that each "
        "attack was the first of the panel to break, and (left blank) that none did. The numbers "
        "stand in the table below."
    )
    every = (
        "For the same students, every test example as a column, those that fall with most of them "
        "on the left; every student as a line; the tone tells who broke it first, as above, and "
        "blank is robust."
    )
    drawn, bars = drawable(rows, bars)
    height = 1.7 + 0.2 * len(drawn)
    figures = [Figure("Who broke it first", sketch(lambda c: _bars(c, names, drawn), height), bars)]
    if len({row.record.worst.count for row in rows}) == 1:
        drawing = sketch(lambda c: _map(c, drawn), 0.8 + 0.18 * len(drawn))
        figures.append(Figure("Which examples fall", drawing, every))
    heads = ("defense", *names[1:], "examples")
    counts: dict[str, list[tuple[Cell, ...]]] = {"first": [], "only": []}
    for row in rows:
        first = first_breakers(row.record)
        counts["first"].append(_line(row, [first.count(n) for n in range(1, len(names))]))
        counts["only"].append(_line(row, alone(row.record)[1:]))
    tables = (
        Table(f"Of the examples answered right untouched, broken {how} by", heads, tuple(lines))
        for how, lines in counts.items()
    )
    return Block(figures=tuple(figures), tables=tuple(tables))


def first_breakers(record: Record) -> list[int]:
    """By example the place in the panel of the first attack that breaks it; -1 where none does."""
    columns = zip(*(cell.flags for cell in record.cells), strict=True)
    return [next((n for n, right in enumerate(flags) if not right), ROBUST) for flags in columns]


def alone(record: Record) -> list[int]:
    """By attack, how many examples it breaks that are right untouched and that no other breaks."""
    counts = [0] * len(record.cells)
    for flags in zip(*(cell.flags for cell in record.cells), strict=True):
        if flags[0] and flags.count(False) == 1:
            counts[flags.index(False)] += 1
    return counts


def _line(row: Row, counts: Sequence[int]) -> tuple[Cell, ...]:
    right = row.record.cells[0].right
    shares = (shown(Share(n, right) if right else None) for n in counts)
    return (word(row.label), *shares, number(right))


def _bars(canvas: Canvas, names: Sequence[str], rows: Sequence[Row]) -> None:
    kinds = [("wrong untouched" if n == 0 else named(a), _tone(n)) for n, a in enumerate(names)]
    breakers = [first_breakers(row.record) for row in rows]
    counts = [[first.count(place) for place in range(len(names))] for first in breakers]
    shares = [[n / row.record.worst.count for n in c] for c, row in zip(counts, rows, strict=True)]
    stack(canvas, [named(row.label, 28) for row in rows], kinds, shares)


def stack(
    canvas: Canvas,
    names: Sequence[str],
    kinds: Sequence[tuple[str, str]],
    shares: Sequence[Sequence[float]],
) -> None:
    """A bar a name, of one share of the examples for each kind (its label and its tone)."""
    axes = canvas.add_subplot()
    left = [0.0] * len(names)
    for (label, tone), column in zip(kinds, zip(*shares, strict=True), strict=True):
        widths = [100 * share for share in column]
        axes.barh(range(len(names)), widths, left=left, color=tone, label=label)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the examples, %")
    key_below(canvas, axes, 3)


def _map(canvas: Canvas, rows: Sequence[Row]) -> None:
    breakers = [first_breakers(row.record) for row in rows]
    columns = list(zip(*breakers, strict=True))
    columns.sort(key=lambda column: (column.count(ROBUST), column))
    clear = (0.0, 0.0, 0.0, 0.0)
    paint = {place: _rgba(_tone(place)) for place in range(len(rows[0].record.cells))}
    pixels = [[paint.get(column[y], clear) for column in columns] for y in range(len(rows))]
    axes = canvas.add_subplot()
    axes.imshow(pixels, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(rows)), [named(row.label, 28) for row in rows], fontsize=8)
    axes.set_xlabel("examples")
    axes.tick_params(length=0)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_color(INK)
        spine.set_linewidth(0.3)


def _tone(place: int) -> str:
    return TONES[(place - 1) % len(TONES)]  # what is wrong untouched gets the last one, grey


def _rgba(tone: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(tone[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return red, green, blue, 1.0


SECTIONS = (Section("kills", "Who broke which example", 60, kills),)
