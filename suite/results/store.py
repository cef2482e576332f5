"""Records on disk. Needs no torch, so that comparing two of them starts in a blink."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustbench_kd.core.errors import BadRecord, BadSetting, UnknownName
from robustbench_kd.core.io import read_bytes, write_whole
from robustbench_kd.core.paths import cache, shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.results.planted import SCHEMA as PLANTED
from robustbench_kd.results.planted import Planted, parse_planted
from robustbench_kd.results.probed import SCHEMA as PROBED
from robustbench_kd.results.probed import Probed, parse_probed
from robustbench_kd.results.record import SCHEMA as RECORD
from robustbench_kd.results.record import Json, Record, parse, parse_body


def record_name(record: Record) -> str:
    """The stem of a record's two files; the same claim always has the same name."""
    return f"{_slug(record.label)}--seed{record.seed}--{record.claim[:12]}"


def record_path(record: Record, folder: Path) -> Path:
    """Where a record lies in a folder of records; its evidence lies beside it."""
    return folder / record.board / f"{record_name(record)}.json"


def save_record(record: Record, evidence: bytes, folder: Path) -> Path:
    """Writes evidence and record; the record last, so that no record is without its evidence."""
    path = record_path(record, folder)
    write_whole(path.with_suffix(".safetensors"), evidence)
    text = json.dumps(record.json(), indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, (text + "\n").encode())
    return path


def save_planted(record: Planted, exhibit: bytes, folder: Path) -> Path:
    """Writes the submitted inputs (once, however many records are about them), then the record."""
    path = planted_path(record, folder)
    write_whole(path.parent / exhibit_name(record), exhibit)
    text = json.dumps(record.json(), indent=1, sort_keys=True, allow_nan=False)
    write_whole(path, (text + "\n").encode())
    return path


def planted_path(record: Planted, folder: Path) -> Path:
    """Where a planted record lies in a folder of records."""
    stem = f"{_slug(record.attack)}--{_slug(record.label)}--seed{record.seed}"
    return folder / record.board / f"{stem}--{record.claim[:12]}.json"


def save_probed(record: Probed, folder: Path) -> Path:
    """Writes a probed record."""
    path = probed_path(record, folder)
    text = json.dumps(record.json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    write_whole(path, (text + "\n").encode())
    return path


def probed_path(record: Probed, folder: Path) -> Path:
    """Where a probed record lies in a folder of records; named by its attack, if it has one."""
    alone = [_slug(attack) for attack in record.attacks] if len(record.attacks) == 1 else []
    stem = "--".join([*alone, _slug(record.label), f"seed{record.seed}", record.claim[:12]])
    return folder / record.board / f"{stem}.json"


def load_probed(folder: str | Path | None = None, board: str = "*") -> list[Probed]:
    """All probed records of a folder (the committed ones unless given), in order of names."""
    root = Path(folder) if folder is not None else shipped("records")
    found = []
    for path in sorted(root.glob(f"{board}/*.json")):
        if (body := _body(path)).get("schema") == PROBED:
            found.append(parse_probed(body, str(path)))
    return found


def read_probed(path: Path) -> Probed:
    """The probed record in a file.

    Raises:
        BadRecord: where it cannot be read, is damaged, or contradicts itself.
    """
    return parse_probed(_body(path), str(path))


def kind_of(path: Path) -> str:
    """The schema that a record claims to be of."""
    return str(_body(path).get("schema"))


def exhibit_name(record: Planted) -> str:
    """The file of the submitted inputs, beside the record."""
    digest = record.exhibit["sha256"][:12]
    return f"{_slug(record.attack)}--inputs-seed{record.seed}--{digest}.safetensors"


def proof_of(record: Record | Planted | Probed, path: Path) -> tuple[Path, str] | None:
    """The file beside a record that proves it, and the digest that it must have, if it has one."""
    if isinstance(record, Probed):
        return None  # its networks are asked again
    if isinstance(record, Planted):
        return path.parent / exhibit_name(record), record.exhibit["sha256"]
    return path.with_suffix(".safetensors"), str(record.evidence.get("sha256"))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.=]+", "-", text.lower()).strip("-")[:80] or "model"


def load_planted(folder: str | Path | None = None, board: str = "*") -> list[Planted]:
    """All planted records of a folder (the committed ones unless given), in order of names."""
    root = Path(folder) if folder is not None else shipped("records")
    found = []
    for path in sorted(root.glob(f"{board}/*.json")):
        if (body := _body(path)).get("schema") == PLANTED:
            found.append(parse_planted(body, str(path)))
    return found


def is_planted(path: Path) -> bool:
    """Whether the file holds a record of an attack on training data."""
    return _body(path).get("schema") == PLANTED


def read_planted(path: Path) -> Planted:
    """The planted record in a file.

    Raises:
        BadRecord: where it cannot be read, is damaged, or contradicts itself.
    """
    return parse_planted(_body(path), str(path))


def _body(path: Path) -> Json:
    try:
        body = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as why:
        raise BadRecord(f"{path} is no record: {why}") from why
    if not isinstance(body, dict):
        raise BadRecord(f"{path} is no record: it holds a {type(body).__name__}")
    return body


