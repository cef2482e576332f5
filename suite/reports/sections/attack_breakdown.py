"""Which attack broke which sample: the first of the panel that did, and what only one breaks."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    Figure,
    Section,
    Table,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.drawing import (
    INK,
    TONES,
    Canvas,
    drawable,
    legend_below,
    short_label,
    sketch,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.tradeoffs import evasion_rows
from robustbench_kd.results.record import Record

ROBUST = -1


def breakdown(board: BoardRecords) -> Block | None:
    """Bars by the first successful attack, a map of all samples, tables of the numbers."""
    rows = evasion_rows(board)
    if not rows:
        return None
    attacks = list(rows[0].record.attacks)
    rows = [row for row in rows if list(row.record.attacks) == attacks]
    drawn, description = drawable(
        rows,
        "For each student the share of the samples that it misclassifies without an attack, that "
        "each attack was the first of the panel to break, and (left blank) that none did. The "
        "numbers are those of the table below.",
    )
    height = 1.7 + 0.2 * len(drawn)
    bars = sketch(lambda canvas: _bars(canvas, attacks, drawn), height)
    figures = [Figure("First successful attack", bars, description)]
    if len({row.record.robust.count for row in rows}) == 1:
        description = (
            "For the same students, every test sample as a column, those that most students lose "
            "on the left, and every student as a row; the colour names the first successful "
            "attack, as above, and blank is robust."
        )
        svg = sketch(lambda canvas: _map(canvas, drawn), 0.8 + 0.18 * len(drawn))
        figures.append(Figure("Samples that each student loses", svg, description))
    heads = ("defense", *attacks[1:], "samples")
    first, alone = [], []
    for row in rows:
        breakers = first_breakers(row.record)
        counts = [breakers.count(place) for place in range(1, len(attacks))]
        first.append(_cells(row, counts))
        alone.append(_cells(row, broken_by_one(row.record)[1:]))
    caption = "Of the samples that are correct without an attack, "
    tables = (
        Table(f"{caption}first broken by", heads, tuple(first)),
        Table(f"{caption}broken by one attack alone", heads, tuple(alone)),
    )
    return Block(figures=tuple(figures), tables=tables)


def correct_flags(record: Record) -> list[list[bool]]:
    """By attack, which samples the student still classifies correctly."""
    return [record.bits(attack, "student", "correct").flags for attack in record.attacks]


def first_breakers(record: Record) -> list[int]:
    """By sample the place in the panel of the first attack that breaks it; -1 where none does."""
    samples = zip(*correct_flags(record), strict=True)
    return [flags.index(False) if False in flags else ROBUST for flags in samples]


def broken_by_one(record: Record) -> list[int]:
    """By attack, how many correct samples it breaks that no other attack breaks."""
    counts = [0] * len(record.attacks)
    for flags in zip(*correct_flags(record), strict=True):
        if flags[0] and flags.count(False) == 1:
            counts[flags.index(False)] += 1
    return counts


def _cells(row: RankingRow, counts: Sequence[int]) -> tuple[Cell, ...]:
    correct = row.record.clean.hits or 0
    shares = (share_cell(Estimate.share(n, correct) if correct else None) for n in counts)
    return (text_cell(row.label), *shares, number_cell(correct))


def _bars(canvas: Canvas, attacks: Sequence[str], rows: Sequence[RankingRow]) -> None:
    kinds = [("wrong without an attack", _tone(0))]
    kinds += [(short_label(attack), _tone(n)) for n, attack in enumerate(attacks[1:], 1)]
    breakers = [first_breakers(row.record) for row in rows]
    shares = [[first.count(n) / len(first) for n in range(len(attacks))] for first in breakers]
    stacked_bars(canvas, [short_label(row.label, 28) for row in rows], kinds, shares)


def stacked_bars(
    canvas: Canvas,
    names: Sequence[str],
    kinds: Sequence[tuple[str, str]],
    shares: Sequence[Sequence[float]],
) -> None:
    """A bar for each name, with a part for each kind.

    Args:
        kinds: label and tone.
        shares: by name and kind.
    """
    axes = canvas.add_subplot()
    left = [0.0] * len(names)
    for (label, tone), column in zip(kinds, zip(*shares, strict=True), strict=True):
        widths = [100 * share for share in column]
        axes.barh(range(len(names)), widths, left=left, color=tone, label=label)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the samples, %")
    legend_below(canvas, axes)


def _map(canvas: Canvas, rows: Sequence[RankingRow]) -> None:
    breakers = [first_breakers(row.record) for row in rows]
    columns = list(zip(*breakers, strict=True))
    columns.sort(key=lambda column: (column.count(ROBUST), column))
    blank = (0.0, 0.0, 0.0, 0.0)
    colours = {place: _rgba(_tone(place)) for place in range(len(rows[0].record.attacks))}
    pixels = [[colours.get(column[y], blank) for column in columns] for y in range(len(rows))]
    axes = canvas.add_subplot()
    axes.imshow(pixels, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(rows)), [short_label(row.label, 28) for row in rows], fontsize=8)
    axes.set_xlabel("samples")
    axes.tick_params(length=0)
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set_color(INK)
        spine.set_linewidth(0.3)


def _tone(place: int) -> str:
    return TONES[(place - 1) % len(TONES)]  # what is wrong without an attack gets the last, grey


def _rgba(tone: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(tone[n : n + 2], 16) / 255 for n in (1, 3, 5))
    return red, green, blue, 1.0


SECTIONS = (Section("breakdown", "Which attack breaks which sample", 60, breakdown),)
