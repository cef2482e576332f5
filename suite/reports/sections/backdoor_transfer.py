"""What a poison does to the model that it reached first, and what its student inherits of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._base import Metric
from robustbench_kd.reports.document import Block, BoardRecords, Figure, Section
from robustbench_kd.reports.drawing import (
    TONES,
    Axes,
    Canvas,
    drawable,
    error_bars,
    legend_below,
    short_label,
    sketch,
)
from robustbench_kd.reports.leaderboard import RankingRow


class Transfer(NamedTuple):
    """Success on the source, on the student, and on the student trained without the poison."""

    row: RankingRow
    source: Estimate
    student: Estimate
    clean: Estimate


def transfer(board: BoardRecords) -> Block | None:
    """An arrow from the source to its student, for every attack and defense."""
    metric = board.ranking.rank_by.metric
    if not board.by_attack or not measures_success(metric):
        return None
    models = [of_model(metric, name) for name in ("source", "student", "student.clean")]
    transfers = []
    for row in board.rows:
        source, student, clean = (model(row.group) for model in models)
        if source and student and clean:
            transfers.append(Transfer(row, source, student, clean))
    if not transfers:
        return None
    name = metric.name.replace("-", " ")
    lines, description = drawable(
        transfers,
        f"For every attack and defense the {name} of the source (open circle), the model that the "
        "poison reached first, and of the student (filled), both with 95 % intervals; the cross is "
        "the student's clean counterpart, trained without the poison. The numbers are those of "
        "the ranking.",
    )
    svg = sketch(lambda canvas: _draw(canvas, name, lines), 1.3 + 0.2 * len(lines))
    return Block(figures=(Figure("From source to student", svg, description),))


def measures_success(metric: Metric) -> bool:
    """Whether a metric is a share of what an adversary wants, of a model that can be named."""
    return hasattr(metric, "model") and metric.unit == "percent" and not metric.higher_is_better


def of_model(metric: Metric, model: str) -> Metric:
    """The same metric of another model."""
    return cast(Metric, replace(cast(Any, metric), model=model))


def _draw(canvas: Canvas, name: str, transfers: Sequence[Transfer]) -> None:
    axes = canvas.add_subplot()
    for y, pair in enumerate(transfers):
        ends = [100 * pair.source.value, 100 * pair.student.value]
        axes.plot(ends, [y, y], color=TONES[-1], linewidth=1, zorder=1)
        _point(axes, pair.source, y, "source", TONES[1], "none")
        _point(axes, pair.student, y, "student", TONES[0], TONES[0])
        label = "" if y else "student's clean counterpart"
        axes.plot([100 * pair.clean.value], [y], "x", color=TONES[2], markersize=4, label=label)
    labels = [
        f"{short_label(pair.row.attack, 24)} > {short_label(pair.row.label, 18)}"
        for pair in transfers
    ]
    axes.set_yticks(range(len(transfers)), labels, fontsize=7)
    axes.set_ylim(len(transfers) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel(f"{name}, %")
    axes.grid(alpha=0.2, axis="x")
    legend_below(canvas, axes, 3)


def _point(axes: Axes, share: Estimate, y: int, label: str, tone: str, fill: str) -> None:
    """A share with its interval; the legend names those of the first line."""
    axes.errorbar(
        [100 * share.value],
        [y],
        xerr=error_bars([share]),
        fmt="o",
        color=tone,
        markerfacecolor=fill,
        markersize=4,
        linewidth=0.8,
        label="" if y else label,
    )


SECTIONS = (Section("source", "From source to student", 22, transfer),)