def load_record(path: Path) -> Record:
    """The record in a file.

    Raises:
        BadRecord: where it cannot be read, is damaged, or contradicts itself.
    """
    try:
        return parse(read_bytes(path).decode(), str(path))
    except UnicodeDecodeError as why:
        raise BadRecord(f"{path} is no record: {why}") from why


def load_records(folder: str | Path | None = None, board: str = "*") -> list[Record]:
    """All records of a folder (the committed ones unless given), in order of their names."""
    root = Path(folder) if folder is not None else shipped("records")
    found = []
    for path in sorted(root.glob(f"{board}/*.json")):
        if (body := _body(path)).get("schema") not in (PLANTED, PROBED):
            found.append(parse_body(body, str(path)))
    return found


READERS: dict[str, Callable[[Json, str], Any]] = {
    RECORD: parse_body,
    PLANTED: parse_planted,
    PROBED: parse_probed,
}


@dataclass(frozen=True)
class Stock:
    """Records by path, and a sentence for each file that is refused."""

    records: Mapping[Path, Any]
    refused: tuple[str, ...]


def take_stock(folder: str | Path | None, board: str, schema: str = RECORD) -> Stock:
    """All that a folder (the committed records unless given) holds of a board.

    Records lie in a folder of their board's name, or directly in the one that is given. What is
    damaged, of another kind or of a future schema, or a copy of another file is refused by name,
    and the rest stays usable; nothing is skipped in silence.
    """
    root = Path(folder) if folder is not None else shipped("records")
    paths = sorted(root.glob(f"{board}/*.json"))
    paths += [path for path in sorted(root.glob("*.json")) if _may_be_about(board, path)]
    return stock_of(paths, lambda body, path: _read_as(schema, body, path))


def _may_be_about(board: str, path: Path) -> bool:
    """Whether a file is about a board; one that cannot be read may be."""
    try:
        return bool(_body(path).get("board", board) == board)
    except BadRecord:
        return True


def stock_of(paths: Iterable[Path], read: Callable[[Json, Path], Any]) -> Stock:
    """What ``read`` makes of these files; copies, and whatever it refuses, are refused by name."""
    found: dict[Path, Any] = {}
    refused: list[str] = []
    first: dict[str, Path] = {}
    for path in paths:
        try:
            body = _body(path)
            record = read(body, path)
        except BadRecord as why:
            refused.append(str(why))
            continue
        twin = first.setdefault(body["id"], path)
        if twin != path:
            which = f"{twin.name} beside it" if twin.parent == path.parent else twin
            refused.append(f"{path} is a copy of {which}; remove one of them")
        else:
            found[path] = record
    return Stock(found, tuple(refused))


def read_any(path: Path) -> Record | Planted | Probed:
    """The record in a file, of whichever kind.

    Raises:
        BadRecord: where it cannot be read, is damaged, or contradicts itself.
    """
    body = _body(path)
    read = READERS.get(str(body.get("schema")), parse_body)
    record: Record | Planted | Probed = read(body, str(path))
    return record


def _read_as(schema: str, body: Json, path: Path) -> Any:
    """A record of this schema; the reader of the commonest kind says what else it can read."""
    claimed = body.get("schema")
    if claimed != schema and (schema != RECORD or claimed in (PLANTED, PROBED)):
        raise BadRecord(f"{path} has schema {claimed!r}; records of its board have {schema!r}")
    return READERS[schema](body, str(path))


def _other(path: Path) -> bool:
    """Whether the file holds a record of attacks on training data, of either kind."""
    return kind_of(path) in (PLANTED, PROBED)


def kept() -> Path:
    """The folder of the records that were made on this machine."""
    return cache() / "records"


def look_up(text: str, board: str) -> tuple[Path, Record]:
    """A record by its path, or by what it is about: ``ard``, or ``ard@1`` for seed 1.

    Committed records go before those made on this machine, and those of the board's own ball before
    those of other radii.

    Raises:
        BadRecord: where the path holds none.
        UnknownName: where no record on the board is about that.
        BadSetting: where several are.
    """
    if text.endswith(".json") or Path(text).is_file():
        return Path(text), load_record(Path(text))
    label, _, number = text.partition("@")
    if number and not number.isdigit():
        raise BadSetting(f"cannot read {text!r}; a seed is a number: {label}@1")
    known: set[str] = set()
    for folder in (shipped("records"), kept()):
        whole = {
            path: record
            for path in sorted(folder.glob(f"{board}/*.json"))
            if not _other(path) and (record := load_record(path)).limit is None
        }
        wanted = (label, int(number or 0))
        found = [(path, r) for path, r in whole.items() if (r.label, r.seed) == wanted]
        radius = board_of(board).budget.amount
        found = [one for one in found if one[1].threat["eps"] == radius] or found
        if len(found) > 1:
            paths = ", ".join(str(path) for path, _ in found)
            raise BadSetting(f"{len(found)} records are about {text!r}; give a path: {paths}")
        if found:
            return found[0]
        known |= {f"{record.label}@{record.seed}" for record in whole.values()}
    raise UnknownName(f"record on {board}", text, known or {"none; give the path of a record"})
