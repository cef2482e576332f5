"""Which records enter a ranking, and why others do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.results.record import CLEAN, Record

ORACLE = "an oracle defense: it knows the adversary's secret"
Setup = tuple[object, ...]


def reasons_outside(
    leaderboard: Leaderboard, committed: Sequence[Record], local: Sequence[Record]
) -> Mapping[int, str]:
    """Why records are not ranked, by ``id()`` of the record; those that are ranked are not in it.

    All must have the test samples and attack settings of the first record that enters, for each
    attack on training data apart.
    """
    everything = (*committed, *local)
    reasons = {id(record): _bar(leaderboard, record) for record in everything}
    setups: dict[Setup, Setup] = {}
    for record in everything:
        if reasons[id(record)]:
            continue
        contest = tuple(record.attack_labels) if leaderboard.poisons else ()
        if setups.setdefault(contest, _setup(record)) != _setup(record):
            reasons[id(record)] = "other data, or other settings of the attacks"
    teachers = _teachers(committed)
    for record in committed:
        if record.student.get("user_model") and record.student["weights"] in teachers:
            reasons[id(record)] = "the teacher of students here, and none itself"
    return {key: reason for key, reason in reasons.items() if reason}


def _bar(leaderboard: Leaderboard, record: Record) -> str:
    """Why a record answers another question than the leaderboard's; empty where it does not."""
    if record.board != leaderboard.name:
        return f"made for the leaderboard {record.board}"
    if record.limit is not None:
        return f"a reduced run: the first {record.limit} test samples only"
    if other := _other_panel(leaderboard, record):
        return f"another panel of attacks: {other}"
    threat, budget = record.threat, leaderboard.budget
    if not leaderboard.poisons and (threat["norm"], threat["eps"]) != (budget.kind, budget.amount):
        return f"another ball: {threat['norm']} {threat['eps']:g}"
    if threat["capability"] != leaderboard.capability:
        return f"another capability of the adversary: {threat['capability']}"
    if record.defense.get("oracle") and not leaderboard.oracle:
        return ORACLE
    return ""


def _other_panel(leaderboard: Leaderboard, record: Record) -> str:
    """The attacks of a record, where they are not those that all rows are tried on."""
    panel = [label for label in leaderboard.attacks if label != CLEAN]
    if (leaderboard.poisons and not leaderboard.joint) or record.attack_labels == panel:
        return ""
    return ", ".join(record.attack_labels) or CLEAN


def _setup(record: Record) -> Setup:
    """The test samples of a record, and the settings of its attacks."""
    settings = [str(sorted(result.settings.items())) for result in record.attacks.values()]
    data = record.data
    return data.get("ids"), data["examples"], data["dataset_digest"], tuple(settings)


def _teachers(records: Iterable[Record]) -> set[str]:
    return {
        model["weights"]
        for record in records
        for role, model in record.models.items()
        if role.startswith("teacher-")
    }
