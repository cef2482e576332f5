"""Attack success against the poisoned share of the training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._poisoning_rates import RatePoint, without_rate
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
    Axes,
    Canvas,
    error_bars,
    legend_below,
    short_label,
    sketch,
)
from robustbench_kd.reports.sections.backdoor_transfer import measures_success, of_model

DESCRIPTION = (
    "In percent, against the poisoned share of the training data, with 95 % intervals; dashed is "
    "the source, the model that the poison reached first."
)
Curves = Mapping[str, Sequence[RatePoint]]


def poisoning_rates(board: BoardRecords) -> Block | str | None:
    """A figure for each attack that was evaluated at several rates, with a line for each defense.

    All numbers stand in the table.
    """
    column = board.ranking.rank_by
    if not board.by_attack or not measures_success(column.metric):
        return None
    curves = curves_by_attack(board)
    if not curves:
        return "poisoning rates: no attack was evaluated at more than one rate"
    name = column.metric.name.replace("-", " ")
    rows = tuple(
        (
            text_cell(attack),
            text_cell(defense),
            number_cell(100 * point.rate, f"{100 * point.rate:.3g}"),
            share_cell(point.source),
            share_cell(point.student),
            number_cell(point.student.count),
        )
        for attack, by_defense in curves.items()
        for defense, points in by_defense.items()
        for point in points
    )
    heads = ("attack", "defense", "poisoned, %", f"{name} of source", f"{name} of student")
    title = f"{name.capitalize()} by poisoning rate"
    table = Table(title, (*heads, "samples"), rows, ("attack", "defense"), 1)
    figures = tuple(_figure(name, attack, lines) for attack, lines in curves.items())
    return Block(figures=figures, tables=(table,))


def curves_by_attack(board: BoardRecords) -> dict[str, dict[str, list[RatePoint]]]:
    """Attack without its rate -> defense -> points by rate, where there are several rates."""
    column = board.ranking.rank_by
    of_source = of_model(column.metric, "source")
    points: dict[tuple[str, str], list[RatePoint]] = {}
    for row in board.rows:
        source, student = of_source(row.group), row.estimate(column)
        if source is None or student is None:
            continue
        poison = row.record.poison
        point = RatePoint(poison["count"] / poison["train_size"], source, student)
        points.setdefault((without_rate(row.attack), row.label), []).append(point)
    curves: dict[str, dict[str, list[RatePoint]]] = {}
    for (attack, defense), by_rate in sorted(points.items()):
        if len({point.rate for point in by_rate}) > 1:
            curves.setdefault(attack, {})[defense] = sorted(by_rate, key=lambda point: point.rate)
    return curves


def _figure(name: str, attack: str, curves: Curves) -> Figure:
    height = 2.9 + 0.17 * (len(curves) // 2 + 1)
    svg = sketch(lambda canvas: _draw(canvas, name, curves), height)
    return Figure(f"{name.capitalize()} by poisoning rate: {attack}", svg, DESCRIPTION)


def _draw(canvas: Canvas, name: str, curves: Curves) -> None:
    axes = canvas.add_subplot()
    for place, (defense, points) in enumerate(curves.items()):
        style = {"fmt": MARKERS[place % len(MARKERS)] + "-", "color": TONES[place % len(TONES)]}
        _line(axes, points, [point.student for point in points], defense, style)
    points = next(iter(curves.values()))
    style = {"fmt": "--", "color": TONES[-1]}
    _line(axes, points, [point.source for point in points], "source", style)
    axes.set_xscale("log")
    axes.set_xlabel("poisoned share of the training data, %")
    axes.set_ylabel(f"{name}, %")
    axes.set_ylim(-3, 103)
    rates = sorted({100 * point.rate for points in curves.values() for point in points})
    axes.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.2)
    legend_below(canvas, axes)


def _line(
    axes: Axes,
    points: Sequence[RatePoint],
    shares: Sequence[Estimate],
    label: str,
    style: Mapping[str, Any],
) -> None:
    axes.errorbar(
        [100 * point.rate for point in points],
        [100 * share.value for share in shares],
        yerr=error_bars(shares),
        label=short_label(label),
        markersize=4,
        linewidth=1,
        **style,
    )


SECTIONS = (Section("rates", "Poisoning rates", 42, poisoning_rates),)
