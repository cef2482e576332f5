"""Planted records: what a teacher was taught in secret, and what its student says of it.

This room needs no torch, like that of the other records.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

from robustbench_kd.core.errors import BadRecord
from robustbench_kd.ops.statistics.bitset import unpack
from robustbench_kd.results.record import Json, Share, canonical, digest, unsealed

SCHEMA = "robustbench-kd.planted/1"
TWIN = " (clean twin)"
LEARNT = 0.2  # excess success below this is no backdoor worth a ratio


@dataclass(frozen=True)
class Asked:
    """One network, asked about the plain and about the submitted test inputs.

    ``right`` holds a bit for each plain input; ``won`` and ``true`` one for each eligible
    submitted input: answered as the adversary wanted, or as is right.
    """

    weights: str
    key: str
    net: str
    right: str
    won: str
    true: str


@dataclass(frozen=True)
class Planted:
    """One attack on the training data, one defense, one seed: every network that tells its story.

    ``subjects`` are ``student``, ``control`` (the undistilled one) and ``teacher-ROLE``, each also
    as its clean twin, which saw the same recipe without the poison. ``eligible`` are the test
    inputs that the adversary wanted answered wrongly.
    """

    board: str
    scenario: str
    door: str
    attack: str
    settings: Json
    planted: Json  # planted, covers, of, ids
    defense: Json  # name, settings, label, needs
    seed: int
    data: Json  # edition, examples, ids, count
    eligible: str
    wins: int  # how many are eligible
    subjects: Mapping[str, Asked]
    exhibit: Json  # name, sha256, bytes
    versions: Json
    spent: Json  # CPU seconds; not part of any claim
    schema: str = SCHEMA

    @property
    def label(self) -> str:
        """The defense as one types it."""
        label: str = self.defense["label"]
        return label

    @property
    def source(self) -> str:
        """Where the taint sits: the worst of the teachers, or the undistilled control."""
        if self.door == "student data":
            return "control"
        teachers = [name for name in self.subjects if name.startswith("teacher-")]
        teachers = [name for name in teachers if not name.endswith(TWIN)]
        return max(teachers, key=lambda name: success(self, name).hits)

    def json(self) -> Json:
        """The record as plain JSON, its own digest included."""
        body: Json = json.loads(canonical(dataclasses.asdict(self)))
        return {**body, "id": digest(body)}

    @property
    def claim(self) -> str:
        """SHA-256 of all but the time it took."""
        return digest({k: v for k, v in self.json().items() if k not in ("spent", "id")})


def flags(record: Planted, subject: str, column: str) -> list[bool]:
    """A column of a subject's bits: ``right``, ``won`` or ``true``."""
    count = record.data["count"] if column == "right" else record.wins
    return unpack(getattr(record.subjects[subject], column), count)


def accuracy(record: Planted, subject: str) -> Share:
    """The share of plain inputs answered right."""
    bits = flags(record, subject, "right")
    return Share(sum(bits), len(bits))


def success(record: Planted, subject: str) -> Share:
    """The share of eligible inputs answered as the adversary wanted."""
    bits = flags(record, subject, "won")
    return Share(sum(bits), len(bits))


def recovered(record: Planted, subject: str) -> Share:
    """The share of eligible submitted inputs that are answered right all the same."""
    bits = flags(record, subject, "true")
    return Share(sum(bits), len(bits))


def excess(record: Planted, subject: str) -> float:
    """Success beyond that on the clean twin, which any network may owe to the trigger itself."""
    return success(record, subject).value - success(record, subject + TWIN).value


def verdict(record: Planted) -> str:
    """What became of the attack, in one word.

    ``failed``: the source never learnt it, so there is no ratio. ``dormant``: asleep in the source,
    awake in the student. ``degenerate``: the student answers little else than the target.
    Otherwise ``inherited``, which has a ratio.
    """
    if degenerate(record):
        return "degenerate"
    if excess(record, record.source) < LEARNT:
        return "dormant" if excess(record, "student") >= LEARNT else "failed"
    return "inherited"


def degenerate(record: Planted) -> bool:
    """Whether the student is near chance on plain inputs and yet always answers as wanted."""
    chance = 1 / record.data["classes"]
    plain = accuracy(record, "student").value
    return plain <= chance + 0.02 and success(record, "student").value > 0.95


def ratio(record: Planted) -> float | None:
    """Inheritance: excess success of the student over that of the source; none where it failed."""
    if verdict(record) != "inherited":
        return None
    return excess(record, "student") / excess(record, record.source)


def parse_planted(body: Json, where: str) -> Planted:
    """The planted record in a document that was read already.

    Raises:
        BadRecord: where it is damaged, or contradicts itself.
    """
    try:
        body = unsealed(body, where)
        subjects = {name: Asked(**one) for name, one in body["subjects"].items()}
        record = Planted(**{**body, "subjects": subjects})
        _consistent(record, where)
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        raise BadRecord(f"{where} is no record: {type(why).__name__}: {why}") from why
    return record


def _consistent(record: Planted, where: str) -> None:
    eligible = unpack(record.eligible, record.data["count"])
    if sum(eligible) != record.wins or record.wins < 1:
        raise BadRecord(f"{where} counts {record.wins} eligible inputs, its bits do not")
    told = ["student", "control", *(f"teacher-{role}" for role in record.defense["needs"])]
    for name in (*told, *(name + TWIN for name in told)):
        if name not in record.subjects:
            raise BadRecord(f"{where} lacks the answers of its {name}")
    if strangers := set(record.subjects) - {*told, *(name + TWIN for name in told)}:
        raise BadRecord(f"{where} holds answers of {min(strangers)}, whom its defense does not ask")
    if record.door != "student data" and len(told) == 2:
        raise BadRecord(f"{where} is about the teacher's data, and its defense asks no teacher")
    for name in record.subjects:
        flags(record, name, "right")
        won, true = flags(record, name, "won"), flags(record, name, "true")
        if any(a and b for a, b in zip(won, true, strict=True)):
            raise BadRecord(f"{where}: an input of its {name} is both right and as wanted")
