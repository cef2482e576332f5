"""Folders of records from several machines and contributors, put together. Needs no torch.

Names of records hold their claims, so a union of folders knows no conflict: the same claim is kept
once, and different answers to the same question lie side by side. What cannot be trusted is refused
by name, and the rest stays usable; what a file there already holds is never changed. Records of
older schemas are written in today's, under the name that they have in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, NotComparable, RobustbenchError
from robustbench_kd.core.io import expect_writable, read_bytes
from robustbench_kd.core.registry import entries
from robustbench_kd.results.record import Record, canonical
from robustbench_kd.results.store import (
    evidence_path,
    expect_on_its_board,
    read_evidence,
    read_record,
    record_path,
    save_record,
)

Protocol = dict[str, str]


@dataclass(frozen=True)
class Refusal:
    """A file that was left out, and why; ``code`` is what the command returns for it."""

    path: Path
    why: str
    code: int


@dataclass(frozen=True)
class RecordFile:
    """A record that was read, and where it lies."""

    path: Path
    record: Record


@dataclass(frozen=True)
class Merged:
    """What became of every file: written now, there already, the same as another, or refused."""

    written: tuple[Path, ...]
    present: tuple[Path, ...]
    duplicates: tuple[Path, ...]
    refused: tuple[Refusal, ...]

    @property
    def code(self) -> int:
        """The highest that applies: 2 damaged, 4 another protocol, 5 nothing usable."""
        nothing = 0 if self.written or self.present else 5
        return max(nothing, *(refusal.code for refusal in self.refused), 0)


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Copies the records of all folders to one, each with its evidence; refuses by name.

    All files are read before the first one is written. On each leaderboard (and, where every attack
    poisons training data of its own, for each attack) the protocol is that of most records of
    ``out``, or of most of all where it holds none yet.

    Raises:
        SaveFailed: where ``out`` cannot be written to.
    """
    expect_writable(out)
    present, refused = _read([out])
    given, unreadable = _read(folders, besides=out)
    protocols = _usual_protocols(given) | _usual_protocols(present)
    conflicts = [_conflict(file, protocols) for file in (*present, *given)]
    refused += unreadable + [conflict for conflict in conflicts if conflict]
    conflicting = {conflict.path for conflict in conflicts if conflict}
    present = [file for file in present if file.path not in conflicting]
    claims = {file.record.claim for file in present}
    written: list[Path] = []
    duplicates: list[Path] = []
    for file in given:
        if file.path in conflicting:
            continue
        if file.record.claim in claims:
            duplicates.append(file.path)
            continue
        try:
            written.append(_copied(file, out))
            claims.add(file.record.claim)
        except BadRecord as why:
            refused.append(Refusal(file.path, str(why), why.exit_code))
    present_paths = tuple(file.path for file in present)
    return Merged(tuple(written), present_paths, tuple(duplicates), tuple(refused))


def _read(
    folders: Iterable[Path], besides: Path | None = None
) -> tuple[list[RecordFile], list[Refusal]]:
    """The records of some folders in order of their names, and what cannot be trusted as one.

    Args:
        besides: a folder that was read already.
    """
    files: list[RecordFile] = []
    refused: list[Refusal] = []
    boards = entries("leaderboards")
    paths = {path.resolve(): path for folder in folders for path in sorted(folder.rglob("*.json"))}
    for place, path in paths.items():
        if besides is not None and besides.resolve() in place.parents:
            continue
        try:
            record = read_record(path)
            expect_on_its_board(record, path, boards)
            _expect_evidence(record, path)
            files.append(RecordFile(path, record))
        except RobustbenchError as why:
            refused.append(Refusal(path, str(why), why.exit_code))
    return files, refused


def _expect_evidence(record: Record, path: Path) -> None:
    """The inputs that a record was made with lie beside it.

    Raises:
        BadRecord: where they do not, or where a record of attacks on test data names none.
    """
    if not read_evidence(record, path) and record.capability == "test_data":
        raise BadRecord(f"{path} lacks its evidence: it names no file of stored inputs")


def protocol(record: Record) -> Protocol:
    """What a record measures, part by part; rows of one leaderboard answer the same question."""
    data = {name: record.data[name] for name in ("dataset_digest", "examples", "count")}
    parts: dict[str, object] = {"test data": data, "threat": record.threat}
    parts["number of test examples"] = record.limit or "all"
    parts |= {f"settings of {label}": result.settings for label, result in record.attacks.items()}
    return {name: canonical(value) for name, value in parts.items()}


def _conflict(file: RecordFile, protocols: dict[str, Protocol]) -> Refusal | None:
    """Why a record cannot stand beside the others of its leaderboard, if it cannot."""
    measured, usual = protocol(file.record), protocols[_question(file.record)]
    others = sorted(n for n in {*measured, *usual} if measured.get(n) != usual.get(n))
    if not others:
        return None
    why = (
        f"{file.path} measures something else than most records of {file.record.board}: "
        f"other {', '.join(others)}"
    )
    return Refusal(file.path, why, NotComparable.exit_code)


def _usual_protocols(files: Iterable[RecordFile]) -> dict[str, Protocol]:
    """The commonest protocol of each question; a limited run sets none where there is a full one.

    A claim counts once, however many copies there are of it.
    """
    records = {file.record.claim: file.record for file in files}
    questions: dict[str, list[Record]] = {}
    for record in records.values():
        questions.setdefault(_question(record), []).append(record)
    usual = {}
    for question, alike in questions.items():
        unlimited = [record for record in alike if record.limit is None] or alike
        counts = Counter(tuple(sorted(protocol(record).items())) for record in unlimited)
        usual[question] = dict(max(sorted(counts.items()), key=lambda pair: pair[1])[0])
    return usual


def _question(record: Record) -> str:
    """The leaderboard, and the attack where it poisons training data of its own."""
    alone = record.capability != "test_data" and len(record.attack_labels) == 1
    return "/".join((record.board, *(record.attack_labels if alone else ())))


def _copied(file: RecordFile, out: Path) -> Path:
    """Writes evidence and record.

    Raises:
        BadRecord: where something else lies there already.
    """
    target = record_path(file.record, out)
    inputs = evidence_path(file.record, target)
    evidence = read_evidence(file.record, file.path)
    occupied = target if target.exists() else None
    if inputs is not None and inputs.exists() and read_bytes(inputs) != evidence:
        occupied = inputs
    if occupied is not None:
        raise BadRecord(f"{file.path} was not merged: {occupied} holds something else already")
    return save_record(file.record, evidence, out)
