"""The records that a gate compares, and how their networks are queried again (by torch)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_kd.core.errors import (
    BadModel,
    BadRecord,
    MissingData,
    NotComparable,
    NothingEvaluated,
)
from robustbench_kd.core.paths import shipped
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.results.store import (
    evidence_path,
    local_records,
    look_up,
    read_record,
    slug,
)

if TYPE_CHECKING:
    from robustbench_kd.regression.decision import CrossReplay


@dataclass(frozen=True)
class GateRecords:
    """Snapshots of records, and the files of these by claim."""

    snapshots: tuple[Snapshot, ...]
    paths: Mapping[str, Path]


def gathered(given: Sequence[str], board: str) -> GateRecords:
    """The records that were named: paths, folders, or labels on a leaderboard (``ard@1``).

    Raises:
        NothingEvaluated: where a folder holds none.
        BadRecord: where a file is damaged.
        NotComparable: where a record holds nothing to compare.
    """
    paths = [path for text in given for path in _paths(text, board)]
    shots = [(snapshot(read_record(path)), path) for path in paths]
    return _gate_records(shots)


def latest(names: Iterable[str]) -> GateRecords:
    """The newest record on this machine of each of these students, by name.

    Raises:
        NothingEvaluated: where there is none.
    """
    students = set(names)
    boards = {name.partition("/")[0] for name in students}
    paths = [path for board in sorted(boards) for path in (local_records() / board).glob("*.json")]
    newest: dict[str, tuple[Snapshot, Path]] = {}
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            shot = snapshot(read_record(path))
        except NotComparable:  # made under other attacks; it is about no student of the baseline
            continue
        if shot.name in students:
            newest[shot.name] = shot, path
    if not newest:
        raise NothingEvaluated(
            "no record on this machine is about a student of the baseline; make one by "
            "robustbench-kd evaluate, or name the records"
        )
    return _gate_records(newest.values())


def _gate_records(shots: Iterable[tuple[Snapshot, Path]]) -> GateRecords:
    pairs = list(shots)
    return GateRecords(tuple(shot for shot, _ in pairs), {shot.claim: path for shot, path in pairs})


def _paths(text: str, board: str) -> list[Path]:
    if Path(text).is_dir():
        paths = sorted(Path(text).rglob("*.json"))
        if not paths:
            raise NothingEvaluated(f"there is no record in {text}")
        return paths
    if text.endswith(".json") or Path(text).is_file():
        return [Path(text)]
    return [look_up(text, board)[0]]


def replayer(
    paths: Mapping[str, Path],
    seeds: int,
    model: str | None = None,
    net: str | None = None,
    evidence: Path | None = None,
) -> Callable[[Snapshot, Snapshot], CrossReplay | str]:
    """Queries both networks of a pair again; a text where one of them or its record is not here.

    Args:
        paths: of records, by claim.
        seeds: how many fresh seeds try what still differs.
        model: the new network, where it is the user's own.
        net: the architecture of its file.
        evidence: a folder where the older record and its stored inputs may lie.

    Raises:
        MissingData: where there is no such folder.
    """
    if evidence is not None and not evidence.is_dir():
        raise MissingData(f"there is no folder {evidence}, where the older record should lie")
    folders = [*([evidence] if evidence else []), shipped("records"), local_records()]

    def replay(old: Snapshot, new: Snapshot) -> CrossReplay | str:
        if not any(endpoint.role == "attack" for endpoint in new.endpoints.values()):
            return "not replayed: only attacks on test data store inputs that a network can break"
        before, after = (paths.get(shot.claim) or _stored(shot, folders) for shot in (old, new))
        if before is None or after is None:
            return (
                f"not replayed: the older record of {old.name} is not here with its stored inputs; "
                "name the folder where it lies by --evidence"
            )
        from robustbench_kd.evaluation.entries import scenario_of
        from robustbench_kd.models.loading import load_network
        from robustbench_kd.regression.cross_replay import cross_replay

        own = load_network(model, net, scenario_of(new.scenario)) if model is not None else None
        try:
            return cross_replay(before, after, seeds, own)
        except BadModel as why:
            return f"not replayed, since one side alone would be unfair: {why}"

    return replay


def _stored(shot: Snapshot, folders: Sequence[Path]) -> Path | None:
    """The file of the record that a snapshot was taken of, with its stored inputs beside it."""
    for folder in folders:
        for path in sorted(folder.rglob(f"{slug(shot.label)}--seed{shot.seed}--*.json")):
            try:
                record = read_record(path)
                inputs = evidence_path(record, path)
                # Records were written anew under another schema, and thereby got other claims.
                candidate = snapshot(record)
                same = replace(candidate, claim=shot.claim, user_model=shot.user_model) == shot
            except (BadRecord, NotComparable):
                continue
            if same and inputs is not None and inputs.exists():
                return path
    return None
