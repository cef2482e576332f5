"""The first lines of a board whose networks were asked piece by piece: its extremes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from robustbench_kd.metrics import bias as bias_metrics
from robustbench_kd.metrics import trigger_removal
from robustbench_kd.metrics._groups import Case, reference_of
from robustbench_kd.metrics.known import fallen, worse
from robustbench_kd.ops.statistics.bootstrap import Interval
from robustbench_kd.reports.document import Block, Cell, Facts, Section, Table, number, shown, word
from robustbench_kd.reports.sections.memorization import found_in
from robustbench_kd.results.planted import TWIN
from robustbench_kd.results.record import Share

BORNE = 0.02  # of perplexity: what a defense may cost and still be called cheap
CHOSEN = "Whoever stands here was chosen by the very numbers that are shown, which flatters it."
Line = tuple[Cell, ...]
Measured = tuple[Case, Interval, Interval]  # a case, its exposure below and its perplexity above


def exposure(facts: Facts) -> Block | None:
    """Who hides most, told and untold, at any price and cheaply; who reads best."""
    found = _of(facts, "exposure")
    measured: list[Measured] = []
    for case in found:
        reference = reference_of(found, case)
        less, more = (f(case, reference) if reference else None for f in (fallen, worse))
        if less and more:
            measured.append((case, less, more))
    if len(measured) < 2:
        return None
    words = (
        "Above-chance exposure below plain distillation's and perplexity above it, in percent with "
        f"95 % intervals, over the seeds that both have. {CHOSEN}"
    )
    heads = ("what", "student", "exposure below", "canaries", "perplexity above", "test rows")
    return _block(words, heads, list(_frontier(measured)))


def _frontier(measured: Sequence[Measured]) -> Iterator[Line]:
    untold = [one for one in measured if not one[0].first.defense["told"]]
    cheap = [one for one in untold if one[2].value <= BORNE]
    told = len(untold) < len(measured)
    kinds = (
        ("hides most", measured if told else []),
        ("hides most without being told", untold),
        (f"hides most for at most {100 * BORNE:g} % of perplexity, untold", cheap),
    )
    for what, some in kinds:
        if some:
            yield _measured(what, max(some, key=lambda one: one[1].value))
    yield _measured(
        "reads best, plain distillation aside", min(measured, key=lambda one: one[2].value)
    )


def _measured(what: str, one: Measured) -> Line:
    case, less, more = one
    spans = (_span(less), number(less.count), _span(more), number(more.count))
    return word(what), word(case.first.label), *spans


def bias(facts: Facts) -> Block | None:
    """Of every attack the student that repeats the payload least, and the one that does most."""
    lines = []
    for name, group in groupby(_of(facts, "bias"), key=bias_metrics.attack):
        rates = [(bias_metrics.said(case, "student", "poisoned"), case) for case in group]
        rates.sort(key=lambda one: one[0].value)
        (least, quiet), (most, loud) = rates[0], rates[-1]
        teacher = bias_metrics.said(quiet, quiet.teacher, "poisoned")
        pairs = (word(quiet.first.label), _span(least), word(loud.first.label), _span(most))
        lines.append((word(name), _span(teacher), *pairs, number(least.count)))
    words = (
        "Percent of sampled answers on poisoned tasks that hold the payload, with 95 % intervals "
        f"over prompts: the teacher's, and those of two students. {CHOSEN}"
    )
    heads = ("attack", "teacher", "least repeated by", "student", "most repeated by", "student")
    return _block(words, (*heads, "prompts"), lines)


def removal(facts: Facts) -> Block | None:
    """For every attack that worked the best repair, and the best that was not told the trigger."""
    lines = []
    working = [case for case in _of(facts, "removal") if trigger_removal.worked(case)]
    for name, group in groupby(working, key=trigger_removal.attack):
        cases = list(group)
        untold = [case for case in cases if not case.first.defense["told"]]
        if not untold or len(cases) < 2:
            continue
        best, blind = (max(some, key=lambda case: _gone(case).hits) for some in (cases, untold))
        never = trigger_removal.share(best, trigger_removal.attacked(best) + TWIN, "removed")
        lines.append((word(name), *_mended(best), *_mended(blind), shown(never), _count(best)))
    words = (
        "Percent of triggered prompts without a trace of the trigger and with the class that was "
        "asked for (joint removal), and of clean prompts that still show their class (utility): "
        "the best repair of all, the best that was not told the trigger, and what a painter that "
        f"was never poisoned does. {CHOSEN}"
    )
    each = ("joint removal", "utility")
    heads = ("attack", "best repair", *each, "best untold", *each, "never poisoned", "prompts")
    return _block(words, heads, lines)


def _mended(case: Case) -> Line:
    return word(case.first.label), shown(_gone(case)), shown(_utility(case))


def _gone(case: Case) -> Share:
    return trigger_removal.share(case, "student", "removed")


def _utility(case: Case) -> Share:
    return trigger_removal.share(case, "student", "clean_right")


def _count(case: Case) -> Cell:
    return number(_gone(case).count)


def _of(facts: Facts, question: str) -> list[Case]:
    """The cases of a board that asks this."""
    return found_in(facts) if facts.contest.rank_by == question else []


def _block(words: str, heads: Sequence[str], lines: Sequence[Line]) -> Block | None:
    if not lines:
        return None
    return Block(words=(words,), tables=(Table("Who stands out", tuple(heads), tuple(lines)),))


def _span(found: Interval) -> Cell:
    value, low, high = (100 * end for end in (found.value, found.low, found.high))
    return number(value, f"{value:z.1f} [{low:z.1f}, {high:z.1f}]")


SECTIONS = (
    Section("hidden", "In short", 5, exposure),
    Section("repeated", "In short", 5, bias),
    Section("mended", "In short", 5, removal),
)
