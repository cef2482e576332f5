"""What models memorize of inserted canaries: by repetitions, by method, and at what perplexity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._canaries import formats_of, levels_of
from robustbench_kd.metrics._membership import ATTACK as MEMBERSHIP
from robustbench_kd.metrics._membership import COLUMNS, scores_of
from robustbench_kd.metrics._share import model_name
from robustbench_kd.metrics.exposure import Exposure
from robustbench_kd.metrics.inherited_memorization import InheritedMemorization
from robustbench_kd.metrics.membership_auc import MembershipAuc
from robustbench_kd.metrics.membership_tpr import MembershipTpr
from robustbench_kd.metrics.perplexity import Perplexity
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Figure,
    RowSection,
    Section,
    Table,
    count_cell,
    estimate_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.drawing import (
    Canvas,
    drawable,
    error_bars,
    legend_below,
    point_style,
    sketch,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.results.groups import SeedGroup

TITLE = "Memorization"
NOTE = (
    "Exposure of canaries that were never inserted is 1.44 bits on average. Memorized is what "
    "greedy decoding extracts: by the source (the model that the canaries reached first), by the "
    "control and by the student, of the inserted canaries; inherited, of those that the source "
    "memorized and the control did not, by the student; easy, of the student's, by source and "
    "control too."
)
Exposures = Mapping[str, Exposure]


class Target(NamedTuple):
    """A model of some records, and what a table calls it."""

    name: str
    group: SeedGroup
    role: str


def memorization(board: BoardRecords) -> Block | None:
    """Exposure against perplexity, and tables with a row for each defense."""
    rows = _rows_with_canaries(board.rows)
    if not rows:
        return None
    students = [Target(row.label, row.group, "student") for row in rows]
    tables = (
        _exposure_table("defense", students, _by_repetitions(rows[0].group)),
        _dynamics_table(rows),
        _membership_table("defense", students),
    )
    return _block(_figures(rows), tables)


def memorization_of_row(board: BoardRecords, row: RankingRow) -> Block | None:
    """The same tables with a row for each model of one defense."""
    if not _rows_with_canaries([row]):
        return None
    models = [Target(model_name(role), row.group, role) for role in row.record.models]
    by_format = {name: Exposure(format=name) for name in formats_of(row.record)}
    tables = (
        _exposure_table("model", models, by_format),
        _exposure_table("model", models, _by_repetitions(row.group)),
        _dynamics_table([row]),
        _membership_table("model", models),
    )
    return _block((), tables)


def _by_repetitions(group: SeedGroup) -> Exposures:
    return {f"inserted {n} times": Exposure(repetitions=n) for n in levels_of(group.first)}


def _rows_with_canaries(rows: Sequence[RankingRow]) -> list[RankingRow]:
    return [row for row in rows if _available(Exposure(), row.group)]


def _available(metric: Metric, group: SeedGroup) -> bool:
    return all(metric.available(record) for record in group.records)


def _block(figures: tuple[Figure, ...], tables: Sequence[Table]) -> Block:
    return Block((NOTE,), figures, tuple(table for table in tables if table.rows))


def _exposure_table(head: str, targets: Sequence[Target], exposures: Exposures) -> Table:
    """Exposure of some of the canaries each, and how many these are."""
    rows = []
    for name, group, role in targets:
        values = [metric.value(group, role) for metric in exposures.values()]
        counts = sorted({value.count for value in values if value})
        cells = map(estimate_cell, exposures.values(), values)
        rows.append((text_cell(name), *cells, text_cell(" to ".join(map(str, counts)))))
    heads = (head, *exposures, "canaries each")
    return Table("Mean exposure in bits", heads, tuple(rows))


def _dynamics_table(rows: Sequence[RankingRow]) -> Table:
    """Which of the memorized canaries the student has of its teacher."""
    cells = []
    for row in rows:
        if not _available(InheritedMemorization(), row.group):
            continue
        values = InheritedMemorization().breakdown(row.group)
        by_model = [values[name] for name in ("teacher", "control", "student")]
        cells.append(
            (
                text_cell(row.label),
                *map(share_cell, by_model),
                count_cell(values["student"]),
                share_cell(values["inherited"]),
                count_cell(values["inherited"]),
                share_cell(values["easy"]),
                count_cell(values["easy"]),
            )
        )
    models = ("source", "control", "student", "canaries")
    heads = ("inherited", "of the source's alone", "easy", "of the student's")
    return Table("Memorized canaries", ("defense", *models, *heads), tuple(cells))


def _membership_table(head: str, targets: Sequence[Target]) -> Table:
    """How well each method of scoring tells members from others."""
    area, rate = MembershipAuc(), MembershipTpr()
    rows = []
    for name, group, role in targets:
        if not _available(area, group):
            continue
        for method, column in COLUMNS.items():
            if column not in group.first.result(MEMBERSHIP).columns[role]:
                continue
            scores = scores_of(group.records, role, method)
            values = area.estimate(scores), rate.estimate(scores)
            cells = [estimate_cell(area, values[0]), count_cell(values[0])]
            cells += [estimate_cell(rate, values[1]), count_cell(values[1])]
            rows.append((text_cell(name), text_cell(method.replace("_", " ")), *cells))
    heads = (head, "method", "AUC", "samples", "TPR at 1 % FPR", "members")
    return Table("Membership inference by method", heads, tuple(rows), (head, "method"))


def _figures(rows: Sequence[RankingRow]) -> tuple[Figure, ...]:
    """Exposure against perplexity; none where nobody candidates the latter."""
    candidates = [row for row in rows if _available(Perplexity(), row.group)]
    if not candidates:
        return ()
    points, description = drawable(
        candidates,
        "Mean exposure of inserted canaries in bits against perplexity on the test text, of "
        f"{len(candidates)} students, with 95 % intervals on both axes; down and left is better. "
        "The numbers are those of the ranking.",
    )
    height = 3.2 + 0.17 * ((len(points) + 1) // 2)
    svg = sketch(lambda canvas: _draw(canvas, points), height)
    return (Figure("Exposure against perplexity", svg, description),)


def _draw(canvas: Canvas, rows: Sequence[RankingRow]) -> None:
    axes = canvas.add_subplot()
    for place, row in enumerate(rows):
        x, y = Perplexity()(row.group), Exposure()(row.group)
        if x and y:
            axes.errorbar(
                [x.value],
                [y.value],
                xerr=error_bars([x], scale=1),
                yerr=error_bars([y], scale=1),
                **point_style(place, row.label),
            )
    axes.set_xlabel("perplexity on the test text")
    axes.set_ylabel("exposure, bits")
    axes.grid(alpha=0.2)
    legend_below(canvas, axes)


SECTIONS = (Section("memorization", TITLE, 44, memorization),)
ROW_SECTIONS = (RowSection(TITLE, 44, memorization_of_row),)
