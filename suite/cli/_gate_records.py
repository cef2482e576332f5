"""Where a gate's records come from, and how it asks networks again. No torch until it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_kd.core.errors import BadModel, BadRecord, MissingData, NothingEvaluated
from robustbench_kd.core.paths import shipped
from robustbench_kd.regression.snapshot import Snapshot, snapshot
from robustbench_kd.results.probed import Probed
from robustbench_kd.results.store import kept, look_up, read_any

if TYPE_CHECKING:
    from robustbench_kd.regression.decision import Rematch


@dataclass(frozen=True)
class Found:
    """Snapshots of records, and where those lie, by their claims."""

    snapshots: tuple[Snapshot, ...]
    paths: Mapping[str, Path]


def gathered(given: Sequence[str], board: str) -> Found:
    """The records that were named: paths, folders, or labels on a board (``ard@1``).

    Raises:
        NothingEvaluated: where a folder holds none.
    """
    return _found(path for text in given for path in _paths(text, board))


def latest(names: Iterable[str]) -> Found:
    """The newest record on this machine of each of these students, by name."""
    wanted = set(names)
    boards = {name.partition("/")[0] for name in wanted}
    paths = [path for board in sorted(boards) for path in (kept() / board).glob("*.json")]
    newest: dict[str, tuple[Snapshot, Path]] = {}
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        one = read(path)
        if one.name in wanted:
            newest[one.name] = one, path
    if not newest:
        raise NothingEvaluated(
            "no record on this machine is about a student of the baseline; make one by "
            "robustbench-kd evaluate, or name the records"
        )
    return Found(
        tuple(one for one, _ in newest.values()), {o.claim: path for o, path in newest.values()}
    )


def read(path: Path) -> Snapshot:
    """The snapshot of the record in a file.

    Raises:
        BadRecord: where it is damaged, or tells what networks know, which no gate judges.
    """
    record = read_any(path)
    if isinstance(record, Probed):
        raise BadRecord(
            f"{path} has schema {record.schema!r}, which is not judged example by example"
        )
    return snapshot(record)


def _paths(text: str, board: str) -> list[Path]:
    if Path(text).is_dir():
        found = sorted(Path(text).rglob("*.json"))
        if not found:
            raise NothingEvaluated(f"there is no record in {text}")
        return found
    if text.endswith(".json") or Path(text).is_file():
        return [Path(text)]
    return [look_up(text, board)[0]]


def _found(paths: Iterable[Path]) -> Found:
    read_ones = [(read(path), path) for path in paths]
    return Found(tuple(one for one, _ in read_ones), {one.claim: p for one, p in read_ones})


def asking(
    found: Mapping[str, Path],
    seeds: int,
    model: str | None = None,
    net: str | None = None,
    evidence: Path | None = None,
) -> Callable[[Snapshot, Snapshot], Rematch | str]:
    """How both networks are asked again; a text where one of them or its record is not here.

    Args:
        found: records by their claims.
        seeds: so many fresh seeds try what still differs.
        model: the new network, where it is somebody's own.
        net: the architecture of its file.
        evidence: a folder where the older record and its evidence may lie.

    Raises:
        MissingData: where there is no such folder.
    """
    if evidence is not None and not evidence.is_dir():
        raise MissingData(f"there is no folder {evidence}, where the older record should lie")
    folders = [*([evidence] if evidence else []), shipped("records"), kept()]

    def ask(old: Snapshot, new: Snapshot) -> Rematch | str:
        if old.attack is not None:
            return "not asked again: robustbench-kd verify asks every network of a planted record"
        paths = [found.get(one.claim) or _by_claim(one, folders) for one in (old, new)]
        if paths[0] is None or paths[1] is None:
            return (
                f"not asked again: the older record of {old.name} (claim {old.claim[:12]}) is not "
                "here; name the folder where it lies by --evidence"
            )
        from robustbench_kd.evaluation.fingerprints import scenario_of
        from robustbench_kd.models.loading import bring
        from robustbench_kd.regression.cross_replay import rematch

        own = bring(model, net, scenario_of(new.scenario)) if model is not None else None
        try:
            return rematch(paths[0], paths[1], seeds, own)
        except BadModel as why:
            return f"not asked again, since one side alone would be unfair: {why}"

    return ask


def _by_claim(one: Snapshot, folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        for path in sorted(folder.rglob(f"*--{one.claim[:12]}.json")):
            if path.with_suffix(".safetensors").exists():
                return path
    return None
