"""Records of any kind from files and folders, sorted by board; without any, the committed ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from robustbench_kd.errors import BadRecord, MissingData, NothingEvaluated
from robustbench_kd.files import read_bytes
from robustbench_kd.places import shipped
from robustbench_kd.report.blocks import Entry, Facts
from robustbench_kd.report.sections import readers
from robustbench_kd.trials import board_of


def gather(places: Sequence[Path], board: str | None = None) -> list[Facts]:
    """The records in these files and folders, board by board, in the order of their names.

    Args:
        places: none stands for the committed records.
        board: only of this board.

    Raises:
        MissingData: for a place that does not exist.
        BadRecord: naming the first file that is no record, or one that is damaged.
        NothingEvaluated: where there is no record at all.
    """
    if board is not None:
        board_of(board)  # a name that nobody knows is refused with the nearest one
    paths = _paths(places, board)
    entries = [_read(path) for path in paths]
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if board in (None, entry.record.board):
            found.setdefault(entry.record.board, []).append(entry)
    if not found:
        where = ", ".join(map(str, places)) or "the package"
        about = f" of {board}" if board else ""
        raise NothingEvaluated(f"there is no record{about} in {where}")
    return [Facts(board_of(name), tuple(found[name])) for name in sorted(found)]


def _paths(places: Sequence[Path], board: str | None) -> list[Path]:
    if not places:
        return sorted(shipped("records").glob(f"{board or '*'}/*.json"))
    paths: list[Path] = []
    for place in places:
        if not place.exists():
            raise MissingData(f"there is no file or folder {place}; give records as paths")
        paths += sorted(place.rglob("*.json")) if place.is_dir() else [place]
    return list(dict.fromkeys(paths))


def _read(path: Path) -> Entry:
    try:
        body = json.loads(read_bytes(path))
        schema = str(body["schema"])
    except (ValueError, TypeError, KeyError) as why:
        raise BadRecord(f"{path} is no record: {type(why).__name__}: {why}") from why
    known = readers()
    name = schema.partition("/")[0]
    if name not in known:
        kinds = ", ".join(sorted(known))
        raise BadRecord(f"{path} has schema {schema!r}, and the report knows these: {kinds}")
    return Entry(path, known[name](path))
