"""What robustness costs: in clean accuracy, and in multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.reports.document import Block, BoardRecords, Figure, Section
from robustbench_kd.reports.drawing import (
    MOST,
    TONES,
    Axes,
    Canvas,
    drawable,
    error_bars,
    legend_below,
    point_style,
    sketch,
)
from robustbench_kd.reports.leaderboard import RankingRow

Point = tuple[float, float]
TICKS = [lead * 10.0**n for n in range(-4, 7) for lead in (1, 2, 5)]


def tradeoffs(board: BoardRecords) -> Block | None:
    """Clean against robust accuracy; where students differ in size, also what that buys."""
    rows: Sequence[RankingRow] = evasion_rows(board)
    if not rows:
        return None
    front = pareto_front([_point(row) for row in rows])
    description = (
        f"Clean accuracy against robust accuracy of {len(rows)} students, with 95 % Wilson "
        f"intervals on both axes; {len(front)} of them are on the Pareto front: no other is at "
        "least as good at both. The numbers are those of the ranking."
    )
    if len(rows) > MOST:  # so that the front is complete
        rows = sorted(rows, key=lambda row: _point(row) not in front)
    rows, description = drawable(rows, description)
    height = 3.4 + 0.17 * ((len(rows) + 1) // 2)
    svg = sketch(lambda canvas: _accuracies(canvas, rows, front), height)
    figures = [Figure("Accuracy against robustness", svg, description)]
    sized = [row for row in rows if row.record.student.get("macs")]
    if len({row.record.student["macs"] for row in sized}) > 1:
        description = (
            "Robust accuracy against multiply-accumulates per image, of the same students, with "
            "95 % Wilson intervals. The numbers are those of the ranking."
        )
        svg = sketch(lambda canvas: _sizes(canvas, sized), height)
        figures.append(Figure("Robustness against compute", svg, description))
    return Block(figures=tuple(figures))


def evasion_rows(board: BoardRecords) -> list[RankingRow]:
    """The rows that figures of attacks on test data show; none on other leaderboards."""
    return [row for row in board.rows if row.record.capability == "test_data"]


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats on both axes, from left to right."""
    front: list[Point] = []
    for point in sorted(set(points), key=lambda point: (-point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front[::-1]


def _point(row: RankingRow) -> Point:
    return 100 * row.record.clean.value, 100 * row.record.worst.value


def _accuracies(canvas: Canvas, rows: Sequence[RankingRow], front: Sequence[Point]) -> None:
    axes = canvas.add_subplot()
    axes.step(*zip(*front, strict=True), where="pre", color=TONES[-1], linewidth=1, zorder=1)
    for place, row in enumerate(rows):
        x, y = _point(row)
        axes.errorbar(
            [x],
            [y],
            xerr=error_bars([row.record.clean]),
            yerr=error_bars([row.record.worst]),
            **point_style(place, row.label),
            alpha=1.0 if (x, y) in front else 0.5,
        )
    axes.set_xlabel("clean accuracy, %")
    _finish(canvas, axes)


def _sizes(canvas: Canvas, rows: Sequence[RankingRow]) -> None:
    axes = canvas.add_subplot()
    sizes = [row.record.student["macs"] / 1e6 for row in rows]
    for place, (x, row) in enumerate(zip(sizes, rows, strict=True)):
        robust = row.record.worst
        style = point_style(place, row.label)
        axes.errorbar([x], [100 * robust.value], yerr=error_bars([robust]), **style)
    axes.set_xscale("log")
    ticks = [tick for tick in TICKS if min(sizes) / 2 <= tick <= 2 * max(sizes)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("multiply-accumulates per image, millions")
    _finish(canvas, axes)


def _finish(canvas: Canvas, axes: Axes) -> None:
    axes.set_ylabel("robust accuracy, %")
    axes.grid(alpha=0.2)
    legend_below(canvas, axes)


SECTIONS = (Section("tradeoffs", "Accuracy, robustness and compute", 20, tradeoffs),)
