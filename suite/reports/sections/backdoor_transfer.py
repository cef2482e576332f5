"""What students inherit of attacks on training data: the table, the arrows, the dose curves."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.metrics.backdoor_transfer import Case, cases, inherited, note, others
from robustbench_kd.reports.document import Block, Cell, Facts, Figure, Section, Table, shown, word
from robustbench_kd.reports.figures import TONES, Canvas, arms, drawable, key_below, named, sketch
from robustbench_kd.results.planted import SCHEMA, TWIN, Planted, parse_planted, ratio, verdict

READS = {SCHEMA.partition("/")[0]: parse_planted}
HEADS = (
    *("attack", "defense", "source", "source's twin", "student", "student's twin", "control"),
    *("recovered", "source clean", "student clean", "inherited", "other seeds", "verdict"),
)


def found_in(facts: Facts) -> list[Case]:
    """The cases of the planted records."""
    return facts.once("cases", lambda: cases(facts.contest, facts.of(Planted)))


def heritage(facts: Facts, case: Case) -> str:
    """The inheritance with its interval, which takes a bootstrap."""
    return facts.once(("heritage", case.first.attack, case.first.label), lambda: inherited(case))


def table(facts: Facts) -> Block | None:
    """Every attack on every defense."""
    found = found_in(facts)
    if not found:
        return None
    lines = tuple(_line(facts, case) for case in found)
    facets = ("attack", "defense", "verdict")
    whole = Table(facts.contest.title, HEADS, lines, facets, lead=2)
    return Block(words=(note(facts.contest, found),), tables=(whole,))


def _line(facts: Facts, case: Case) -> tuple[Cell, ...]:
    first, source = case.first, case.first.source
    links = (facts.links.get(facts.body(record)["id"], "") for record in case.records[:1])
    said = -1.0 if case.pooled else ratio(first)
    return (
        word(first.attack),
        word(first.label, href=next(links)),
        *(shown(case.won(name)) for name in (source, source + TWIN)),
        *(shown(case.won(name)) for name in ("student", "student" + TWIN, "control")),
        shown(case.recovered("student")),
        *(shown(case.right(name)) for name in (source, "student")),
        word(heritage(facts, case), key=-1.0 if said is None else said),
        word(others(case)),
        word("trials" if case.pooled else verdict(first)),
    )


def arrows(facts: Facts) -> Block | None:
    """From the source to its student, for every attack."""
    found = found_in(facts)
    if not found:
        return None
    words = (
        "For every attack and defense, the adversary's success with the source (open circle) and "
        "with the student (filled), both with 95 % Wilson intervals; the cross is the student's "
        "clean twin, which nobody poisoned. The numbers stand in the table above."
    )
    drawn, words = drawable(found, words)
    drawing = sketch(lambda canvas: _arrows(canvas, drawn), 1.3 + 0.2 * len(drawn))
    return Block(figures=(Figure("From source to student", drawing, words),))


def _arrows(canvas: Canvas, found: Sequence[Case]) -> None:
    axes = canvas.add_subplot()
    for y, case in enumerate(found):
        source, student = case.won(case.first.source), case.won("student")
        ends = [100 * source.value, 100 * student.value]
        axes.plot(ends, [y, y], color=TONES[-1], linewidth=1, zorder=1)
        for share, tone, filled in ((source, TONES[1], False), (student, TONES[0], True)):
            label = {False: "source", True: "student"}[filled] if y == 0 else None
            axes.errorbar(
                [100 * share.value],
                [y],
                xerr=arms(share),
                fmt="o",
                color=tone,
                markerfacecolor=tone if filled else "none",
                markersize=4,
                linewidth=0.8,
                label=label,
            )
        twin = 100 * case.won("student" + TWIN).value
        mark = "student's clean twin" if y == 0 else None
        axes.plot([twin], [y], "x", color=TONES[2], markersize=4, label=mark)
    names = [named(case.first.attack, 24) + " > " + named(case.first.label, 18) for case in found]
    axes.set_yticks(range(len(found)), names, fontsize=7)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("attack success, %")
    axes.grid(alpha=0.2, axis="x")
    key_below(canvas, axes, 3)


SECTIONS = (
    Section("inheritance", "What students inherit", 12, table),
    Section("arrows", "From source to student", 22, arrows),
)
