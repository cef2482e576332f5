"""A board as numbers, for machines. The only user of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from robustbench_kd.reports.captions import signature
from robustbench_kd.reports.leaderboard import Board, Row
from robustbench_kd.results.record import Json, numbers

if TYPE_CHECKING:
    import pandas as pd


def entry(row: Row, levels: Mapping[str, str] | None = None) -> Json:
    """A row with all that is known of it, as plain values.

    Args:
        levels: how far each record was checked, by its digest; without, nothing is said of it.
    """
    record = row.record
    forward, backward = row.passes
    return {
        "rank": {"best": row.best, "last": row.last} if row.best else None,
        "defense": row.label,
        "yours": row.yours,
        "seed": record.seed,
        "robust": numbers(record.worst),
        "clean": numbers(record.clean),
        "attacks": {cell.attack: numbers(cell.share) for cell in record.cells[1:]},
        "wide": numbers(row.wide),
        "best_known": _known(row),
        "seeds": {str(seed): numbers(share) for seed, share in row.seeds},
        "parameters": record.model["parameters"],
        "macs": record.model["macs"],
        "forward": forward,
        "backward": backward,
        "cpu_seconds": record.spent.get("cpu_seconds"),
        "teachers": sorted(record.teachers),
        "doubts": list(record.doubts),
        "record": record.id,
        **({} if levels is None else {"level": levels.get(record.id)}),
    }


def _known(row: Row) -> Json | None:
    """What survives every record of the row's network, and who broke how many first."""
    if row.known is None:
        return None
    return {**(numbers(row.known.share) or {}), "records": len(row.known.first)}


def as_json(board: Board, levels: Mapping[str, str] | None = None) -> Json:
    """The board as one document; ``levels`` are those of ``entry``."""
    return {
        "board": board.contest.name,
        "title": board.contest.title,
        "rank_by": board.contest.rank_by,
        "only": board.only or None,
        "signature": signature(board) or None,
        "rows": [entry(row, levels) for row in board.rows],
        "outside": [{**entry(row, levels), "reason": reason} for row, reason in board.outside],
    }


def as_csv(board: Board) -> str:
    """One line a row; each share in columns of its own: value, low, high, hits, count."""
    return csv_of(lines(board))


def lines(board: Board) -> list[Json]:
    """The rows of the board for a table of numbers; columns that are lists become words."""
    rows = []
    for row in board.rows:
        flat = entry(row)
        flat["teachers"], flat["doubts"] = "+".join(flat["teachers"]), "; ".join(flat["doubts"])
        rows.append({name: value for name, value in flat.items() if value is not None})
    return rows


def csv_of(rows: Sequence[Json]) -> str:
    """Plain values as lines; what is nested becomes columns of its own."""
    return frame_of(rows).to_csv(index=False, lineterminator="\n")


def frame_of(rows: Sequence[Json]) -> pd.DataFrame:
    """Plain values as a table of pandas; what is nested becomes columns of its own."""
    import pandas as pd  # most commands come here for the rest of the file, and are quick

    frame = pd.json_normalize(list(rows), sep="_")
    # Nullable integers: a count stays a whole number where another row has none.
    endings = ("_hits", "_count", "_records")
    counts = [name for name in frame.columns if name.endswith(endings)]
    return frame.astype(dict.fromkeys(counts, "Int64"))
