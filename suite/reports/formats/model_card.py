"""Rows as metadata of a model card on the Hub: the ``model-index`` of its YAML head.

The format is that of modelcard.md in huggingface/hub-docs, as ``model_index_to_eval_results`` of
huggingface_hub 2.4 reads it. It has no field for an attack or a threat, so these are arguments of a
metric; its field for a verified result is left to the Hub, which alone may set it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from robustbench_kd.reports.columns import MetricColumn
from robustbench_kd.reports.leaderboard import RankingRow
from robustbench_kd.results.record import CLEAN, Json

TASKS = {
    "text-to-image": ("text-to-image", "Text to image under attack"),
    "private-text": ("text-generation", "Text generation under attack"),
    "instructions": ("text-generation", "Text generation under attack"),
}
CLASSIFICATION = ("image-classification", "Image classification under attack")
HUB = {"fashion-mnist": "fashion_mnist", "cifar10": "cifar10"}  # scenario -> data set on the Hub


def model_index(rows: Sequence[RankingRow]) -> Json:
    """The metadata of these rows, each a model of its own."""
    return {"model-index": [_model(row) for row in rows]}


def _model(row: RankingRow) -> Json:
    record = row.record
    kind, title = TASKS.get(record.scenario, CLASSIFICATION)
    data = {
        "name": f"{record.scenario}, {record.data['count']} test samples",
        "type": HUB.get(record.scenario, record.scenario),
        "split": "test",
        "revision": record.data["dataset_digest"],
    }
    metrics = [_metric(row, column) for column in row.columns if row.value(column.typed)]
    return {
        "name": f"{row.label} under {row.attack}" if row.attack else row.label,
        "results": [{"task": {"type": kind, "name": title}, "dataset": data, "metrics": metrics}],
    }


def _metric(row: RankingRow, column: MetricColumn) -> Json:
    value = row.value(column.typed)
    assert value is not None
    metric, record = column.metric, row.record
    ends = {"low": value.low, "high": value.high}
    interval: Json = {name: end for name, end in ends.items() if math.isfinite(end)}
    interval |= {"confidence": 0.95, "count": value.count}
    if value.hits is not None:
        interval |= {"interval": "wilson", "hits": value.hits}
    under = {} if metric.name == f"{CLEAN}-accuracy" else attacks_of(row, column)
    return {
        "type": "accuracy" if metric.name.endswith("accuracy") else metric.name,
        "name": title_of(column),
        "value": value.value,
        "args": {**interval, "metric": column.typed, **under, "record": record.id},
    }


def attacks_of(row: RankingRow, column: MetricColumn) -> Json:
    """The threat model and the attacks that a value is about, as plain values."""
    attack = column.attack or "+".join(row.record.attack_labels)
    return {**row.record.threat, "attack": attack}


def title_of(column: MetricColumn) -> str:
    """The name of a metric in words: ``Robust accuracy``, ``Attack accuracy, fgsm``."""
    metric = column.metric
    words = metric.name.replace("-", " ") if column.attack else metric.heading
    title = words[:1].upper() + words[1:]
    return f"{title}, {column.attack}" if column.attack else title


def as_yaml(value: Json) -> str:
    """A mapping as the YAML head of a model card, its two rules included."""
    return "\n".join(("---", *_block(value, ""), "---", ""))


def _block(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _under(f"{indent}{_scalar(key)}:", inner, indent + "  ")
    else:
        for inner in value:
            if isinstance(inner, dict | list) and inner:
                first, *rest = _block(inner, indent + "  ")
                yield f"{indent}- {first[len(indent) + 2 :]}"
                yield from rest
            else:
                yield f"{indent}- {_scalar(inner)}"


def _under(head: str, inner: Any, indent: str) -> Iterator[str]:
    if isinstance(inner, dict | list) and inner:
        yield head
        yield from _block(inner, indent)
    else:
        yield f"{head} {_scalar(inner)}"


def _scalar(value: Any) -> str:
    """JSON's scalars are YAML's, but for floats without a point and for signs that do not print."""
    if isinstance(value, float) and math.isfinite(value):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    if isinstance(value, str) and value.isidentifier() and value.isascii() and "_" not in value[:1]:
        plain = value.lower() not in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
        return value if plain else json.dumps(value)
    if isinstance(value, str) and value == "model-index":
        return value
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
