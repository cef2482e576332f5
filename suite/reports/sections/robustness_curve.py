"""Robust accuracy against the radius of the ball, where one student was tried at several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
from robustbench_kd.reports.figures import MARKS, TONES, Canvas, drawable, key_below, named, sketch
from robustbench_kd.results.record import Record, Share

Point = tuple[float, Share, Record | None]  # at radius zero no record stands behind it
Curves = Mapping[str, Sequence[Point]]


def curves(facts: Facts) -> Block | str | None:
    """One line a student; at radius zero stands the clean accuracy."""
    found = curves_in(facts)
    if not facts.of(Record):
        return None
    if not found:
        return "robust accuracy against eps: no student was tried at more than one radius"
    words = (
        f"The worst case over the panel at each radius, of {len(found)} students, with 95 % Wilson "
        "intervals; at radius 0 stands the clean accuracy. An honest curve falls towards zero."
    )
    lines = tuple(
        (
            word(name, href=facts.links.get(facts.body(record)["id"], "") if record else ""),
            number(eps, f"{eps:g}"),
            shown(share),
            number(share.count),
        )
        for name, points in found.items()
        for eps, share, record in points
    )
    names, words = drawable(list(found), words)
    drawn = {name: found[name] for name in names}
    height = 3.2 + 0.17 * ((len(drawn) + 1) // 2)
    table = Table("Robust accuracy by radius", ("student", "eps", "robust", "images"), lines)
    figure = Figure("Robust accuracy against eps", sketch(lambda c: _draw(c, drawn), height), words)
    return Block(figures=(figure,), tables=(table,))


def curves_in(facts: Facts) -> Curves:
    """The curves of a board's records."""
    return facts.once("curves", lambda: by_radius(facts.of(Record)))


def by_radius(records: Sequence[Record]) -> dict[str, list[Point]]:
    """Student -> its points, from records that ask the same of the same network."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        panel = ",".join(cell.attack for cell in record.cells)
        same = (record.threat["norm"], panel, record.data["ids"], record.data["examples"])
        groups.setdefault((record.label, record.model["weights"], *same), []).append(record)
    found: dict[str, list[Point]] = {}
    for members in sorted(groups.values(), key=lambda some: (some[0].label, some[0].seed)):
        by_eps = {record.threat["eps"]: record for record in members}
        if len(by_eps) < 2:
            continue
        points: list[Point] = [(eps, by_eps[eps].worst, by_eps[eps]) for eps in sorted(by_eps)]
        name = f"{members[0].label}@{members[0].seed}"
        name = f"{name} #{members[0].model['weights'][:6]}" if name in found else name
        found[name] = points if 0.0 in by_eps else [(0.0, members[0].clean, None), *points]
    return found


def _draw(canvas: Canvas, found: Curves) -> None:
    axes = canvas.add_subplot()
    for n, (name, points) in enumerate(found.items()):
        x, shares = [eps for eps, *_ in points], [share for _, share, _ in points]
        tone = TONES[n % len(TONES)]
        bounds = [share.interval for share in shares]
        axes.fill_between(
            x,
            [100 * low for low, _ in bounds],
            [100 * high for _, high in bounds],
            color=tone,
            alpha=0.2,
            linewidth=0,
        )
        axes.plot(
            x,
            [100 * share.value for share in shares],
            MARKS[n % len(MARKS)] + "-",
            color=tone,
            label=named(name),
            markersize=4,
            linewidth=1,
        )
    axes.set_xlabel("eps")
    axes.set_ylabel("robust accuracy, %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.2)
    key_below(canvas, axes)


SECTIONS = (Section("curve", "Robust accuracy against eps", 40, curves),)
