"""Dose curves: how much must be planted before a student shows it?"""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.metrics.backdoor_transfer import dose
from robustbench_kd.reports.document import (
    Block,
    Facts,
    Figure,
    Section,
    Table,
    number,
    shown,
    word,
)
from robustbench_kd.reports.figures import MARKS, TONES, Axes, Canvas, key_below, named, sketch
from robustbench_kd.reports.sections.backdoor_transfer import found_in
from robustbench_kd.results.record import Share

Points = Sequence[tuple[float, Share, Share]]


def doses(facts: Facts) -> Block | str | None:
    """One drawing an attack, one line a student, dashed for the source."""
    found = found_in(facts)
    if not found:
        return None
    curves = dose(found)
    if not curves:
        return "dose curves: no attack was tried at more than one rate"
    by_attack: dict[str, dict[str, Points]] = {}
    for (attack, defense), points in sorted(curves.items()):
        by_attack.setdefault(attack, {})[defense] = points
    figures = tuple(_figure(attack, lines) for attack, lines in by_attack.items())
    lines = tuple(
        (
            word(attack),
            word(defense),
            number(rate, f"{100 * rate:.3g}"),
            shown(source),
            shown(student),
            number(student.count),
        )
        for (attack, defense), points in sorted(curves.items())
        for rate, source, student in points
    )
    heads = ("attack", "defense", "planted, %", "source", "student", "inputs")
    facets = ("attack", "defense")
    return Block(figures=figures, tables=(Table("Success by dose", heads, lines, facets, 2),))


def _figure(attack: str, lines: dict[str, Points]) -> Figure:
    words = (
        "Percent of submitted inputs answered as the adversary wanted, against the planted share "
        "of the training set, with 95 % Wilson intervals; dashed is the source."
    )
    height = 2.9 + 0.17 * (len(lines) // 2 + 1)
    return Figure(f"Dose: {attack}", sketch(lambda canvas: _draw(canvas, lines), height), words)


def _draw(canvas: Canvas, lines: dict[str, Points]) -> None:
    axes = canvas.add_subplot()
    for n, (defense, points) in enumerate(lines.items()):
        shares = [(100 * rate, student) for rate, _, student in points]
        _line(axes, shares, defense, TONES[n % len(TONES)], MARKS[n % len(MARKS)] + "-")
    source = [(100 * rate, share) for rate, share, _ in next(iter(lines.values()))]
    _line(axes, source, "source", TONES[-1], "--")
    axes.set_xscale("log")
    axes.set_xlabel("planted share of the training set, %")
    axes.set_ylabel("attack success, %")
    axes.set_ylim(-3, 103)
    rates = [rate for rate, _ in source]
    axes.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.2)
    key_below(canvas, axes)


def _line(
    axes: Axes, points: Sequence[tuple[float, Share]], name: str, tone: str, form: str
) -> None:
    shares = [share for _, share in points]
    low = [100 * (share.value - share.interval[0]) for share in shares]
    high = [100 * (share.interval[1] - share.value) for share in shares]
    axes.errorbar(
        [rate for rate, _ in points],
        [100 * share.value for share in shares],
        yerr=[low, high],
        fmt=form,
        color=tone,
        label=named(name),
        markersize=4,
        linewidth=1,
    )


SECTIONS = (Section("doses", "Dose curves", 42, doses),)
