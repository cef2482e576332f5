"""What robustness costs: in accuracy, and in multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustbench_kd.reports.document import Block, Facts, Figure, Section
from robustbench_kd.reports.figures import (
    MARKS,
    MOST,
    TONES,
    Axes,
    Canvas,
    arms,
    drawable,
    key_below,
    named,
    sketch,
)
from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.reports.sections.ranking import rows_in

Point = tuple[float, float]
TICKS = [lead * 10.0**n for n in range(-4, 7) for lead in (1, 2, 5)]


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats on both axes, from left to right."""
    kept: list[Point] = []
    for point in sorted(set(points), key=lambda p: (-p[0], -p[1])):
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return kept[::-1]


def tradeoffs(facts: Facts) -> Block | None:
    """A scatter of both accuracies; where students differ in size, another of what that buys."""
    rows: Sequence[Row] = rows_in(facts)
    if not rows:
        return None
    best = front([_point(row) for row in rows])
    words = (
        f"Clean accuracy against robust accuracy of {len(rows)} students, with 95 % Wilson "
        f"intervals on both axes; {len(best)} of them are on the Pareto front: none other is at "
        "least as good at both. The numbers stand in the ranking."
    )
    size = (
        "Robust accuracy against multiply-accumulates an image, of the same students, with 95 % "
        "Wilson intervals. The numbers stand in the ranking."
    )
    if len(rows) > MOST:  # so that the front is whole
        rows = sorted(rows, key=lambda row: _point(row) not in best)
    rows, words = drawable(rows, words)
    height = 3.4 + 0.17 * ((len(rows) + 1) // 2)
    drawing = sketch(lambda canvas: _pareto(canvas, rows, best), height)
    figures = [Figure("Accuracy against robustness", drawing, words)]
    if len({row.record.model["macs"] for row in rows}) > 1:
        drawing = sketch(lambda canvas: _sizes(canvas, rows), height)
        figures.append(Figure("Robustness for its cost", drawing, size))
    return Block(figures=tuple(figures))


def _point(row: Row) -> Point:
    return 100 * row.record.clean.value, 100 * row.record.worst.value


def _pareto(canvas: Canvas, rows: Sequence[Row], best: Sequence[Point]) -> None:
    axes = canvas.add_subplot()
    axes.step(*zip(*best, strict=True), where="pre", color=TONES[-1], linewidth=1, zorder=1)
    for n, row in enumerate(rows):
        x, y = _point(row)
        axes.errorbar(
            [x],
            [y],
            xerr=arms(row.record.clean),
            yerr=arms(row.record.worst),
            **_style(row.label, n),
            alpha=1.0 if (x, y) in best else 0.5,
        )
    axes.set_xlabel("clean accuracy, %")
    _finish(canvas, axes)


def _sizes(canvas: Canvas, rows: Sequence[Row]) -> None:
    axes = canvas.add_subplot()
    for n, row in enumerate(rows):
        robust = row.record.worst
        x, y = row.record.model["macs"] / 1e6, 100 * robust.value
        axes.errorbar([x], [y], yerr=arms(robust), **_style(row.label, n))
    axes.set_xscale("log")
    spread = [row.record.model["macs"] / 1e6 for row in rows]
    ticks = [tick for tick in TICKS if min(spread) / 2 <= tick <= 2 * max(spread)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("multiply-accumulates an image, millions")
    _finish(canvas, axes)


def _style(label: str, n: int) -> dict[str, Any]:
    """A mark and a tone that no two of the first 77 rows share."""
    return {
        "fmt": MARKS[n % len(MARKS)],
        "color": TONES[n % len(TONES)],
        "label": named(label),
        "markersize": 4,
        "linewidth": 0.8,
    }


def _finish(canvas: Canvas, axes: Axes) -> None:
    axes.set_ylabel("robust accuracy, %")
    axes.grid(alpha=0.2)
    key_below(canvas, axes)


SECTIONS = (Section("tradeoffs", "Accuracy, robustness and cost", 20, tradeoffs),)
