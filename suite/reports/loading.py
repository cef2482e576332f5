"""Records of any kind from files and folders, sorted by board; without any, the committed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from robustbench_kd.core.config import Leaderboard
from robustbench_kd.core.errors import BadRecord, MissingData, UnknownName
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.reports.document import Entry, Facts, Kept
from robustbench_kd.reports.sections import readers
from robustbench_kd.results.probed import Probed
from robustbench_kd.results.record import Json
from robustbench_kd.results.store import stock_of

Readers = Mapping[str, Callable[[Json, str], Kept]]
Contests = Callable[[str], Leaderboard]


@dataclass(frozen=True)
class Gathered:
    """The records board by board, and a sentence for each file that is refused."""

    boards: tuple[Facts, ...]
    refused: tuple[str, ...]


def gather(places: Sequence[Path], board: str | None = None) -> Gathered:
    """The records in these files and folders, board by board, in the order of their names.

    What is damaged, of a kind that no section knows, or a copy is refused by name, and the rest
    stays usable.

    Args:
        places: none stands for the committed records.
        board: only of this board.

    Raises:
        MissingData: for a place that does not exist.
        UnknownName: for a board that nobody knows, with the nearest one.
    """
    contests = cache(board_of)  # a search among all plug-ins, which thousands of records share
    if board is not None:
        contests(board)
    known = readers()
    stock = stock_of(_paths(places, board), lambda body, path: _read(known, contests, body, path))
    found: dict[str, list[Entry]] = {}
    for path, record in stock.records.items():
        if board in (None, record.board):
            found.setdefault(record.board, []).append(Entry(path, record))
    boards = tuple(Facts(contests(name), tuple(found[name])) for name in sorted(found))
    return Gathered(boards, stock.refused)


def _paths(places: Sequence[Path], board: str | None) -> list[Path]:
    if not places:
        return sorted(shipped("records").glob(f"{board or '*'}/**/*.json"))
    paths: list[Path] = []
    for place in places:
        if not place.exists():
            raise MissingData(f"there is no file or folder {place}; give records as paths")
        paths += sorted(place.rglob("*.json")) if place.is_dir() else [place]
    return list(dict.fromkeys(paths))


def _read(known: Readers, contests: Contests, body: Json, path: Path) -> Kept:
    """A record of a kind that some section is about, of a board that there is."""
    schema = body.get("schema")
    name = str(schema).partition("/")[0]
    if name not in known:
        kinds = ", ".join(sorted(known))
        raise BadRecord(f"{path} has schema {schema!r}, and the report knows these: {kinds}")
    record = known[name](body, str(path))
    try:
        contest = contests(record.board)
    except UnknownName as why:
        raise BadRecord(f"{path} is about a board that is not here: {why}") from why
    if isinstance(record, Probed) and not contest.probed:
        raise BadRecord(f"{path} has schema {schema!r}, which {record.board} does not rank")
    return record
