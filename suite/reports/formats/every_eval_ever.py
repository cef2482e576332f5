"""Rows as documents of Every Eval Ever, a shared schema of evaluations.

Written against version 0.2.2 of ``eval.schema.json`` of evaleval/every_eval_ever (commit 21b3d1a).
Its metrics know no attack, threat or budget, so these are parameters of the metric; what the schema
calls details are texts. One document a row, and one result for each metric that has a value.
"""

from __future__ import annotations

import sys
from math import isfinite

from robustbench_kd.core.estimates import Estimate
from robustbench_kd.reports.columns import MetricColumn
from robustbench_kd.reports.filters import teacher_roles
from robustbench_kd.reports.formats.model_card import attacks_of, title_of
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.results.record import CLEAN, Json, Record, canonical

VERSION = "0.2.2"
OURS = "robustbench-kd"
UNBOUNDED = sys.float_info.max  # the schema wants finite ends of every scale


def evaluation(row: RankingRow, now: int) -> Json:
    """The document of a row.

    Args:
        now: seconds since 1970 at which the document is made; records hold no times.
    """
    record = row.record
    name = "/".join(filter(None, (OURS, record.board, row.attack)))
    model = f"{OURS}/{record.label}"
    warnings = "; ".join(row.warnings)
    # The students of the leaderboards are this project's own; of others it knows nothing.
    relationship = "other" if record.student.get("user_model") else "first_party"
    return {
        "schema_version": VERSION,
        "evaluation_id": f"{name}/{model}@{record.student['weights'][:12]}/{now}",
        "retrieved_timestamp": str(now),
        "source_metadata": {
            "source_name": record.board,
            "source_type": "evaluation_run",
            "source_organization_name": OURS,
            "evaluator_relationship": relationship,
            "additional_details": {"record": record.id, "warnings": warnings},
        },
        "eval_library": {
            "name": OURS,
            "version": record.versions.get(OURS, "unknown"),
            "additional_details": {key: str(value) for key, value in record.versions.items()},
        },
        "model_info": _model(row, model),
        "evaluation_results": [
            _result(row, column, value)
            for column in row.columns
            if (value := row.value(column.typed)) is not None
        ],
    }


def _model(row: RankingRow, identifier: str) -> Json:
    record = row.record
    student = {name: str(value) for name, value in record.student.items()}
    details = {
        "defense": canonical(record.defense),
        "teachers": ", ".join(teacher_roles(record)),
        "seeds": ", ".join(map(str, row.group.seeds)),
        "poison": canonical(record.poison),
        **{f"{way}_passes": str(count) for way, count in row.passes.items()},
    }
    return {
        "name": record.label,
        "id": identifier,
        "additional_details": {**student, **details},
    }


def _result(row: RankingRow, column: MetricColumn, value: Estimate) -> Json:
    record, name = row.record, title_of(column)
    return {
        "evaluation_result_id": f"{record.id[:12]}/{column.typed}",
        "evaluation_name": f"{record.board}: {name}",
        "source_data": {
            "dataset_name": record.scenario,
            "source_type": "other",
            "source_id": record.data["examples"],
            "source_version": record.data["dataset_digest"],
            "additional_details": {"split": "test", "samples": str(record.data["count"])},
        },
        "metric_config": _config(row, column, name, value),
        "score_details": _score(value),
    }


def _config(row: RankingRow, column: MetricColumn, name: str, value: Estimate) -> Json:
    metric = column.metric
    clean = column.typed == f"{CLEAN}-accuracy"
    parameters: Json = {} if clean else {**attacks_of(row, column), **_attack(row.record, column)}
    share = value.hits is not None
    return {
        "metric_id": "accuracy" if clean else f"{OURS}.{column.typed}",
        "metric_name": name,
        "metric_kind": "accuracy" if metric.name.endswith("accuracy") else metric.name,
        "metric_unit": "proportion" if metric.unit == "percent" else metric.unit,
        "metric_parameters": parameters,
        "lower_is_better": not metric.higher_is_better,
        "score_type": "continuous",
        "min_score": 0.0 if share else -UNBOUNDED,
        "max_score": 1.0 if share else UNBOUNDED,
    }


def _attack(record: Record, column: MetricColumn) -> Json:
    """Settings and passes of the one attack that a metric is about."""
    result = record.attacks.get(column.attack)
    if result is None:
        return {}
    passes = {f"{way}_passes": count for way, count in result.passes.items()}
    return {"attack_settings": canonical(result.settings), **passes}


def _score(value: Estimate) -> Json:
    ends = {"lower": value.low, "upper": value.high}
    bounds: Json = {name: end for name, end in ends.items() if isfinite(end)}
    bounds["confidence_level"] = 0.95
    details = {"count": str(value.count)}
    if value.hits is not None:
        bounds["method"] = "wilson"
        details["hits"] = str(value.hits)
    return {
        "score": value.value,
        "details": details,
        "uncertainty": {"confidence_interval": bounds, "num_samples": value.count},
    }
