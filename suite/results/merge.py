"""Folders of records from several machines and contributors, put together. Needs no torch.

Names of records hold their claims, so a union of folders knows no conflict: the same claim is kept
once, and different answers to the same question lie side by side. What cannot be trusted is refused
by name, and the rest stays usable; a file that is there already is never written to.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.errors import BadRecord, NotComparable, RobustbenchError
from robustbench_kd.core.io import expect_writable, read_bytes, write_whole
from robustbench_kd.results.planted import Planted
from robustbench_kd.results.probed import Probed
from robustbench_kd.results.record import Record, canonical
from robustbench_kd.results.store import planted_path, probed_path, proof_of, read_any, record_path

AnyRecord = Record | Planted | Probed


@dataclass(frozen=True)
class Refusal:
    """A file that was left out, and why; ``code`` is what the command returns for it."""

    path: Path
    why: str
    code: int


@dataclass(frozen=True)
class Sheet:
    """A record that reads well: where it lies, and the file that proves it, if it has one."""

    path: Path
    record: AnyRecord
    proof: Path | None


@dataclass(frozen=True)
class Merged:
    """What became of every file: written now, there already, the same as another, or refused."""

    written: tuple[Path, ...]
    there: tuple[Path, ...]
    twice: tuple[Path, ...]
    refused: tuple[Refusal, ...]

    @property
    def code(self) -> int:
        """The highest that applies: 2 damaged, 4 another protocol, 5 nothing usable."""
        nothing = 0 if self.written or self.there else 5
        return max(nothing, *(one.code for one in self.refused), 0)


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Copies the records of all folders to one, each with its proof; refuses by name.

    All files are read before the first one is written. On each board (and planted attack), the
    protocol is that of most records of ``out``, or of most of all where it holds none yet.

    Raises:
        SaveFailed: where ``out`` cannot be written to.
    """
    expect_writable(out)
    kept, bad = _sheets([out])
    found, worse = _sheets([folder for folder in folders if folder.resolve() != out.resolve()])
    kept, found, mixed = _one_protocol(kept, found)
    claims = {sheet.record.claim for sheet in kept}
    written: list[Path] = []
    twice: list[Path] = []
    refused = [*bad, *worse, *mixed]
    for sheet in found:
        if sheet.record.claim in claims:
            twice.append(sheet.path)
            continue
        try:
            written.append(_copied(sheet, out))
            claims.add(sheet.record.claim)
        except BadRecord as why:
            refused.append(Refusal(sheet.path, str(why), why.exit_code))
    return Merged(tuple(written), tuple(s.path for s in kept), tuple(twice), tuple(refused))


def _sheets(folders: Iterable[Path]) -> tuple[list[Sheet], list[Refusal]]:
    """The records of some folders in order of their names, and what cannot be read as one."""
    good: list[Sheet] = []
    bad: list[Refusal] = []
    paths = {p.resolve(): p for folder in folders for p in sorted(folder.rglob("*.json"))}
    for path in paths.values():
        try:
            record = read_any(path)
            good.append(Sheet(path, record, _proof(path, record)))
        except RobustbenchError as why:
            bad.append(Refusal(path, str(why), why.exit_code))
    return good, bad


def _proof(path: Path, record: AnyRecord) -> Path | None:
    """The file beside a record, which must be the one that it names.

    Raises:
        BadRecord: where it is missing or another one.
    """
    beside = proof_of(record, path)
    if beside is None:
        return None
    proof, wanted = beside
    if not proof.exists():
        raise BadRecord(f"{path} lacks its evidence, which should lie in {proof.name}")
    if hashlib.sha256(read_bytes(proof)).hexdigest() != wanted:
        raise BadRecord(f"{proof} is not the evidence of {path.name}: it was damaged or swapped")
    return proof


def protocol(record: AnyRecord) -> dict[str, str]:
    """What a record asks, part by part; rows of one board are about the same question."""
    parts: dict[str, object] = {"test data": record.data}
    if isinstance(record, Record):
        parts |= {"threat": record.threat, "number of images": record.limit or "all"}
        parts |= {f"settings of {c.attack}": c.settings for c in record.cells}
    elif isinstance(record, Planted):
        parts |= {"door": record.door, f"settings of {record.attack}": record.settings}
    else:
        parts |= {"door": record.door}
        parts |= {f"settings of {name}": one for name, one in record.attacks.items()}
    return {name: canonical(value) for name, value in parts.items()}


def _one_protocol(
    kept: Sequence[Sheet], found: Sequence[Sheet]
) -> tuple[list[Sheet], list[Sheet], list[Refusal]]:
    """Only what asks the same question as the others on its board."""
    mixed: list[Refusal] = []

    def same(sheets: Sequence[Sheet]) -> Iterator[Sheet]:
        for sheet in sheets:
            asks, wanted = protocol(sheet.record), wants[_board(sheet.record)]
            if asks == wanted:
                yield sheet
                continue
            parts = sorted(n for n in {*asks, *wanted} if asks.get(n) != wanted.get(n))
            mixed.append(
                Refusal(
                    sheet.path,
                    f"{sheet.path} asks something else than most records of "
                    f"{sheet.record.board}: other {', '.join(parts)}",
                    NotComparable.exit_code,
                )
            )

    wants = _usual(found) | _usual(kept)
    return list(same(kept)), list(same(found)), mixed


def _usual(sheets: Iterable[Sheet]) -> dict[str, dict[str, str]]:
    """The commonest protocol of each board; a reduced run sets none where there is a whole one."""
    boards: dict[str, list[Sheet]] = {}
    for sheet in sheets:
        boards.setdefault(_board(sheet.record), []).append(sheet)
    found = {}
    for board, mine in boards.items():
        whole = [s for s in mine if getattr(s.record, "limit", None) is None] or mine
        counts = Counter(tuple(protocol(sheet.record).items()) for sheet in whole)
        found[board] = dict(counts.most_common(1)[0][0])
    return found


def _board(record: AnyRecord) -> str:
    return f"{record.board}/{record.attack}" if isinstance(record, Planted) else record.board


def _path(record: AnyRecord, out: Path) -> Path:
    if isinstance(record, Planted):
        return planted_path(record, out)
    return probed_path(record, out) if isinstance(record, Probed) else record_path(record, out)


def _copied(sheet: Sheet, out: Path) -> Path:
    """Writes proof and record, the record last, byte for byte.

    Raises:
        BadRecord: where something else lies there already.
    """
    target = _path(sheet.record, out)
    beside = proof_of(sheet.record, target)
    pairs = [(sheet.proof, beside[0])] if sheet.proof and beside else []
    pairs.append((sheet.path, target))
    data = [(read_bytes(source), goal) for source, goal in pairs]
    for body, goal in data:
        if goal.exists() and read_bytes(goal) != body:
            raise BadRecord(f"{sheet.path} was not merged: {goal} holds something else already")
    for body, goal in data:
        if not goal.exists():
            write_whole(goal, body)
    return target
