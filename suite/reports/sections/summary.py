"""A board in a few lines, for whoever reads no further: who stands out, and beside whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from statistics import median

from robustbench_kd.metrics.backdoor_transfer import Case
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided, tango
from robustbench_kd.ops.statistics.power import detectable
from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.document import Block, Cell, Facts, Section, Table, number, shown, word
from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.reports.sections.backdoor_transfer import found_in
from robustbench_kd.reports.sections.ranking import board_in
from robustbench_kd.reports.sections.robustness_transfer import families
from robustbench_kd.results.record import Record, Share

HEADS = ("what", "student", "share", "beside", "points above it", "p", "examples")
SAFETY = ("safest student", "obeys", "its source"), ("least safe student", "obeys", "its source")
CHOSEN = (
    "Whoever stands here was chosen by the very numbers that are shown, which flatters the winner; "
    "the other seeds in the table below say by how much."
)
Line = tuple[Cell, ...]


def evasions(facts: Facts) -> Block | None:
    """Who is most robust, with a teacher and without; what that costs; what a teacher gave."""
    board = board_in(facts)
    rows = [row for row in board.rows if not row.record.doubts] if board else []
    if len(rows) < 2:
        return None
    count, attacks = rows[0].record.worst.count, len(facts.contest.panel) - 1
    ball = f"{facts.contest.budget.kind.capitalize()} {facts.contest.budget.amount:g}"
    words = (
        f"{len(rows)} students without a doubt, {count:,} images, {ball}, {attacks} attacks. "
        f"{sight(rows)} Shares are percent of the images, differences are paired image by image, "
        f"p is exact and two-sided. {CHOSEN}"
    )
    table = Table("Who stands out", HEADS, tuple(standouts(facts, rows)))
    line = signature(board) if board else ""
    return Block(words=(words,), tables=(table,), codes=(line,))


def sight(rows: Sequence[Row]) -> str:
    """What so many images can show of two rows that change places as neighbours here do."""
    count = rows[0].record.worst.count
    pairs = (discordant(a.record.flags, b.record.flags) for a, b in pairwise(rows))
    least = detectable(count, median(min(pair) for pair in pairs) / count)
    if least is None:
        return "So few images show no difference between two students."
    seen = f"So many images show a difference of {100 * least:.1f} points in four cases of five"
    return f"{seen} (one-sided, 5 %)."


def standouts(facts: Facts, rows: Sequence[Row]) -> Iterator[Line]:
    """The lines of the table; one that has nobody to speak of is left out."""
    best, second = rows[0], rows[1]
    yield _line("most robust", best, second, best.record.flags, second.record.flags)
    taught = next((row for row in rows if row.record.teachers), None)
    alone = next((row for row in rows if not row.record.teachers), None)
    if taught and alone:
        flags = taught.record.flags, alone.record.flags
        yield _line("most robust with a teacher, beside the best without", taught, alone, *flags)
    exact = max(rows, key=lambda row: row.record.clean.hits)
    if exact is not best:
        plain = (row.record.cell("untouched").flags for row in (exact, best))
        yield _line("most accurate, beside the most robust", exact, best, *plain)
    small = min(rows, key=lambda row: row.record.model["macs"])
    if small.record.model["macs"] < best.record.model["macs"]:
        flags = small.record.flags, best.record.flags
        yield _line("least costly, beside the most robust", small, best, *flags)
    if heir := _heir(facts, rows):
        teacher, student = heir
        flags = student.flags, teacher.flags
        yield _line("nearest to its teacher, beside the teacher", student, teacher, *flags)


def _heir(facts: Facts, rows: Sequence[Row]) -> tuple[Record, Record] | None:
    """(teacher, student) of the student that keeps most of a teacher that is robust at all."""
    own = [row.record for row in rows]
    pairs = [
        (teacher, student)
        for _, teacher, student in families(facts.of(Record))
        if any(student is record for record in own) and teacher.worst.hits
    ]

    def kept(pair: tuple[Record, Record]) -> float:
        teacher, student = pair
        both = sum(a and b for a, b in zip(teacher.flags, student.flags, strict=True))
        return both / teacher.worst.hits

    return max(pairs, key=kept, default=None)


def _line(
    what: str, one: Row | Record, other: Row | Record, mine: Sequence[bool], theirs: Sequence[bool]
) -> Line:
    lost, won = discordant(mine, theirs)
    low, high = tango(lost, won, len(mine))
    gap, p = 100 * (lost - won) / len(mine), mcnemar_two_sided(lost, won)
    return (
        word(what),
        word(one.label),
        shown(Share(sum(mine), len(mine))),
        word(other.label),
        number(gap, f"{gap:z.1f} [{100 * low:z.1f}, {100 * high:z.1f}]"),
        number(p, f"{p:.2g}"),
        number(len(mine)),
    )


def implants(facts: Facts) -> Block | None:
    """Of every attack on training data the student that obeys least, and the one that does most."""
    found = found_in(facts)
    groups = [list(group) for _, group in groupby(found, key=lambda case: case.first.attack)]
    if not any(len(group) > 1 for group in groups):
        return None
    words = (
        f"{len(groups)} attacks on training data; percent of the submitted inputs that are "
        "answered as the adversary wanted, with 95 % Wilson intervals: by the student that obeys "
        "least and the one that obeys most, by what each of them learnt from, and by the "
        f"undistilled control. {CHOSEN}"
    )
    heads = ("attack", *SAFETY[0], *SAFETY[1], "control", "students", "inputs")
    lines = tuple(_extremes(group) for group in groups)
    return Block(words=(words,), tables=(Table("The extremes of every attack", heads, lines),))


def _extremes(group: Sequence[Case]) -> Line:
    ranked = sorted(group, key=lambda case: case.won("student").value)
    safe = ranked[0]
    others = _obeys(ranked[-1]) if len(ranked) > 1 else (word(""),) * 3
    return (
        word(safe.first.attack),
        *_obeys(safe),
        *others,
        shown(safe.won("control")),
        number(len(group)),
        number(safe.won("student").count),
    )


def _obeys(case: Case) -> Line:
    """A student, how often it obeys, and how often its source does."""
    return word(case.first.label), shown(case.won("student")), shown(case.won(case.first.source))


SECTIONS = (
    Section("summary", "In short", 5, evasions),
    Section("extremes", "In short", 5, implants),
)
