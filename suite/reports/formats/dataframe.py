"""A ranking as numbers, for machines. The only user of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any

from robustbench_kd.core.errors import BadRecord, BrokenPlugin
from robustbench_kd.core.estimates import Estimate
from robustbench_kd.core.registry import configured, entries
from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.columns import MetricColumn
from robustbench_kd.reports.filters import teacher_roles
from robustbench_kd.reports.leaderboard import Ranking, RankingRow
from robustbench_kd.results.groups import SeedGroup
from robustbench_kd.results.record import Json

if TYPE_CHECKING:
    import pandas as pd


def as_json(ranking: Ranking, levels: Mapping[str, str] | None = None) -> Json:
    """The ranking as one document.

    Args:
        levels: how far each record was checked, by its id; without, nothing is said of it.
    """
    board = ranking.leaderboard
    return {
        "board": board.name,
        "title": board.title,
        "rank_by": board.rank_by,
        "only": ranking.only or None,
        "signature": signature(ranking) or None,
        "metrics": [
            {
                "name": column.typed,
                "heading": column.metric.heading,
                "unit": column.metric.unit,
                "higher_is_better": column.metric.higher_is_better,
            }
            for column in ranking.columns()
        ],
        "rows": [entry(ranking, row, levels) for row in ranking.rows],
        "outside": [
            {**entry(ranking, row, levels), "reason": reason} for row, reason in ranking.outside
        ],
    }


def entry(ranking: Ranking, row: RankingRow, levels: Mapping[str, str] | None = None) -> Json:
    """A row with all that is known of it, as plain values.

    ``other_metrics`` are those that its records allow and that have no column; ``breakdown`` holds
    all of both, by model, format, repetitions or seed.
    """
    seeds = [
        {
            "seed": record.seed,
            "value": _json(row.value_of_seed(ranking.rank_by.typed, record)),
            "record": record.id,
            **({} if levels is None else {"level": levels.get(record.id)}),
        }
        for record in row.group.records
    ]
    return {
        **_line(row),
        "rank": [row.best, row.last] if row.best else None,
        "metrics": {column.typed: _value(row, column) for column in row.columns},
        "other_metrics": {
            column.typed: _value(row, column)
            for column in _further(row)
            if column.typed not in {column.typed for column in row.columns}
        },
        "breakdown": _breakdown(row),
        "reference": None if row.reference is None else row.reference.label,
        "seeds": seeds,
        "teachers": teacher_roles(row.record),
        "warnings": row.warnings,
    }


def _line(row: RankingRow) -> Json:
    """What a row is about, besides its metrics."""
    record = row.record
    best = row.best_known
    best_json = None if best is None else {**best.share.json(), "records": len(best.first)}
    return {
        "attack": row.attack or None,
        "defense": row.label,
        "oracle": bool(record.defense.get("oracle")),
        "local": row.local,
        "model": dict(record.student),
        "threat": dict(record.threat),
        "source": _source(row.group),
        "poison": dict(record.poison),
        "full_test": _json(row.full_test),
        "best_known": best_json,
        "passes": row.passes,
        "cpu_seconds": record.compute.get("cpu_seconds"),
    }


def _source(group: SeedGroup) -> str | None:
    """The model that the poison reached first; None where no model was poisoned."""
    if group.first.capability == "test_data":
        return None
    try:
        return group.source
    except BadRecord:
        return None


def _value(row: RankingRow, column: MetricColumn) -> Json:
    """A value with its remark; or null, and why."""
    estimate = row.estimate(column)
    if estimate is None:
        return {"value": None, "why": column.why_none(row.group)}
    remark = column.metric.remark(row.group)
    return {**_finite(estimate.json()), **({"remark": remark} if remark else {})}


def _breakdown(row: RankingRow) -> Json:
    """Every metric that its records allow, by model, format, repetitions or seed."""
    parts: Json = {}
    for column in _further(row):
        values = column.metric.breakdown(row.group, row.reference)
        parts[column.typed] = {part: _json(estimate) for part, estimate in values.items()}
    return {name: values for name, values in parts.items() if values}


def _further(row: RankingRow) -> list[MetricColumn]:
    """Every metric that the records of a row allow, whether or not it has a column."""
    return [column for column in _every_metric() if column.available(row.group)]


@cache
def _every_metric() -> tuple[MetricColumn, ...]:
    """Every metric that loads, with its default settings, but those of single attacks."""
    columns: list[MetricColumn] = []
    for name in entries("metrics"):
        with suppress(BrokenPlugin, TypeError):  # fatal only where a leaderboard names it
            columns.append(MetricColumn(name, configured("metrics", name)))
    return tuple(column for column in columns if not column.metric.per_attack)


def _json(estimate: Estimate | None) -> Json | None:
    return None if estimate is None else _finite(estimate.json())


def _finite(values: Json) -> Json:
    """JSON has no infinity; an end that is not bounded is null."""
    return {name: value if isfinite(value) else None for name, value in values.items()}


def as_csv(ranking: Ranking) -> str:
    """One line a row; each value in columns of its own: value, low, high, count, hits."""
    return csv_of(lines(ranking))


def lines(ranking: Ranking) -> list[Json]:
    """The rows for a table of numbers; what is a list becomes words."""
    rows = []
    for row in ranking.rows:
        values = {column.typed: _json(row.value(column.typed)) for column in row.columns}
        flat: dict[str, Any] = {
            "rank": {"best": row.best, "last": row.last},
            **{name: _line(row)[name] for name in ("attack", "defense", "oracle", "local")},
            **values,
            **_line(row),
            "seeds": "+".join(map(str, row.group.seeds)),
            "teachers": "+".join(teacher_roles(row.record)),
            "warnings": "; ".join(row.warnings),
            "records": "+".join(record.id for record in row.group.records),
        }
        rows.append({name: value for name, value in flat.items() if value is not None})
    return rows


def csv_of(rows: Sequence[Json]) -> str:
    """Plain values as lines; what is nested becomes columns of its own."""
    return frame_of([_neutral(row) for row in rows]).to_csv(index=False, lineterminator="\n")


def _neutral(value: Any) -> Any:
    if isinstance(value, dict):
        return {neutral(name): _neutral(part) for name, part in value.items()}
    return neutral(value) if isinstance(value, str) else value


def neutral(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def frame_of(rows: Sequence[Json]) -> pd.DataFrame:
    """Plain values as a table of pandas; what is nested becomes columns of its own."""
    import pandas as pd  # most commands come here for the rest of the file, and are quick

    frame = pd.json_normalize(list(rows), sep="_")
    # Nullable integers: a count stays a whole number where another row has none.
    endings = ("_hits", "_count", "_records", "_parameters", "_macs", "_forward", "_backward")
    counts = [name for name in frame.columns if name.endswith(endings)]
    return frame.astype(dict.fromkeys(counts, "Int64"))
