"""The page of an attack on training data: every model that was compared, and every seed."""

from __future__ import annotations

from collections.abc import Mapping

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.registry import configured
from robustbench_kd.metrics._base import Metric
from robustbench_kd.metrics._inheritance import comparable, verdict
from robustbench_kd.metrics._share import ShareMetric, model_name, role_of
from robustbench_kd.metrics.inheritance_ratio import InheritanceRatio, resampled_ratio
from robustbench_kd.reports.document import (
    Block,
    BoardRecords,
    Cell,
    RowSection,
    Table,
    estimate_cell,
    number_cell,
    share_cell,
    text_cell,
)
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.reports.sections.backdoor_transfer import of_model
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import COUNTERPART, Record

FURTHER: Mapping[str, tuple[str, ...]] = {
    "bias-rate": ("bias-rate:answers=greedy",),
    "exposure": ("memorization-p", "chance-p", "epsilon-bound"),
    "extraction-rate": ("extraction-rate:content=text", "discoverable-extraction"),
    "joint-removal": ("trigger-shift",),
    "membership-auc": ("membership-tpr",),
    "perplexity": ("bits-per-byte",),
}
"""What goes with a metric of the leaderboard, and is too much for its table."""
BY_SEED = (
    "attack-success:model=source",
    "attack-success:model=source.clean",
    "attack-success",
    "attack-success:model=student.clean",
    "recovered-accuracy",
    "clean-accuracy",
)
SECOND = " second oracle"  # ends the names of such values in the breakdown of a metric
NOTE = (
    "The source is the model that the poison reached first; an unpoisoned model was trained on the "
    "same data without the poison."
)


def every_model(board: BoardRecords, row: RankingRow) -> Block | None:
    """Every metric of a single model, for each of the models."""
    if not board.leaderboard.poisons:
        return None
    group, reference = row.group, row.reference
    roles = sorted(
        group.first.models, key=lambda role: (role != "student", role.removesuffix(COUNTERPART))
    )
    rows, second = [], []
    for metric in model_metrics(row):
        values = {role: of_model(metric, role)(group, reference) for role in roles}
        name = metric.heading.removesuffix(" of student")
        rows.append((text_cell(name), *_cells(metric, values)))
        parts = metric.breakdown(group) if isinstance(metric, ShareMetric) else {}
        by_second = {role: parts.get(role + SECOND) for role in roles}
        if any(by_second.values()):
            second.append((text_cell(f"{name}, second oracle"), *_cells(metric, by_second)))
    source = role_of(group, "source")
    names = [model_name(role) + (" (source)" if role == source else "") for role in roles]
    heads = ("metric", *names, "unit", "samples")
    return Block(paragraphs=(NOTE,), tables=(Table("Every model", heads, (*rows, *second)),))


def model_metrics(row: RankingRow) -> list[Metric]:
    """The metrics of the leaderboard that any model has, and what goes with them."""
    metrics = [column.metric for column in row.columns if hasattr(column.metric, "model")]
    names = dict.fromkeys(metric.name for metric in metrics)
    further = [configured("metrics", typed) for name in names for typed in FURTHER.get(name, ())]
    of_student = [of_model(metric, "student") for metric in (*metrics, *further)]
    records = row.group.records
    return [
        metric
        for metric in dict.fromkeys(of_student)
        if all(metric.available(record) for record in records)
    ]


def _cells(metric: Metric, values: Mapping[str, Estimate | None]) -> tuple[Cell, ...]:
    """The values by model, their unit, and how many samples they rest on."""
    count = max((estimate.count for estimate in values.values() if estimate), default=0)
    cells = (estimate_cell(metric, estimate) for estimate in values.values())
    return (*cells, text_cell(metric.unit), number_cell(count))


def every_seed(board: BoardRecords, row: RankingRow) -> Block | None:
    """Each seed by itself; where every record is about one victim, each trial."""
    records = row.group.records
    if len(records) < 2 or not board.by_attack or not comparable(records[0]):
        return None
    metrics = [configured("metrics", typed) for typed in BY_SEED]
    heads = ["seed", *(metric.heading for metric in metrics), "samples"]
    rows = []
    for record in records:
        shares = [metric(SeedGroup((record,))) for metric in metrics]
        cells = [*map(share_cell, shares), number_cell(shares[0].count)]
        rows.append([number_cell(record.seed, str(record.seed)), *cells])
    if not row.group.pooled:  # a single victim has no ratio
        heads.append("inheritance ratio")
        for record, cells in zip(records, rows, strict=True):
            cells.append(_inheritance(record))
    table = Table("Each seed by itself", tuple(heads), tuple(map(tuple, rows)))
    return Block(tables=(table,))


def _inheritance(record: Record) -> Cell:
    """The ratio, or the verdict where there is none."""
    ratio = resampled_ratio(record)
    return estimate_cell(InheritanceRatio(), ratio) if ratio else text_cell(verdict(record))


ROW_SECTIONS = (
    RowSection("Every model", 20, every_model),
    RowSection("Every seed", 30, every_seed),
)
