"""Records on disk: names, writing, reading and finding them. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from robustbench_kd.core.aliases import current_label, current_name, stable_name
from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import (
    BadRecord,
    BadSetting,
    MissingData,
    RobustbenchError,
    UnknownName,
)
from robustbench_kd.core.io import EVIDENCE_LIMIT, RECORD_LIMIT, read_bytes, write_whole
from robustbench_kd.core.json_document import read_json
from robustbench_kd.core.paths import cache, is_shipped, shipped
from robustbench_kd.core.registry import Entry, board_of, entries
from robustbench_kd.results.parsing import parse_body
from robustbench_kd.results.record import Json, Record


def record_name(record: Record) -> str:
    """The stem of a record's file; the same claim always has the same name.

    A record of a single attack is named after it: ``badnets--ard--seed0--0123456789ab``.
    """
    trained = record.capability != "test_data" and len(record.attack_labels) == 1
    attack = [slug(record.attack_labels[0])] if trained else []
    return "--".join([*attack, slug(record.label), f"seed{record.seed}", record.claim[:12]])


def record_path(record: Record, folder: Path) -> Path:
    """Where a record lies in a folder of records.

    Raises:
        BadRecord: where its leaderboard's name would lead out of the folder.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", record.board):
        raise BadRecord(f"{record.board!r} is no name of a leaderboard: it may leave {folder}")
    return folder / record.board / f"{record_name(record)}.json"


def evidence_path(record: Record, path: Path) -> Path | None:
    """The file of stored inputs beside a record, by its content; None where it has none.

    Args:
        path: of the record.
    """
    sha256 = record.evidence.get("sha256")
    return path.parent / f"inputs--{sha256[:16]}.safetensors" if sha256 else None


