"""Records that were never measured: their bits are given, everything else follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robustbench_kd.ops.statistics.bitset import pack
from robustbench_kd.results.record import Cell, Record, digest, summed, worst_case

PANEL = (
    "untouched",
    "fgsm",
    "pgd:steps=20",
    "carlini-wagner-linf",
    "autoattack:form=lean",
)


def first(hits: int, count: int = 1000) -> list[bool]:
    """The first so many are right."""
    return [n < hits for n in range(count)]


def cell(attack: str, flags: Sequence[bool]) -> Cell:
    """An attack that left these right."""
    return Cell(attack, {"eps": 0.1}, 0, len(flags), sum(flags), pack(flags), 7, 3)


def made(
    label: str,
    robust: Sequence[bool],
    *,
    clean: Sequence[bool] | None = None,
    seed: int = 0,
    weights: str = "",
    **other: Any,
) -> Record:
    """A record of the board ``fashion-linf``; all attacks but the control leave ``robust``."""
    right = clean if clean is not None else [True] * len(robust)
    cells = tuple(cell(a, right if a == "untouched" else robust) for a in PANEL)
    cells = other.pop("cells", cells)
    record = {
        "board": "fashion-linf",
        "scenario": "fashion",
        "defense": {"name": label, "label": label},
        "model": {
            "weights": weights or digest([label, seed]),
            "key": None,
            "net": "plain",
            "yours": False,
            "parameters": 61_234,
            "macs": 1_500_000,
        },
        "teachers": {"robust": "t"},
        "data": {"edition": "e", "examples": "x", "ids": "i", "count": len(robust)},
        "threat": {"norm": "linf", "eps": 0.1},
        "seed": seed,
        "limit": None,
        "cells": cells,
        "robust": summed(worst_case(cells)),
        "wide": (),
        "evidence": {"sha256": "", "bytes": 0, "rows": 0},
        "health": {},
        "doubts": (),
        "versions": {"torch": "2"},
        "spent": {"cpu_seconds": 1.5},
    }
    return Record(**{**record, **other})
