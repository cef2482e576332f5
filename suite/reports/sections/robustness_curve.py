"""Robust accuracy against the radius of the ball, of students that were attacked at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Figure,
    Section,
    Table,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.drawing import (
    MARKERS,
    TONES,
    Canvas,
    drawable,
    legend_below,
    short_label,
    sketch,
)
from robustbench_kd.results.record import Record


class Point(NamedTuple):
    """Robust accuracy at one radius; no record stands behind the clean accuracy at radius 0."""

    eps: float
    robust: Estimate
    record: Record | None


Curves = Mapping[str, Sequence[Point]]


def curves(board: BoardRecords) -> Block | str | None:
    """A line for each student."""
    if board.leaderboard.poisons:
        return None
    lines = radius_curves(board)
    if not lines:
        return "robust accuracy against eps: no student was attacked at more than one radius"
    description = (
        f"Robust accuracy at each radius, of {len(lines)} students, with 95 % Wilson intervals; "
        "at radius 0 the clean accuracy. Accuracy that does not fall towards zero is a sign of "
        "masked gradients."
    )
    rows = tuple(
        (
            text_cell(name),
            number_cell(point.eps, f"{point.eps:g}"),
            share_cell(point.robust),
            number_cell(point.robust.count),
        )
        for name, points in lines.items()
        for point in points
    )
    names, description = drawable(list(lines), description)
    drawn = {name: lines[name] for name in names}
    height = 3.2 + 0.17 * ((len(drawn) + 1) // 2)
    svg = sketch(lambda canvas: _draw(canvas, drawn), height)
    table = Table("Robust accuracy by radius", ("student", "eps", "robust", "samples"), rows)
    figure = Figure("Robust accuracy against eps", svg, description)
    return Block(figures=(figure,), tables=(table,))


def radius_curves(board: BoardRecords) -> Curves:
    """The curves of a leaderboard's records."""
    return board.computed("radius curves", lambda: by_radius(board.records))


def by_radius(records: Sequence[Record]) -> dict[str, list[Point]]:
    """Student -> its points, from records of the same network, examples and panel."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if record.capability == "test_data":
            panel = ",".join(record.attacks)
            same = (record.threat["norm"], panel, str(record.data.get("ids")))
            student = (record.label, record.student["weights"])
            groups.setdefault((*student, *same, record.data["examples"]), []).append(record)
    lines: dict[str, list[Point]] = {}
    for members in sorted(groups.values(), key=lambda group: (group[0].label, group[0].seed)):
        by_eps = {record.threat["eps"]: record for record in members}
        if len(by_eps) < 2:
            continue
        points = [Point(eps, by_eps[eps].worst, by_eps[eps]) for eps in sorted(by_eps)]
        first = members[0]
        name = f"{first.label}@{first.seed}"
        name = f"{name} #{first.student['weights'][:6]}" if name in lines else name
        lines[name] = points if 0.0 in by_eps else [Point(0.0, first.clean, None), *points]
    return lines


def _draw(canvas: Canvas, lines: Curves) -> None:
    axes = canvas.add_subplot()
    for place, (name, points) in enumerate(lines.items()):
        x, tone = [point.eps for point in points], TONES[place % len(TONES)]
        axes.fill_between(
            x,
            [100 * point.robust.low for point in points],
            [100 * point.robust.high for point in points],
            color=tone,
            alpha=0.2,
            linewidth=0,
        )
        axes.plot(
            x,
            [100 * point.robust.value for point in points],
            MARKERS[place % len(MARKERS)] + "-",
            color=tone,
            label=short_label(name),
            markersize=4,
            linewidth=1,
        )
    axes.set_xlabel("eps")
    axes.set_ylabel("robust accuracy, %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.2)
    legend_below(canvas, axes)


SECTIONS = (Section("curve", "Robust accuracy against eps", 40, curves),)
