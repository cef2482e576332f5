"""One line that says which question a table answers, for a caption or a footnote.

As the signatures of sacreBLEU do (Post 2018): tables with the same line may be laid side by
side, and one with another may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustbench_kd.reports.leaderboard import Ranking
from robustbench_kd.results.record import Record, digest

DIGITS = 8  # of each digest: enough to tell, short enough to print


def signature(ranking: Ranking) -> str:
    """Versions, data, examples, threat and panel of a ranking; empty where it has no rows.

    All rows share all of it but the versions, so what is there is joined by plus signs.
    """
    if not ranking.rows:
        return ""
    records = [record for row in ranking.rows for record in row.group.records]
    data, threat = records[0].data, records[0].threat
    ball = (f"{threat['norm']}:{threat['eps']:g}",) if "norm" in threat else ()
    parts = (
        f"robustbench-kd:{_versions(records, 'robustbench-kd')}",
        f"board:{ranking.leaderboard.name}",
        f"data:{records[0].scenario}@{data['dataset_digest'][:DIGITS]}",
        f"n:{data['count']}",
        *([f"ids:{data['ids'][:DIGITS]}"] if "ids" in data else []),
        f"examples:{data['examples'][:DIGITS]}",
        f"capability:{threat['capability']}",
        *ball,
        f"panel:{digest(_panel(records))[:DIGITS]}",
        f"rank-by:{ranking.leaderboard.rank_by}",
        f"torch:{_versions(records, 'torch')}",
    )
    return "|".join(" ".join(part.split()) for part in parts)


def _panel(records: Iterable[Record]) -> dict[str, object]:
    """Every attack of the rows with its settings."""
    return {
        label: result.settings for record in records for label, result in record.attacks.items()
    }


def _versions(records: Sequence[Record], name: str) -> str:
    known = {str(record.versions.get(name, "unknown")).partition("+")[0] for record in records}
    return "+".join(sorted(known))
