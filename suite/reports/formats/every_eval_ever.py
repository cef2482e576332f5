"""Rows as documents of Every Eval Ever, a shared schema of evaluations.

Written against version 0.2.2 of ``eval.schema.json`` of evaleval/every_eval_ever (commit 21b3d1a).
Its metrics know no attack, ball or budget, so these are parameters of the metric; what the schema
calls details are texts. One document a row, and one result for each attack and the worst case.
"""

from __future__ import annotations

from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.results.record import Json, Record, Share, canonical

VERSION = "0.2.2"
OURS = "robustbench-kd"


def evaluation(row: Row, now: int) -> Json:
    """The document of a row.

    Args:
        now: seconds since 1970 at which the document is made; records hold no times.
    """
    record = row.record
    name = f"{OURS}/{record.board}"
    who = f"{OURS}/{record.label}"
    return {
        "schema_version": VERSION,
        "evaluation_id": f"{name}/{who}@{record.model['weights'][:12]}/{now}",
        "retrieved_timestamp": str(now),
        "source_metadata": {
            "source_name": record.board,
            "source_type": "evaluation_run",
            "source_organization_name": OURS,
            # The students of the boards are this project's own; of others it knows nothing.
            "evaluator_relationship": "other" if record.model.get("yours") else "first_party",
            "additional_details": {"record": record.id, "doubts": "; ".join(record.doubts)},
        },
        "eval_library": {
            "name": OURS,
            "version": record.versions.get(OURS, "unknown"),
            "additional_details": {key: str(value) for key, value in record.versions.items()},
        },
        "model_info": _model(row, who),
        "evaluation_results": _results(record),
    }


def _model(row: Row, who: str) -> Json:
    record = row.record
    sizes = {key: str(record.model[key]) for key in ("weights", "net", "parameters", "macs")}
    forward, backward = row.passes
    told = {
        "defense": canonical(record.defense),
        "teachers": canonical(record.teachers),
        "seed": str(record.seed),
        "forward_passes": str(forward),
        "backward_passes": str(backward),
    }
    return {"name": record.label, "id": who, "additional_details": {**sizes, **told}}


def _results(record: Record) -> list[Json]:
    ball: Json = {"norm": record.threat["norm"], "eps": record.threat["eps"]}
    attacks = ", ".join(cell.attack for cell in record.cells[1:])
    worst = {**ball, "worst_case_of": attacks}
    found = [
        _result(record, "accuracy", "Accuracy", record.clean, {}),
        _result(record, f"{OURS}.robust_accuracy", "Robust accuracy", record.worst, worst),
    ]
    for cell in record.cells[1:]:
        asked = {**ball, "attack": cell.attack, "attack_settings": canonical(cell.settings)}
        asked |= {"forward_passes": cell.forward, "backward_passes": cell.backward}
        metric = f"{OURS}.accuracy_under_attack"
        name = f"Accuracy under {cell.attack}"
        found.append(_result(record, metric, name, cell.share, asked))
    return found


def _result(record: Record, metric: str, name: str, share: Share, asked: Json) -> Json:
    low, high = share.interval
    return {
        "evaluation_result_id": f"{record.id[:12]}/{name}",
        "evaluation_name": f"{record.board}: {name}",
        "source_data": {
            "dataset_name": record.scenario,
            "source_type": "other",
            "source_id": record.data["examples"],
            "source_version": record.data["edition"],
            "additional_details": {"split": "test", "images": str(record.data["count"])},
        },
        "metric_config": {
            "metric_id": metric,
            "metric_name": name,
            "metric_kind": "accuracy",
            "metric_unit": "proportion",
            "metric_parameters": asked,
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0.0,
            "max_score": 1.0,
        },
        "score_details": {
            "score": share.value,
            "details": {"hits": str(share.hits), "count": str(share.count)},
            "uncertainty": {
                "confidence_interval": {
                    "lower": low,
                    "upper": high,
                    "confidence_level": 0.95,
                    "method": "wilson",
                },
                "num_samples": share.count,
            },
        },
    }
