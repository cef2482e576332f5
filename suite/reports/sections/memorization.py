"""What networks know of what was planted piece by piece, and what it costs to hide it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import ModuleType

from robustbench_kd.metrics import bias, exposure, trigger_removal
from robustbench_kd.metrics._groups import Case, cases
from robustbench_kd.metrics.known import exposed, perplexity
from robustbench_kd.reports.document import Block, Cell, Facts, Figure, Row, Section, Table, word
from robustbench_kd.reports.figures import MARKS, TONES, Canvas, key_below, named, sketch
from robustbench_kd.reports.sections.provenance import sources
from robustbench_kd.results.probed import SCHEMA, Probed, parse_probed
from robustbench_kd.results.store import probed_path

READS = {SCHEMA.partition("/")[0]: parse_probed}
NUMBER = re.compile(r"-?\d+(\.\d+)?")


def found_in(facts: Facts) -> list[Case]:
    """The cases of the probed records."""
    return facts.once("probed", lambda: cases(facts.contest, facts.of(Probed)))


def table(facts: Facts) -> Block | None:
    """The board as its own module tells it."""
    found = found_in(facts)
    if not found:
        return None
    heads, texts = _told(facts)
    names = [head for head in ("attack", "defense") if head in heads]
    lines, place = [], heads.index("defense")
    for case, line in zip(found, texts, strict=True):
        cells = [_cell(text, head in names) for head, text in zip(heads, line, strict=True)]
        cells[place] = word(line[place], href=facts.links.get(facts.body(case.first)["id"], ""))
        lines.append(tuple(cells))
    whole = Table(facts.contest.title, heads, tuple(lines), tuple(names), lead=place + 1)
    return Block(words=(_view(facts).note(facts.contest, found),), tables=(whole,))


def frontier(facts: Facts) -> Block | str | None:
    """Exposure against perplexity: what a defense hides, and what it costs."""
    found = [case for case in found_in(facts) if case.first.typed("canary")]
    if not found:
        return "exposure frontier: no canary was planted" if found_in(facts) else None
    words = (
        "Mean exposure of the planted canaries in bits against perplexity on the test text, of "
        f"{len(found)} students, with 95 % intervals on both axes; down and left is better. The "
        "numbers stand in the table."
    )
    height = 3.2 + 0.17 * ((len(found) + 1) // 2)
    drawing = sketch(lambda canvas: _frontier(canvas, found), height)
    return Block(figures=(Figure("Exposure against perplexity", drawing, words),))


def pages(facts: Facts) -> list[Row]:
    """A page for every row."""
    found = found_in(facts)
    heads, lines = _told(facts) if found else ((), [])
    return [_page(facts, case, heads, texts) for case, texts in zip(found, lines, strict=True)]


def _page(facts: Facts, case: Case, heads: Sequence[str], texts: Sequence[str]) -> Row:
    lines = tuple((word(head), word(text)) for head, text in zip(heads, texts, strict=True) if text)
    short = Table("In short", ("what", "found"), lines)
    words = (_view(facts).note(facts.contest, [case]),)
    blocks = (
        ("Summary", Block(words=words, tables=(short,))),
        ("Provenance", sources(facts, case.records)),
    )
    slug = probed_path(case.first, facts.path(case.first).parent).stem
    attack = f"{next(iter(case.first.attacks))} on " if len(case.first.attacks) == 1 else ""
    return Row(slug, attack + case.first.label, case.records, blocks)


def _view(facts: Facts) -> ModuleType:
    return {"exposure": exposure, "bias": bias, "removal": trigger_removal}[facts.contest.rank_by]


def _told(facts: Facts) -> tuple[tuple[str, ...], list[list[str]]]:
    """Heads and lines of the whole board; intervals take a while, so that pages share them."""
    heads, lines = facts.once("told", lambda: _view(facts).cells(found_in(facts)))
    return tuple(heads), lines


def _cell(text: str, name: bool) -> Cell:
    """A field that sorts by its first number, where it is no name."""
    first = None if name else NUMBER.match(text)
    return word(text, key=float(first[0]) if first else None)


def _frontier(canvas: Canvas, found: Sequence[Case]) -> None:
    axes = canvas.add_subplot()
    for n, case in enumerate(found):
        x, y = perplexity(case, "student"), exposed(case, "student")
        axes.errorbar(
            [x.value],
            [y.value],
            xerr=[[x.value - x.low], [x.high - x.value]],
            yerr=[[y.value - y.low], [y.high - y.value]],
            fmt=MARKS[n % len(MARKS)],
            color=TONES[n % len(TONES)],
            label=named(case.first.label),
            markersize=4,
            linewidth=0.8,
        )
    axes.set_xlabel("perplexity on the test text")
    axes.set_ylabel("exposure, bits")
    axes.grid(alpha=0.2)
    key_below(canvas, axes)


def _about(question: str) -> Callable[[Facts], Block | None]:
    """The table where it answers this question."""
    return lambda facts: table(facts) if facts.contest.rank_by == question else None


SECTIONS = (
    Section("exposure", "What was exposed", 12, _about("exposure")),
    Section("bias", "What students repeat", 12, _about("bias")),
    Section("removal", "What repairs remove", 12, _about("removal")),
    Section("frontier", "Exposure frontier", 44, frontier),
)
ROWS = (pages,)
