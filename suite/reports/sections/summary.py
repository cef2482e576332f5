"""A leaderboard in a few lines, for whoever reads no further: what stands out, and beside what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from robustbench_kd.metrics._trigger_removal import measures_removal, trigger_works
from robustbench_kd.ops.statistics.power import detectable
from robustbench_kd.reports.admission import ORACLE
from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.columns import MetricColumn
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    Section,
    Table,
    count_cell,
    metric_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.paired_tables import bits_cells
from robustbench_kd.reports.sections.backdoor_transfer import of_model
from robustbench_kd.reports.sections.pairwise import attack_cells, contests
from robustbench_kd.reports.sections.robustness_transfer import TeacherPair, outcomes, teacher_pairs
from robustbench_kd.results.record import CLEAN, Bits

CAPTION = "What stands out"
HEADS = ("what", "defense", "share", "beside", "points above it", "p", "samples")
CHOSEN = (
    "Rows were chosen by the numbers that are shown, which flatters the best of them; other seeds "
    "in the ranking say by how much."
)
COST = "perplexity-increase"
CHEAP = 0.02
"""The perplexity increase up to which a defense is called cheap."""
COSTS = ("clean-accuracy", "utility", COST)
"""Metrics that say what a defense costs."""
Line = tuple[Cell, ...]


def summary(board: BoardRecords) -> Block | None:
    """The rows that stand out, of those without warnings; None below two rows."""
    rows = [row for row in board.ranking.rows if not row.warnings]
    return _extremes(board, rows) if board.leaderboard.poisons else _standouts(board, rows)


def _standouts(board: BoardRecords, rows: Sequence[RankingRow]) -> Block | None:
    """The most robust student and others, each compared in pairs with another."""
    if len(rows) < 2:
        return None
    leaderboard, count = board.leaderboard, rows[0].record.robust.count
    budget = f"{leaderboard.budget.kind.capitalize()} {leaderboard.budget.amount:g}"
    paragraph = (
        f"{len(rows)} students without warnings, {count:,} images, {budget}, "
        f"{len(rows[0].record.attack_labels)} attacks. {_detectable(rows)} Shares are percent of "
        "the images, differences are paired image by image, p is McNemar's, exact and two-sided. "
        f"{CHOSEN}"
    )
    table = Table(CAPTION, HEADS, tuple(_pairs(board, rows)))
    return Block(paragraphs=(paragraph,), tables=(table,), commands=(signature(board.ranking),))


def _detectable(rows: Sequence[RankingRow]) -> str:
    """What so many images can show of two rows that differ as neighbours here do."""
    count = rows[0].record.robust.count
    smaller = []
    for first, second in pairwise(rows):
        one, other = first.record.robust.number, second.record.robust.number
        smaller.append(min((one & ~other).bit_count(), (other & ~one).bit_count()))
    least = detectable(count, median(smaller) / count)
    if least is None:
        return "So few images show no difference between two students."
    return (
        f"So many images show a difference of {100 * least:.1f} points in four cases of five "
        "(one-sided, 5 %)."
    )


def _pairs(board: BoardRecords, rows: Sequence[RankingRow]) -> Iterator[Line]:
    """The lines of the table; what no row is remarkable for is left out."""
    best = rows[0]
    yield _robust_line("most robust", best, rows[1])
    with_teacher = next((row for row in rows if _has_teacher(row)), None)
    without_teacher = next((row for row in rows if not _has_teacher(row)), None)
    if with_teacher and without_teacher:
        yield _robust_line(
            "most robust with a teacher, beside the best without", with_teacher, without_teacher
        )
    accurate = max(rows, key=lambda row: row.record.clean.value)
    if accurate is not best:
        clean = [row.record.bits(CLEAN, "student", "correct") for row in (accurate, best)]
        labels = accurate.label, best.label
        yield _line("most accurate, beside the most robust", *labels, *clean)
    with_macs = [row for row in rows if row.record.student.get("macs")]
    if best in with_macs:
        small = min(with_macs, key=lambda row: row.record.student["macs"])
        if small.record.student["macs"] < best.record.student["macs"]:
            yield _robust_line("least costly, beside the most robust", small, best)
    if pair := _nearest_to_teacher(board, rows):
        labels = pair.student.label, pair.teacher.label
        flags = pair.student.robust, pair.teacher.robust
        yield _line("nearest to its teacher, beside the teacher", *labels, *flags)


def _has_teacher(row: RankingRow) -> bool:
    return any(role.startswith("teacher-") for role in row.record.models)


def _nearest_to_teacher(board: BoardRecords, rows: Sequence[RankingRow]) -> TeacherPair | None:
    """The student that keeps most of the samples on which its teacher is robust."""
    students = {id(row.record) for row in rows}
    pairs = [
        pair
        for pair in teacher_pairs(board.records)
        if id(pair.student) in students and pair.teacher.worst.hits
    ]
    return max(pairs, key=lambda pair: outcomes(pair)[0] / pair.teacher.worst.value, default=None)


def _robust_line(what: str, row: RankingRow, beside: RankingRow) -> Line:
    return _line(what, row.label, beside.label, row.record.robust, beside.record.robust)


def _line(what: str, label: str, beside: str, flags: Bits, others: Bits) -> Line:
    names = text_cell(what), text_cell(label), share_cell(flags.share), text_cell(beside)
    difference, p, samples = bits_cells(flags, others)[-3:]
    return (*names, difference, p, samples)


def _extremes(board: BoardRecords, rows: Sequence[RankingRow]) -> Block | None:
    """The best and the worst row under every attack on training data, and what they cost."""
    candidates = [
        row for row in rows if not measures_removal(row.record) or trigger_works(row.group)
    ]
    groups = [members for members in contests(candidates) if len(members) > 1]
    if not groups:
        return None
    columns = _columns(board)
    lines = tuple(
        (
            *attack_cells(board, row),
            text_cell(what),
            text_cell(row.label),
            *(metric_cell(row, column) for column in columns),
            count_cell(row.estimate(columns[0])),
        )
        for members in groups
        for what, row in _remarkable(board, members)
    )
    metric = columns[0].metric
    paragraph = (
        f"The best and the worst row{' under each attack' if board.by_attack else ''} by "
        f"{metric.heading} (the {'higher' if metric.higher_is_better else 'lower'} the better), "
        "with 95 % intervals; beside it the same value of other models, and what the defense "
        "costs. "
        f"{CHOSEN}"
    )
    names = ("attack", "what", "defense") if board.by_attack else ("what", "defense")
    heads = (*names, *(column.metric.heading for column in columns), "samples")
    table = Table(CAPTION, heads, lines, ("attack",) if board.by_attack else (), len(names) - 1)
    return Block(paragraphs=(paragraph,), tables=(table,))


def _columns(board: BoardRecords) -> list[MetricColumn]:
    """What ranks, first of the student and then of other models; and the costs."""
    rank_by = board.ranking.rank_by
    others, costs = [], []
    for column in board.ranking.columns():
        of_student = column.metric
        if hasattr(of_student, "model"):
            of_student = of_model(of_student, "student")
        if of_student == rank_by.metric and column != rank_by:
            others.append(column)
        elif column.metric == of_student and column.metric.name in COSTS:
            costs.append(column)
    return [rank_by, *others, *costs]


def _remarkable(
    board: BoardRecords, rows: Sequence[RankingRow]
) -> Iterator[tuple[str, RankingRow]]:
    """Rows of one contest, best first, and what each is remarkable for."""
    yield "best", rows[0]
    no_oracle = [row for row in rows if not row.record.defense.get("oracle")]
    if no_oracle and no_oracle[0] is not rows[0]:
        yield "best that is no oracle", no_oracle[0]
    for row, reason in board.ranking.outside:
        if reason == ORACLE and row.attack == rows[0].attack:
            yield "oracle, not ranked", row
    if COST in board.leaderboard.metrics:
        costs = {id(row): cost.value for row in no_oracle if (cost := row.value(COST))}
        cheap = [row for row in no_oracle if costs.get(id(row), 1.0) <= CHEAP]
        if cheap and cheap[0] is not rows[0]:
            yield f"best at a perplexity increase of at most {100 * CHEAP:g} %", cheap[0]
        if costs:
            yield (
                "smallest perplexity increase",
                min(no_oracle, key=lambda row: costs.get(id(row), 1e9)),
            )
    yield "worst", rows[-1]


SECTIONS = (Section("summary", "Summary", 5, summary),)