def save_record(record: Record, evidence: bytes, folder: Path) -> Path:
    """Writes evidence and record; the record last, so that no record is without its evidence.

    Records of the same submitted inputs share one file of them.
    """
    path = record_path(record, folder)
    inputs = evidence_path(record, path)
    if inputs is not None:
        write_whole(inputs, evidence)
    text = json.dumps(record.json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    write_whole(path, (text + "\n").encode())
    return path


def read_record(path: Path) -> Record:
    """The record in a file, of whichever schema.

    Raises:
        BadRecord: where it cannot be read, is damaged, or contradicts itself.
    """
    return parse_body(read_body(path), str(path))


def read_body(path: Path) -> Json:
    """The JSON document in a file.

    Raises:
        BadRecord: where it holds none.
    """
    try:
        body = read_json(read_bytes(path, RECORD_LIMIT, links=is_shipped(path)))
    except ValueError as why:
        raise BadRecord(f"{path} is no record: {why}") from why
    if not isinstance(body, dict):
        raise BadRecord(f"{path} is no record: it holds a {type(body).__name__}")
    return body


def read_evidence(record: Record, path: Path) -> bytes:
    """The stored inputs beside a record; empty where it has none.

    Raises:
        BadRecord: where they are missing, or are not those that the record was made with.
    """
    current = evidence_path(record, path)
    if current is None:
        return b""
    inputs = find_evidence(record, path)
    if inputs is None:
        raise BadRecord(f"{path} lacks its evidence, which should lie in {current.name} beside it")
    raw = read_bytes(inputs, EVIDENCE_LIMIT, links=is_shipped(inputs))
    if hashlib.sha256(raw).hexdigest() != record.evidence["sha256"]:
        raise BadRecord(f"{inputs} is not the evidence that {path} was made with")
    return raw


def find_evidence(record: Record, path: Path) -> Path | None:
    """The file of stored inputs that lies beside a record; None where there is none.

    Beside records of older schemas they lie under older names.
    """
    current = evidence_path(record, path)
    if current is None:
        return None
    older = path.parent.glob(f"*--inputs-seed*--{record.evidence['sha256'][:12]}.safetensors")
    names = [current, path.with_suffix(".safetensors"), *sorted(older)]
    return next((name for name in names if name.exists()), None)


def slug(text: str) -> str:
    """Part of a file name: lower case, and nothing that a file system might mind."""
    return re.sub(r"[^a-z0-9.=]+", "-", text.lower()).strip("-")[:80] or "model"


@dataclass(frozen=True)
class Inventory:
    """Records by path, and a sentence for each file that is refused."""

    records: Mapping[Path, Record]
    refused: tuple[str, ...]


def load_records(folder: str | Path | None = None, board: str | None = None) -> list[Record]:
    """All records of a folder, in order of their names.

    Args:
        folder: in place of the committed records; records lie in it or in folders of boards.
        board: only records of this leaderboard.

    Raises:
        MissingData: where there is no such folder, or no record in it.
        BadRecord: where a file is damaged.
        UnknownName: for an unknown leaderboard.
    """
    name = None if board is None else board_of(board).name
    root = Path(folder) if folder is not None else shipped("records")
    if not root.is_dir():
        raise MissingData(f"there is no folder {root}; name one that holds records")
    stock = inventory(_paths(root, name), name)
    if stock.refused:
        raise BadRecord(stock.refused[0])
    if not stock.records:
        about = f" about {name}" if name else ""
        raise MissingData(
            f"there is no record{about} in {root}; records lie in it or in folders named after "
            "their leaderboards"
        )
    return list(stock.records.values())


def take_inventory(folder: str | Path | None, board: str) -> Inventory:
    """All that a folder (the committed records unless given) holds of a leaderboard.

    Records lie in a folder of their leaderboard's name, or directly in the one that is given. What
    is damaged, of a future schema, or a copy of another file is refused by name, and the rest stays
    usable; nothing is skipped in silence.

    Raises:
        UnknownName: for an unknown leaderboard.
    """
    root = Path(folder) if folder is not None else shipped("records")
    name = board_of(board).name
    return inventory(_paths(root, name), name)


def inventory(
    paths: Iterable[Path],
    board: str | None = None,
    read: Callable[[Json, str], Record] = parse_body,
) -> Inventory:
    """The records in these files; copies, and whatever cannot be read, are refused by name.

    So is a record in a folder of another leaderboard. A record and its migrated copy are copies of
    each other.

    Args:
        board: records of other leaderboards are left out; they cannot be ranked on this one.
    """
    records: dict[Path, Record] = {}
    refused: list[str] = []
    first: dict[str, Path] = {}
    boards = entries("leaderboards")
    for path in paths:
        try:
            record = read(read_body(path), str(path))
            expect_on_its_board(record, path, boards)
        except RobustbenchError as why:
            refused.append(str(why))
            continue
        if board is not None and record.board != board:
            continue
        original = first.setdefault(record.id, path)
        if original != path:
            same = original.parent == path.parent
            which = f"{original.name} beside it" if same else original
            refused.append(f"{path} is a copy of {which}; remove one of them")
        else:
            records[path] = record
    return Inventory(records, tuple(refused))


def expect_on_its_board(record: Record, path: Path, boards: Mapping[str, Entry]) -> None:
    """Refuses a record in a folder of another leaderboard, or whose threat its own is not about.

    Args:
        boards: all leaderboards here; records of others, such as a plug-in's, are let pass.

    Raises:
        BadRecord: where it does not belong.
        BrokenPlugin: where its leaderboard cannot be imported.
    """
    folder = current_name("leaderboards", path.parent.name)
    if folder != record.board and folder in boards:
        raise BadRecord(f"{path} is about {record.board}, and lies in a folder of {folder}")
    if record.board not in boards:
        return
    leaderboard: Leaderboard = boards[record.board].load()
    if leaderboard.poisons != (record.capability != "test_data"):
        raise BadRecord(
            f"{path} holds attacks on {record.capability}, and {record.board} is about attacks on "
            f"{leaderboard.capability}"
        )


def _paths(root: Path, board: str | None) -> list[Path]:
    """Records in folders of a leaderboard (of all where none is named), then those beside them."""
    names = {board, stable_name("leaderboards", board)} if board else {"*"}
    inside = [path for name in names for path in root.glob(f"{name}/*.json")]
    return [*sorted(inside), *sorted(root.glob("*.json"))]


def local_records() -> Path:
    """The folder of the records that were made on this machine."""
    return cache() / "records"


def look_up(text: str, board: str) -> tuple[Path, Record]:
    """A record by its path, or by what it is about: ``ard``, or ``ard@1`` for seed 1.

    Where several attacks made records of one defense: ``badnets/ard@1``. Old names are understood.
    Committed records go before those made on this machine, and those within the leaderboard's own
    budget before others.

    Raises:
        BadRecord: where the path holds none.
        UnknownName: where no record on the leaderboard is about that, or there is no such
            leaderboard.
        BadSetting: where several are.
    """
    if text.endswith(".json") or Path(text).is_file():
        return Path(text), read_record(Path(text))
    rest, _, number = text.partition("@")
    if number and not number.isdigit():
        raise BadSetting(f"cannot read {text!r}; a seed is a number: {rest}@1")
    attack, sign, label = rest.rpartition("/")
    attack, label = current_label("attacks", attack), current_label("defenses", label)
    leaderboard = board_of(board)
    eps = leaderboard.budget.amount
    known: set[str] = set()
    for folder in (shipped("records"), local_records()):
        unlimited = {
            path: record
            for path in _paths(folder, leaderboard.name)
            if (record := read_record(path)).limit is None and record.board == leaderboard.name
        }
        matches = [
            (path, record)
            for path, record in unlimited.items()
            if (record.label, record.seed) == (label, int(number or 0))
            and (not sign or attack in record.attacks)
        ]
        matches = [pair for pair in matches if pair[1].threat.get("eps", eps) == eps] or matches
        if len(matches) > 1:
            paths = ", ".join(str(path) for path, _ in matches)
            raise BadSetting(f"{len(matches)} records are about {text!r}; give a path: {paths}")
        if matches:
            return matches[0]
        known |= {f"{record.label}@{record.seed}" for record in unlimited.values()}
    raise UnknownName(
        f"record on {leaderboard.name}", text, known or {"none; give the path of a record"}
    )
