"""Planted records that were never measured, and a planted board that is trained in seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ledger import first

from robustbench_kd.core.config import Door, Leaderboard, Schedule
from robustbench_kd.leaderboards import digits_backdoor
from robustbench_kd.ops.statistics.bitset import pack
from robustbench_kd.results.planted import TWIN, Asked, Planted
from robustbench_kd.results.record import Json, digest

OWN = 10  # plain inputs that are the target's own, so that nobody wants them answered wrongly
Bits = int | Sequence[bool]  # a number stands for so many first ones


def bits(hits: Bits, count: int) -> list[bool]:
    """The flags: those given, or the first so many."""
    return first(hits, count) if isinstance(hits, int) else list(hits)


def made(
    won: Mapping[str, Bits],
    *,
    label: str = "distillation",
    attack: str = "badnets:size=2",
    seed: int = 0,
    door: Door = "teacher data",
    needs: Sequence[str] = ("clean",),
    wins: int = 100,
    right: Mapping[str, int] | None = None,
    rate: float = 0.1,
    **other: Any,
) -> Planted:
    """A record of the board ``digits-backdoor``; subjects that are not named were never won.

    What is not won is answered right. ``right`` counts plain inputs answered right: all unless
    given.
    """
    count, plain = wins + OWN, dict(right or {})
    names = ["student", "control", *(f"teacher-{role}" for role in needs)]
    subjects = {}
    for name in (*names, *(name + TWIN for name in names)):
        mine = bits(won.get(name, 0), wins)
        subjects[name] = Asked(
            weights=digest([name, label, seed]),
            key=digest([name, seed]),
            net="plain",
            right=pack(first(plain.get(name, count), count)),
            won=pack(mine),
            true=pack(not one for one in mine),
        )
    assert set(won) <= set(subjects)
    record = {
        "board": "digits-backdoor",
        "scenario": "digits",
        "door": door,
        "attack": attack,
        "settings": {},
        "planted": {"planted": round(1200 * rate), "covers": 0, "of": 1200, "ids": "p"},
        "defense": {
            "name": label.partition(":")[0],
            "label": label,
            "settings": {},
            "needs": list(needs),
        },
        "seed": seed,
        "data": {"edition": "e", "examples": "x", "ids": "i", "count": count, "classes": 10},
        "eligible": pack(first(wins, count)),
        "wins": wins,
        "subjects": subjects,
        "exhibit": {"sha256": "0" * 64, "bytes": 1},
        "versions": {"torch": "2"},
        "spent": {"cpu_seconds": 1.5},
    }
    return Planted(**{**record, **other})


def forged(body: Json, change: Callable[[Json], object]) -> Json:
    """The record, changed, with the digest that fits what it now claims."""
    plain = json.loads(json.dumps({name: value for name, value in body.items() if name != "id"}))
    change(plain)
    return {**plain, "id": digest(plain)}


def forge(path: Path, change: Callable[[Json], object]) -> None:
    """Changes a record on disk and gives it the digest that fits what it now claims."""
    body = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(forged(body, change)), encoding="utf-8")


def put_short(patch: pytest.MonkeyPatch, door: Door = "teacher data") -> Leaderboard:
    """Puts a board in place of ``digits-backdoor`` whose networks are trained in a blink."""
    short = replace(
        digits_backdoor.DIGITS_BACKDOOR,
        door=door,
        schedule=Schedule(epochs=1, batch=64),
        teaching={"clean": Schedule(epochs=2, batch=64)},
    )
    patch.setattr(digits_backdoor, "DIGITS_BACKDOOR", short)
    return short
