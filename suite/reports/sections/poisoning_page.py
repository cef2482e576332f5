"""The page of one attack on one defense: every network that tells its story, and every seed."""

from __future__ import annotations

from robustbench_kd.metrics.backdoor_transfer import Case, note
from robustbench_kd.reports.document import (
    Block,
    Cell,
    Facts,
    Row,
    Table,
    listed,
    number,
    shown,
    word,
)
from robustbench_kd.reports.sections.backdoor_transfer import found_in, heritage
from robustbench_kd.reports.sections.provenance import sources
from robustbench_kd.reports.sections.triggered_inputs import NOTE, SHOWN, submitted
from robustbench_kd.results.planted import TWIN, accuracy, recovered, success, verdict
from robustbench_kd.results.store import planted_path

HEADS = ("network", "answered as wanted", "answered right all the same", "inputs")


def pages(facts: Facts) -> list[Row]:
    """A page for every attack on every defense."""
    return [_page(facts, case) for case in found_in(facts)]


def _page(facts: Facts, case: Case) -> Row:
    first = case.first
    drawn = submitted(facts, first, 2 * SHOWN)
    inputs = Block(words=(NOTE,), pictures={first.attack: drawn} if drawn else {})
    blocks = (
        ("Summary", _summary(facts, case)),
        ("Every network", networks(case)),
        ("Every seed", _seeds(case)),
        *([("Submitted inputs", inputs)] if inputs.pictures else []),
        ("Provenance", sources(facts, case.records)),
    )
    slug = planted_path(first, facts.path(first).parent).stem
    return Row(slug, f"{first.attack} on {first.label}", case.records, blocks)


def _summary(facts: Facts, case: Case) -> Block:
    first = case.first
    planted = first.planted
    said = (
        f"Inherited: {heritage(facts, case)}. Planted {planted['planted']:,} of {planted['of']:,} "
        f"training inputs ({100 * planted['planted'] / planted['of']:.3g} %), behind the door of "
        f"the {first.door}; settings: {listed(first.settings)}."
    )
    return Block(words=(said, note(facts.contest, [case])))


def networks(case: Case) -> Block:
    """Student, control, teachers and their clean twins: what each answers."""
    first = case.first
    names = sorted(first.subjects, key=lambda name: (name.removesuffix(TWIN), name))
    lines: list[tuple[Cell, ...]] = []
    plain: list[tuple[Cell, ...]] = []
    for name in names:
        source = " (the source)" if name == first.source else ""
        won, right = case.won(name), case.right(name)
        lines.append(
            (word(name + source), shown(won), shown(case.recovered(name)), number(won.count))
        )
        plain.append((word(name + source), shown(right), number(right.count)))
    heads = ("network", "answered right", "inputs")
    submitted = Table("Asked about the submitted inputs", HEADS, tuple(lines))
    return Block(tables=(submitted, Table("Asked about the plain inputs", heads, tuple(plain))))


def _seeds(case: Case) -> Block:
    lines = tuple(
        (
            number(record.seed, str(record.seed)),
            shown(success(record, record.source)),
            shown(success(record, "student")),
            shown(recovered(record, "student")),
            shown(accuracy(record, "student")),
            word(verdict(record)),
            number(record.wins),
        )
        for record in case.records
    )
    heads = ("seed", "source", "student", "recovered", "student clean", "verdict", "inputs")
    return Block(tables=(Table("Each seed by itself", heads, lines),))


ROWS = (pages,)
