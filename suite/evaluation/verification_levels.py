"""How far a record was checked, from L0 to L4. No level is claimed that was not looked at.

A level includes those below it. None proves that a robust example is robust: up to L2 it is shown
that the broken ones are broken, so that the accuracy is at most what the record says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.core.io import RECORD_LIMIT, read_bytes
from robustbench_kd.core.json_document import read_json
from robustbench_kd.core.paths import is_shipped
from robustbench_kd.core.registry import board_of, configured, entries, split_name
from robustbench_kd.ops.statistics.bitset import discordant
from robustbench_kd.ops.statistics.paired_means import sign_flip_p
from robustbench_kd.ops.statistics.paired_tests import mcnemar_two_sided
from robustbench_kd.results.parsing import unsealed
from robustbench_kd.results.record import Bits, Column, Json, Record, digest
from robustbench_kd.results.store import read_evidence, read_record

MEANING = {
    "L0": "it parses and matches its own digest",
    "L1": "columns and counts agree, and what lies beside it is what it was made with",
    "L2": "its models were queried again, and answered as it says",
    "L3": "it was made again, and differs by no more than chance",
    "L4": "an attack that was designed to break this very defense was among those run",
}
NOISE = 0.05  # a re-run that differs with a smaller p-value is no confirmation
NO_REPLAY = "its models were not queried again"
NO_RERUN = "no re-run of it was given"
NO_ADAPTIVE = "no attack of its panel was designed to break"
NO_DEFENSE = "it is not about a defense that is registered under its name"
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
    """The level of the record in a file; without ``replayed`` no model is queried.

    Args:
        path: the record; its evidence lies beside it.
        replayed: whether a verification on this machine has just confirmed it.
        reruns: records that were made again, by somebody who is not its maker.
    """
    unsound = _unsound(path)
    why = {
        "L0": unsound and _unreadable(path),  # what is sound matches its digest too
        "L1": unsound,
        "L2": "" if replayed else NO_REPLAY,
        "L3": NO_RERUN if unsound else _not_made_again(read_record(path), reruns),
    }
    why["L4"] = NOT_YET if any(why.values()) else _not_adaptive(read_record(path))
    name = ""
    for level, reason in why.items():
        if reason:
            break
        name = level
    return Level(name, {level: reason for level, reason in why.items() if level > name and reason})


def _unreadable(path: Path) -> str:
    try:
        unsealed(read_json(read_bytes(path, RECORD_LIMIT, links=is_shipped(path))), str(path))
    except BadRecord as why:
        return str(why)
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        return f"{path} is no record: {type(why).__name__}: {why}"
    return ""


def _unsound(path: Path) -> str:
    """Why a record is not sound in itself; the evidence that it names by digest must be there."""
    try:
        read_evidence(read_record(path), path)
    except BadRecord as why:
        return str(why)
    return ""


def _not_made_again(record: Record, reruns: Sequence[Record]) -> str:
    """Why no re-run confirms the record; empty where one does, and none contradicts it."""
    question = _question(record)
    same = [other for other in reruns if _question(other) == question and other.id != record.id]
    if not same:
        return NO_RERUN
    if record.board not in entries("leaderboards"):
        return f"the leaderboard {record.board} is not here, and so not the metric to compare by"
    metric = configured("metrics", board_of(record.board).rank_by)
    differences = (_difference(metric.samples(record), metric.samples(other)) for other in same)
    return next(filter(None, differences), "")


def _difference(column: Column | None, again: Column | None) -> str:
    """How a re-run differs by more than chance; empty where it does not."""
    if isinstance(column, Bits) and isinstance(again, Bits):
        lost, won = discordant(column.flags, again.flags)
        if mcnemar_two_sided(lost, won) <= NOISE:
            return f"a re-run has {lost} samples fewer and {won} more, which is no chance"
    elif column is not None and again is not None:
        assert not isinstance(column, Bits)  # for the type checker: kinds agree
        assert not isinstance(again, Bits)
        gaps = [a - b for a, b in zip(column, again, strict=True)]
        p = min(1.0, 2 * min(sign_flip_p(gaps), sign_flip_p([-gap for gap in gaps])))
        if p <= NOISE:
            mean = sum(gaps) / len(gaps)
            return f"a re-run differs by {mean:g} in the mean, which is no chance"
    return ""


def _not_adaptive(record: Record) -> str:
    """Why no attack is an adaptive one; attacks say themselves which defenses they break."""
    if record.student.get("user_model") or record.defense["name"] not in entries("defenses"):
        return NO_DEFENSE  # a network of somebody's own may have any name
    defense, known = record.defense["name"], entries("attacks")
    for label in record.attack_labels:
        entry = known.get(split_name(label)[0])  # another's attack may not be installed here
        if entry and defense in getattr(entry.load(), "adaptive_against", ()):
            return ""
    return f"{NO_ADAPTIVE} {defense}"


def _question(record: Record) -> str:
    """All that a re-run must share: models, examples, threat, attacks; seeds may differ."""
    attacks = [[label, result.settings] for label, result in record.attacks.items()]
    weights = {role: model["weights"] for role, model in record.models.items()}
    data = [record.data.get(name) for name in ("examples", "ids", "count")]
    return digest([record.scenario, weights, data, record.threat, attacks])
