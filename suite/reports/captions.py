"""One line that says which question a table answers, for a caption or a footnote.

As the signatures of sacreBLEU do (Post 2018): tables with the same line may be laid side by
side, and one with another may not.
"""

from __future__ import annotations

from robustbench_kd.reports.leaderboard import Board
from robustbench_kd.results.record import Record, digest

DIGITS = 8  # of each digest: enough to tell, short enough to print


def signature(board: Board) -> str:
    """Versions, data, examples, ball and panel of a board's rows; empty where it has none.

    All rows of a board share all of it but the versions, so what is there is joined by plus signs.
    """
    if not board.rows:
        return ""
    records = [record for row in board.rows for record in (row.record, *row.others)]
    first = records[0]
    settings = [[cell.attack, cell.settings] for cell in first.cells]
    parts = (
        f"robustbench-kd:{_versions(records, 'robustbench-kd')}",
        f"board:{board.contest.name}",
        f"data:{first.scenario}@{first.data['edition'][:DIGITS]}",
        f"n:{first.data['count']}",
        f"ids:{first.data['ids'][:DIGITS]}",
        f"examples:{first.data['examples'][:DIGITS]}",
        f"{first.threat['norm']}:{first.threat['eps']:g}",
        f"panel:{digest(settings)[:DIGITS]}",
        f"rule:{board.contest.rank_by}=worst-case",
        f"torch:{_versions(records, 'torch')}",
    )
    return "|".join(" ".join(part.split()) for part in parts)


def _versions(records: list[Record], name: str) -> str:
    known = {str(record.versions.get(name, "unknown")).partition("+")[0] for record in records}
    return "+".join(sorted(known))
