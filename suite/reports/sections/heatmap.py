"""Which attack breaks which student: a map of attacks and defenses, with the worst case."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.reports.document import Block, Facts, Figure, Section, Table, shown, word
from robustbench_kd.reports.figures import Canvas, drawable, named, sketch
from robustbench_kd.reports.sections.backdoor_transfer import found_in
from robustbench_kd.reports.sections.ranking import rows_in
from robustbench_kd.results.record import Share

Grid = Sequence[tuple[str, Sequence[Share | None]]]


def evasions(facts: Facts) -> Block | None:
    """Accuracy under each attack."""
    rows = rows_in(facts)
    if not rows:
        return None
    names = [cell.attack for cell in rows[0].record.cells]
    grid = []
    for row in rows:
        by_name = {cell.attack: cell.share for cell in row.record.cells}
        grid.append((row.label, [*(by_name.get(name) for name in names), row.record.worst]))
    words = (
        "Percent of the images answered right under each attack, student by student, the most "
        "robust on top; the last column is the worst case over all attacks, image by image."
    )
    return mapped("Accuracy under attack", [*names, "worst case"], grid, words)


def implants(facts: Facts) -> Block | None:
    """The adversary's success with each student."""
    found = found_in(facts)
    if not found:
        return None
    names = list(dict.fromkeys(case.first.attack for case in found))
    won = {(case.first.label, case.first.attack): case.won("student") for case in found}
    labels = sorted({label for label, _ in won})
    grid = [(label, [won.get((label, name)) for name in names]) for label in labels]
    words = (
        "Percent of the submitted test inputs that the student answers as the adversary wanted; "
        "a dash where the defense was not tried on the attack."
    )
    return mapped("Success of attacks on training data", names, grid, words)


def mapped(title: str, names: Sequence[str], grid: Grid, words: str) -> Block:
    """A map of shares and the table of its numbers; ``names`` are the columns'."""
    lines = tuple((word(label), *(shown(share) for share in shares)) for label, shares in grid)
    longest = max(len(named(name, 26)) for name in names)
    drawn, words = drawable(grid, words)
    height = 0.9 + 0.045 * longest + 0.25 * len(drawn)
    return Block(
        figures=(Figure(title, sketch(lambda canvas: _map(canvas, names, drawn), height), words),),
        tables=(Table(f"{title}: the numbers, with intervals", ("defense", *names), lines),),
    )


def _map(canvas: Canvas, names: Sequence[str], grid: Grid) -> None:
    axes = canvas.add_subplot()
    values = [[100 * s.value if s else float("nan") for s in shares] for _, shares in grid]
    axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            missing = value != value
            text = "-" if missing else f"{value:.0f}"
            colour = None if missing else "#ffffff" if value < 50 else "#000000"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(names)), [named(name, 26) for name in names], rotation=40, ha="right")
    axes.set_yticks(range(len(grid)), [named(label, 28) for label, _ in grid])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


SECTIONS = (
    Section("heat", "Attacks and defenses", 30, evasions),
    Section("implants", "Attacks and defenses", 30, implants),
)
