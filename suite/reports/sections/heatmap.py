"""Which attack works on which defense: a map of both."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.columns import legend
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Figure,
    Section,
    Table,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.drawing import Canvas, drawable, short_label, sketch
from robustbench_kd.reports.sections.tradeoffs import evasion_rows

Grid = Sequence[tuple[str, Sequence[Estimate | None]]]


def heatmap(board: BoardRecords) -> Block | None:
    """Accuracy under each attack, or what the leaderboard ranks by under each attack."""
    if board.by_attack:
        return _rank_values(board)
    return None if board.leaderboard.poisons else _accuracies(board)


def _accuracies(board: BoardRecords) -> Block | None:
    rows = evasion_rows(board)
    if not rows:
        return None
    attacks = list(rows[0].record.attacks)
    grid = []
    for row in rows:
        shares = {
            attack: row.record.bits(attack, "student", "correct").share
            for attack in row.record.attacks
        }
        grid.append((row.label, [*map(shares.get, attacks), row.record.worst]))
    description = (
        "Percent of the images that each student classifies correctly under each attack, the most "
        "robust student on top; the last column is robust accuracy, the worst case over all "
        "attacks, image by image."
    )
    return share_map("Accuracy under attack", [*attacks, "worst case"], grid, description)


def _rank_values(board: BoardRecords) -> Block | None:
    rank_by = board.ranking.rank_by
    if rank_by.metric.unit != "percent" or not board.rows:
        return None
    attacks = list(dict.fromkeys(row.attack for row in board.rows))
    values = {(row.label, row.attack): row.value(rank_by.typed) for row in board.rows}
    labels = sorted({row.label for row in board.rows})
    grid = [(label, [values.get((label, attack)) for attack in attacks]) for label in labels]
    description = (
        f"In percent; a dash where a defense was not evaluated under an attack. "
        f"{legend([rank_by])[0].capitalize()}"
    )
    title = f"{rank_by.metric.heading} by attack and defense"
    return share_map(title[0].upper() + title[1:], attacks, grid, description)


def share_map(title: str, names: Sequence[str], grid: Grid, description: str) -> Block:
    """A map of shares with the table of its numbers.

    Args:
        names: of the columns.
        grid: a name and its shares for each row.
    """
    rows = tuple((text_cell(label), *map(share_cell, shares)) for label, shares in grid)
    longest = max(len(short_label(name, 26)) for name in names)
    drawn, description = drawable(grid, description)
    height = 0.9 + 0.045 * longest + 0.25 * len(drawn)
    svg = sketch(lambda canvas: _draw(canvas, names, drawn), height)
    return Block(
        figures=(Figure(title, svg, description),),
        tables=(Table(f"{title}: the numbers, with intervals", ("defense", *names), rows),),
    )


def _draw(canvas: Canvas, names: Sequence[str], grid: Grid) -> None:
    axes = canvas.add_subplot()
    values = [[100 * s.value if s else float("nan") for s in shares] for _, shares in grid]
    axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            missing = value != value
            text = "-" if missing else f"{value:.0f}"
            colour = None if missing else "#ffffff" if value < 50 else "#000000"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    labels = [short_label(name, 26) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=40, ha="right")
    axes.set_yticks(range(len(grid)), [short_label(label, 28) for label, _ in grid])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


SECTIONS = (Section("heatmap", "Attacks and defenses", 30, heatmap),)
