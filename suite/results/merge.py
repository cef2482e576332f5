"""Folders of records from several machines and contributors, put together. Needs no torch.

Names of records hold their claims, so a union of folders knows no conflict: the same claim is kept
once, and different answers to the same question lie side by side. What cannot be trusted is refused
by name, and the rest stays usable; what a file there already holds is never changed. Records of
older schemas are written in today's, under the name that they have in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, NotComparable, RobustbenchError
from robustbench_kd.core.io import EVIDENCE_LIMIT, expect_writable, read_bytes
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


def merge(folders: Sequence[Path], out: Path, right: Sequence[Path] = ()) -> Merged:
    """Copies the records of all folders to one, each with its evidence; refuses by name.

    All files are read before the first one is written. On each leaderboard (and, where every attack
    poisons training data of its own, for each attack) the protocol is that of ``right``, else that
    of the records in ``out``, else that of all; where those differ, none of them is merged. It is
    never put to a vote: whoever adds the most files would win it.

    Args:
        right: records that follow the right protocol, one for each leaderboard.

    Raises:
        BadRecord: where one of ``right`` is none.
        SaveFailed: where ``out`` cannot be written to.
    """
    expect_writable(out)
    present, refused = _read([out])
    given, unreadable = _read(folders, besides=out)
    examples = [RecordFile(path, read_record(path)) for path in right]
    answers = _answers(given) | _answers(present) | _answers(examples)
    conflicts = [_conflict(file, answers) for file in (*present, *given)]
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


def _conflict(file: RecordFile, answers: Mapping[str, list[RecordFile]]) -> Refusal | None:
    """Why a record cannot stand beside the others of its leaderboard, if it cannot.

    Args:
        answers: of each question one record for each protocol that may be the right one.
    """
    candidates = answers[_question(file.record)]
    differing = _differing(file.record, *(other.record for other in candidates))
    if not differing:
        return None
    if len(candidates) == 1:
        why = (
            f"{file.path} measures something else than {candidates[0].path}: other "
            f"{', '.join(differing)}"
        )
    else:
        paths = " and ".join(str(other.path) for other in candidates)
        why = (
            f"{file.path} was not merged: records of {file.record.board} follow "
            f"{len(candidates)} protocols, such as those of {paths}, which differ in "
            f"{', '.join(differing)}; name the right one by --protocol RECORD"
        )
    return Refusal(file.path, why, NotComparable.exit_code)


def _differing(*records: Record) -> list[str]:
    """The parts of their protocols in which records differ."""
    protocols = [protocol(record) for record in records]
    names = sorted({name for parts in protocols for name in parts})
    return [name for name in names if len({parts.get(name) for parts in protocols}) > 1]


def _answers(files: Iterable[RecordFile]) -> dict[str, list[RecordFile]]:
    """Of each question one record of each protocol; how many follow it counts for nothing.

    A limited run is none where there is a full one.
    """
    questions: dict[str, list[RecordFile]] = {}
    for file in files:
        questions.setdefault(_question(file.record), []).append(file)
    answers = {}
    for question, alike in questions.items():
        unlimited = [file for file in alike if file.record.limit is None] or alike
        kinds = {tuple(sorted(protocol(file.record).items())): file for file in reversed(unlimited)}
        answers[question] = sorted(kinds.values(), key=lambda file: file.path)
    return answers


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
    if inputs is not None and inputs.exists() and read_bytes(inputs, EVIDENCE_LIMIT) != evidence:
        occupied = inputs
    if occupied is not None:
        raise BadRecord(f"{file.path} was not merged: {occupied} holds something else already")
    return save_record(file.record, evidence, out)
