"""How far a record was checked, from L0 to L4. No level is claimed that was not looked at.

A level includes those below it. None proves that a robust example is robust: up to L2 it is shown
that the broken ones are broken, so that the accuracy is at most what the record says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.io import read_bytes
from robustbench_kd.core.registry import entries, split_name
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided
from robustbench_kd.results.record import Json, Record, digest, unsealed
from robustbench_kd.results.store import proof_of, read_any

MEANING = {
    "L0": "it parses and matches its own digest",
    "L1": "bits, counts and intervals agree, and what lies beside it is what it was made with",
    "L2": "the stored inputs were replayed: in the ball, in the box, answered as it says",
    "L3": "it was made again, and differs by no more than chance",
    "L4": "an attack that was made to break this very defense was among those tried",
}
NOISE = 0.05  # a re-run that differs with a smaller p-value is no confirmation
NO_REPLAY = "its stored inputs were not replayed"
NO_RERUN = "no re-run of it was given"
NO_ADAPTIVE = "no attack of its panel was made to break"
NO_DEFENSE = "it is not about a defense under attacks on test inputs"
NOT_YET = "the levels below come first"


@dataclass(frozen=True)
class Level:
    """The highest level reached, none of which is ``""``; and why each one above was not."""

    name: str
    missing: Mapping[str, str]

    def json(self) -> Json:
        """The level, what it means, and what was not checked or did not hold."""
        return {
            "name": self.name or None,
            "meaning": MEANING.get(self.name),
            "not_reached": dict(self.missing),
        }


def level_of(path: Path, *, replayed: bool = False, reruns: Sequence[Record] = ()) -> Level:
    """The level of the record in a file; without ``replayed`` no network is asked.

    Args:
        path: the record; what belongs to it lies beside it.
        replayed: whether a replay on this machine has just confirmed it.
        reruns: records that were made again, by somebody who is not its maker.
    """
    sound = _sound(path)
    why = {
        "L0": sound and _read(path),  # what is sound matches its digest too
        "L1": sound,
        "L2": "" if replayed else NO_REPLAY,
        "L3": _again(path, reruns),
    }
    why["L4"] = NOT_YET if any(why.values()) else _adapted(path)
    name = ""
    for level, reason in why.items():
        if reason:
            break
        name = level
    return Level(name, {level: reason for level, reason in why.items() if level > name and reason})


def _read(path: Path) -> str:
    try:
        unsealed(json.loads(read_bytes(path)), str(path))
    except BadRecord as why:
        return str(why)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
        return f"{path} is no record: {type(why).__name__}: {why}"
    return ""


def _sound(path: Path) -> str:
    """Why a record is not sound in itself; the file that it names by digest must be there."""
    try:
        proof = proof_of(read_any(path), path)
        if proof and hashlib.sha256(read_bytes(proof[0])).hexdigest() != proof[1]:
            return f"{proof[0]} is not what the record was made with"
    except BadRecord as why:
        return str(why)
    return ""


def _again(path: Path, reruns: Sequence[Record]) -> str:
    """Why no re-run confirms the record; empty where one does, and none contradicts it."""
    try:
        record = read_any(path) if reruns else None
    except BadRecord as why:
        return str(why)
    if not isinstance(record, Record):
        return NO_RERUN
    asked = _question(record)
    about = [one for one in reruns if _question(one) == asked and one.id != record.id]
    for one in about:
        lost, won = discordant(record.flags, one.flags)
        if mcnemar_two_sided(lost, won) <= NOISE:
            return f"a re-run breaks {lost} more images and {won} fewer, which is no chance"
    return "" if about else NO_RERUN


def _adapted(path: Path) -> str:
    """Why no attack of the panel is an adaptive one; attacks say themselves whom they are for."""
    record = read_any(path)
    if not isinstance(record, Record) or record.model.get("yours"):
        return NO_DEFENSE  # a network of somebody's own may have any name
    defense, known = record.defense["name"], entries("attacks")
    for cell in record.cells:
        entry = known.get(split_name(cell.attack)[0])  # another's attack may not be installed here
        if entry and defense in getattr(entry.load(), "made_for", ()):
            return ""
    return f"{NO_ADAPTIVE} {defense}"


def _question(record: Record) -> str:
    """All that a re-run must share: network, examples, ball, attacks; seeds may differ."""
    attacks = [[cell.attack, cell.settings] for cell in record.cells]
    data = [record.data[name] for name in ("examples", "ids", "count")]
    return digest([record.scenario, record.model["weights"], data, record.threat, attacks])
