"""Records from files and folders, sorted by leaderboard; without any, the committed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from robustbench_kd.core.aliases import stable_name
from robustbench_kd.core.errors import MissingData, UnknownName
from robustbench_kd.core.paths import shipped
from robustbench_kd.core.registry import board_of
from robustbench_kd.reports.document import BoardRecords, Entry
from robustbench_kd.results.store import inventory


@dataclass(frozen=True)
class BoardInventory:
    """Records by leaderboard, and a sentence for each file that is refused."""

    boards: tuple[BoardRecords, ...]
    refused: tuple[str, ...]


def load_boards(places: Sequence[Path], board: str | None = None) -> BoardInventory:
    """The records in these files and folders, by leaderboard, in the order of their names.

    Damaged files, copies and records of an unknown leaderboard are refused by name, and the rest
    stays usable.

    Args:
        places: none stands for the committed records.
        board: only of this leaderboard.

    Raises:
        MissingData: for a place that does not exist.
        UnknownName: for an unknown leaderboard, with the nearest known one.
    """
    find_board = cache(board_of)  # a search among all plug-ins; thousands of records share it

    name = None if board is None else find_board(board).name
    stock = inventory(_paths(places, name), name)
    entries: dict[str, list[Entry]] = {}
    refused = list(stock.refused)
    for path, record in stock.records.items():
        try:
            find_board(record.board)
        except UnknownName as why:
            refused.append(f"{path} is about an unknown leaderboard: {why}")
            continue
        entries.setdefault(record.board, []).append(Entry(path, record))
    boards = tuple(BoardRecords(find_board(name), tuple(entries[name])) for name in sorted(entries))
    return BoardInventory(boards, tuple(refused))


def _paths(places: Sequence[Path], board: str | None) -> list[Path]:
    if not places:
        names = {board, stable_name("leaderboards", board)} if board else {"*"}
        return sorted(
            path for name in names for path in shipped("records").glob(f"{name}/**/*.json")
        )
    paths: list[Path] = []
    for place in places:
        if not place.exists():
            raise MissingData(f"there is no file or folder {place}; give records as paths")
        paths += sorted(place.rglob("*.json")) if place.is_dir() else [place]
    return list(dict.fromkeys(paths))


def record_count(boards: Sequence[BoardRecords]) -> int:
    """How many records these are."""
    return sum(len(board.entries) for board in boards)
