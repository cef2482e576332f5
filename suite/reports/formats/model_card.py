"""Rows as metadata of a model card on the Hub: the ``model-index`` of its YAML head.

The format is that of modelcard.md in huggingface/hub-docs, as ``model_index_to_eval_results`` of
huggingface_hub 2.4 reads it. It has no field for an attack or a ball, so these are arguments of a
metric; its field for a verified result is left to the Hub, which alone may set it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from robustbench_kd.reports.leaderboard import Row
from robustbench_kd.results.record import Json, Record, Share

TASK = {"type": "image-classification", "name": "Image classification under attack"}
HUB = {"fashion": "fashion_mnist", "cifar10": "cifar10"}  # scenario -> data set on the Hub


def model_index(rows: Sequence[Row]) -> Json:
    """The metadata of these rows, each a model of its own."""
    return {"model-index": [_model(row) for row in rows]}


def _model(row: Row) -> Json:
    record = row.record
    data = {
        "name": f"{record.scenario}, {record.data['count']} test images",
        "type": HUB.get(record.scenario, record.scenario),
        "split": "test",
        "revision": record.data["edition"],
    }
    return {
        "name": row.label,
        "results": [{"task": TASK, "dataset": data, "metrics": _metrics(record)}],
    }


def _metrics(record: Record) -> list[Json]:
    ball = {"norm": record.threat["norm"], "eps": record.threat["eps"]}
    attacks = [cell.attack for cell in record.cells[1:]]
    robust = {**ball, "worst_case_of": attacks, "record": record.id}
    return [
        _metric("Accuracy", record.clean, {}),
        _metric("Robust accuracy (worst case over all attacks)", record.worst, robust),
        *(
            _metric(f"Accuracy under {cell.attack}", cell.share, {**ball, "attack": cell.attack})
            for cell in record.cells[1:]
        ),
    ]


def _metric(name: str, share: Share, asked: Json) -> Json:
    low, high = share.interval
    counted = {"interval": "wilson", "confidence": 0.95, "low": low, "high": high}
    return {
        "type": "accuracy",
        "name": name,
        "value": share.value,
        "args": {**counted, "hits": share.hits, "count": share.count, **asked},
    }


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
