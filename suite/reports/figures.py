"""Figures that stand alone, each of one leaderboard, as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.metrics._canaries import formats_of
from robustbench_kd.metrics._poisoning_rates import RatePoint, poisoning_curves
from robustbench_kd.metrics._share import role_of
from robustbench_kd.metrics.attack_success import AttackSuccess
from robustbench_kd.metrics.exposure import Exposure
from robustbench_kd.metrics.perplexity import Perplexity
from robustbench_kd.ops.privacy.exposure import CHANCE
from robustbench_kd.reports.drawing import (
    COLOURS,
    MARKERS,
    Axes,
    canvases,
    error_bars,
    legend_below,
    plain_label,
    svg_of,
)
from robustbench_kd.results.groups import SeedGroup, reference_of, seed_groups
from robustbench_kd.results.record import Record

Curves = Mapping[tuple[str, str], Sequence[RatePoint]]
TICKS = (-1, 0, 1, 2, 10, 100)
"""Of the perplexity increase, in percent: most students lie within two, and a few far beyond."""


def draw(kind: str, leaderboard: Leaderboard, records: Sequence[Record]) -> bytes:
    """What the records of a leaderboard show, as one SVG.

    Args:
        kind: ``pareto``, robust accuracy against compute; ``poisoning-rate``, attack success
            against the poisoned share of the training data; ``utility``, exposure of canaries
            against perplexity.

    Raises:
        NothingEvaluated: where the records hold nothing of the kind.
    """
    return KINDS[kind](leaderboard, records)


def success_curves(groups: Sequence[SeedGroup]) -> Curves:
    """Attack and defense -> attack success at each poisoning rate, where there are several.

    Groups without attack success, or without a model that the poison reached first, are left out.
    """
    success = AttackSuccess()
    return poisoning_curves(
        [group for group in groups if success.available(group.first) and role_of(group, "source")]
    )


def _pareto(leaderboard: Leaderboard, records: Sequence[Record]) -> bytes:
    """Families of students as lines, other students as points, and the Pareto front in grey."""
    families: dict[str, list[tuple[float, Estimate]]] = {}
    for record in records:
        macs = record.student.get("macs")
        if record.capability == "test_data" and macs is not None:
            families.setdefault(record.defense["name"], []).append((macs / 1e6, record.worst))
    if not families:
        raise NothingEvaluated(
            f"no record of {leaderboard.name} is about attacks on test data and says how many MACs "
            "its student has"
        )

    def fill(axes: Axes) -> None:
        for place, (name, points) in enumerate(sorted(families.items())):
            points.sort(key=lambda point: point[0])
            x, shares = [macs for macs, _ in points], [share for _, share in points]
            _line(axes, name, x, shares, place, joined=len(set(x)) > 1)
        every = [(x, 100 * share.value) for points in families.values() for x, share in points]
        axes.step(*zip(*_front(every), strict=True), where="post", color="0.7", zorder=0)
        axes.set_xscale("log")
        axes.set_xlabel("multiply-accumulates per image, millions")
        axes.set_ylabel("robust accuracy, %")

    return _with_legend(leaderboard.title, fill)


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points than which no other is both cheaper and better, from left to right."""
    front: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _poisoning_rate(leaderboard: Leaderboard, records: Sequence[Record]) -> bytes:
    """A line for each attack and student; dashed for the model that the poison reached first."""
    curves = success_curves(seed_groups(leaderboard, records))
    if not curves:
        raise NothingEvaluated(
            "attack success against the poisoning rate needs records of one attack at two rates, "
            "such as badnets and badnets:rate=0.01"
        )

    def fill(axes: Axes) -> None:
        sources: dict[str, Sequence[RatePoint]] = {}
        for place, ((attack, defense), points) in enumerate(sorted(curves.items())):
            shares = [point.student for point in points]
            name = f"{attack}, {defense}"
            _line(axes, name, [100 * p.rate for p in points], shares, place, joined=True)
            sources.setdefault(attack, points)
        for attack, points in sources.items():
            x = [100 * point.rate for point in points]
            y = [100 * point.source.value for point in points]
            axes.plot(x, y, "--", color="#777777", linewidth=1)
            name = plain_label(f"{attack}, source")
            axes.annotate(name, (x[0], y[0]), fontsize=7, color="#555555")
        axes.set_xscale("log")
        axes.set_xlabel("poisoned share of the training set, %")
        axes.set_ylabel("attack success, %")

    return _with_legend(leaderboard.title, fill)


