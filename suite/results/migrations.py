"""Records of older schemas, told in the words of today's: one pure function for each step.

A step takes the plain JSON of one schema, without its id, and returns that of the next; a record
walks all steps that lie before it. Older files are never rewritten. Whoever changes the schema in a
way that readers would notice adds a step here, and keeps a record of the old kind among the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Json = dict[str, Any]


def migrated(body: Json) -> Json:
    """The record in the newest schema that there is a way to; the given one stays as it was."""
    while (step := MIGRATIONS.get(body.get("schema", ""))) is not None:
        body = step(body)
    return body


def named_after_threats(body: Json) -> Json:
    """Drafts before the first release (``record/0``) to ``record/1``.

    A draft kept norm and radius at its top, the radius as text (``8/255``), called its cells
    attacks, and knew neither doubts, nor health, nor the whole test set.
    """
    kept = {k: v for k, v in body.items() if k not in ("attacks", "norm", "epsilon", "seconds")}
    return {
        **kept,
        "schema": "robustbench-kd.record/1",
        "threat": {"norm": body["norm"], "eps": _number(body["epsilon"])},
        "cells": [{"notes": {}, "doubts": [], **cell} for cell in body["attacks"]],
        "wide": [],
        "health": {},
        "doubts": [],
        "spent": {"cpu_seconds": body["seconds"]},
    }


def _number(text: str) -> float:
    over, _, under = text.partition("/")
    return float(over) / float(under or 1)


MIGRATIONS: Mapping[str, Callable[[Json], Json]] = {
    "robustbench-kd.record/0": named_after_threats,
}
