"""A board as numbers, for machines. The only user of pandas."""

from __future__ import annotations

from collections.abc import Sequence

from robustbench_kd.records import Json, Share
from robustbench_kd.report.board import Board, Row


def numbers(share: Share | None) -> Json | None:
    """A share as numbers: value, low, high, hits, count."""
    if share is None:
        return None
    low, high = share.interval
    return {
        "value": share.value,
        "low": low,
        "high": high,
        "hits": share.hits,
        "count": share.count,
    }


def entry(row: Row) -> Json:
    """A row with all that is known of it, as plain values."""
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
        "seeds": {str(seed): numbers(share) for seed, share in row.seeds},
        "parameters": record.model["parameters"],
        "macs": record.model["macs"],
        "forward": forward,
        "backward": backward,
        "teachers": sorted(record.teachers),
        "doubts": list(record.doubts),
        "record": record.id,
    }


def as_json(board: Board) -> Json:
    """The board as one document."""
    return {
        "board": board.contest.name,
        "title": board.contest.title,
        "rank_by": board.contest.rank_by,
        "rows": [entry(row) for row in board.rows],
        "outside": [{**entry(row), "reason": reason} for row, reason in board.outside],
    }


def as_csv(board: Board) -> str:
    """One line a row; each share in columns of its own: value, low, high, hits, count."""
    rows = []
    for row in board.rows:
        flat = entry(row)
        flat["teachers"], flat["doubts"] = "+".join(flat["teachers"]), "; ".join(flat["doubts"])
        rows.append({name: value for name, value in flat.items() if value is not None})
    return csv_of(rows)


def csv_of(rows: Sequence[Json]) -> str:
    """Plain values as lines; what is nested becomes columns of its own."""
    import pandas as pd  # most commands come here for the rest of the file, and are quick

    frame = pd.json_normalize(rows, sep="_")
    # Nullable integers: a count stays a whole number where another row has none.
    counts = [name for name in frame.columns if name.endswith(("_hits", "_count"))]
    return frame.astype(dict.fromkeys(counts, "Int64")).to_csv(index=False, lineterminator="\n")