def _utility(leaderboard: Leaderboard, records: Sequence[Record]) -> bytes:
    """A panel for each format of canaries; down and left is better.

    Perplexity is given above that of plain distillation, in percent; no interval is drawn on it.
    """
    metrics = (Exposure(), Perplexity())
    groups = [
        group
        for group in seed_groups(leaderboard, records)
        if all(metric.available(record) for metric in metrics for record in group.records)
    ]
    if not groups:
        raise NothingEvaluated(
            f"no record of {leaderboard.name} holds both the exposure of canaries and perplexity; "
            "see: text-privacy"
        )
    formats = formats_of(groups[0].first)
    base = _perplexity(reference_of(groups, groups[0]) or groups[0])
    with canvases() as canvas_of:
        canvas = canvas_of((3 * len(formats) + 1, 4.2 + 0.16 * len(groups) / 2))
        panels = canvas.subplots(1, len(formats), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, formats, strict=True):
            for place, group in enumerate(groups):
                exposure = Exposure(format=name)(group)
                if exposure is not None:
                    _point(axes, group.label, _perplexity(group) / base - 1, exposure, place)
            axes.axhline(CHANCE, color="0.5", linewidth=0.8, linestyle=":")
            axes.set_title(plain_label(name), fontsize=9)
            axes.set_xscale("symlog", linthresh=2)
            axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
            axes.minorticks_off()
            axes.margins(x=0.1)
            axes.set_xlabel("perplexity above plain distillation, %")
            axes.grid(alpha=0.25)
        panels[0].set_ylabel("mean exposure of inserted canaries, bits")
        canvas.suptitle(plain_label(leaderboard.title), fontsize=10)
        legend_below(canvas, panels[0], columns=3)
        return svg_of(canvas, transparent=False)


def _perplexity(group: SeedGroup) -> float:
    estimate = Perplexity()(group)
    assert estimate is not None  # of students that have test text
    return estimate.value


def _point(axes: Axes, label: str, increase: float, exposure: Estimate, place: int) -> None:
    axes.errorbar(
        [100 * increase],
        [exposure.value],
        yerr=error_bars([exposure], scale=1),
        fmt=MARKERS[place % len(MARKERS)],
        color=COLOURS[place % len(COLOURS)],
        label=plain_label(label),
        markersize=4,
        linewidth=0.8,
    )


def _line(
    axes: Axes, name: str, x: Sequence[float], shares: Sequence[Estimate], place: int, joined: bool
) -> None:
    """Shares with their Wilson intervals."""
    axes.errorbar(
        x,
        [100 * share.value for share in shares],
        yerr=error_bars(shares),
        fmt=MARKERS[place % len(MARKERS)] + ("-" if joined else ""),
        color=COLOURS[place % len(COLOURS)],
        label=plain_label(name),
        markersize=4,
        linewidth=1,
        capsize=2,
    )


def _with_legend(title: str, fill: Callable[[Any], None]) -> bytes:
    """One pair of axes with a title and a legend on the right."""
    with canvases() as canvas_of:
        canvas = canvas_of((7.5, 4.5))
        axes = canvas.add_subplot()
        fill(axes)
        axes.set_title(plain_label(title), fontsize=10)
        axes.grid(alpha=0.25)
        # Handed over with their names, since a name like _this would be left out otherwise.
        handles: list[Any] = list(axes.containers)
        axes.legend(
            handles,
            [handle.get_label() for handle in handles],
            fontsize=7,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
        )
        return svg_of(canvas, transparent=False)


KINDS: Mapping[str, Callable[[Leaderboard, Sequence[Record]], bytes]] = {
    "pareto": _pareto,
    "poisoning-rate": _poisoning_rate,
    "utility": _utility,
}
