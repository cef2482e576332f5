"""A ranking as people read it: heads, cells in words, and what stands below the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robustbench_kd.core.errors import UnknownName
from robustbench_kd.reports.columns import MetricColumn, estimate_text, legend
from robustbench_kd.reports.filters import teacher_roles
from robustbench_kd.reports.leaderboard import Ranking, RankingRow

Text = Callable[[RankingRow], str]
LEFT = ("rank", "attack", "defense", "teachers", "oracle", "warnings")
"""Columns that stand on the left."""


def table_of(ranking: Ranking, only: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Heads and lines; columns in which every row is empty are left out.

    Args:
        only: these columns, in this order: by their heads, by the metric as typed, or by an attack
            with or without its settings.

    Raises:
        UnknownName: for a column that there is not.
    """
    always, facts = _metrics(ranking), _facts(ranking)
    columns = always | facts
    names = _names(ranking)
    for name in only:
        if name not in names:
            raise UnknownName("column", name, columns)
    heads = [names[name] for name in only] or list(columns)
    lines = [[columns[head](row) for head in heads] for row in ranking.rows]
    if only:
        return heads, lines
    indices = [
        n for n, head in enumerate(heads) if head in always or any(line[n] for line in lines)
    ]
    return [heads[n] for n in indices], [[line[n] for n in indices] for line in lines]


def split_names(ranking: Ranking, text: str) -> list[str]:
    """Names of columns that were typed with commas between them; names may hold commas too."""
    known = set(_names(ranking))
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    names: list[str] = []
    while pieces:
        counts = (n for n in range(len(pieces), 1, -1) if _spellings(pieces[:n]) & known)
        count = next(counts, 1)
        names.append(next(iter(_spellings(pieces[:count]) & known), pieces[0]))
        pieces = pieces[count:]
    return names


def _spellings(pieces: Sequence[str]) -> set[str]:
    return {",".join(pieces), ", ".join(pieces)}


def _names(ranking: Ranking) -> dict[str, str]:
    """What a column may be called -> its head."""
    metrics = {column.typed: head for head, column in metric_heads(ranking).items()}
    short = {head.partition(":")[0]: head for head in metrics.values()}
    return short | metrics | {head: head for head in (*_metrics(ranking), *_facts(ranking))}


def _metrics(ranking: Ranking) -> dict[str, Text]:
    """What every table holds, by head."""
    columns: dict[str, Text] = {"rank": lambda row: row.rank}
    if ranking.leaderboard.poisons and not ranking.leaderboard.joint:
        columns["attack"] = lambda row: row.attack
    columns["defense"] = lambda row: row.label + (" (local)" if row.local else "")
    for head, column in metric_heads(ranking).items():
        columns[head] = _metric_text(column)
    return columns


def metric_heads(ranking: Ranking) -> dict[str, MetricColumn]:
    """The metrics by their heads; a metric whose heading is taken stands under its own name."""
    heads: dict[str, MetricColumn] = {}
    for column in ranking.columns():
        heading = column.metric.heading
        heads[column.typed if heading in heads else heading] = column
    return heads


def _metric_text(column: MetricColumn) -> Text:
    return lambda row: cell_text(row, column)


def cell_text(row: RankingRow, column: MetricColumn) -> str:
    """A value with interval and remark: ``0.71 [0.66, 0.76] zlib``; or why there is none."""
    estimate = row.estimate(column)  # a row under other attacks lacks columns of the ranking
    if estimate is None:
        return column.why_none(row.group)
    text = estimate_text(column.metric, estimate)
    remark = column.metric.remark(row.group)
    return f"{text} {remark}" if remark else text


def _facts(ranking: Ranking) -> dict[str, Text]:
    """What is known of a row besides its metrics."""

    def student(name: str) -> Text:
        return lambda row: _plain(row.record.student.get(name))

    return {
        "samples": lambda row: samples_text(ranking, row),
        "full test": lambda row: full_test_text(ranking, row),
        "best known": lambda row: best_known_text(ranking, row),
        "seeds": lambda row: seeds_text(ranking, row),
        "poisoned": lambda row: _plain(row.record.poison.get("count")),
        "parameters": student("parameters"),
        "MACs": student("macs"),
        "forward": lambda row: _plain(row.passes.get("forward")),
        "backward": lambda row: _plain(row.passes.get("backward")),
        "CPU seconds": lambda row: _plain(row.record.compute.get("cpu_seconds")),
        "teachers": lambda row: ", ".join(teacher_roles(row.record)) or "none",
        "oracle": lambda row: "yes" if row.record.defense.get("oracle") else "",
        "warnings": lambda row: "; ".join(row.warnings),
    }


def _plain(value: object) -> str:
    return "" if value is None else str(value)


def samples_text(ranking: Ranking, row: RankingRow) -> str:
    """How many samples the ranking value rests on."""
    estimate = row.value(ranking.rank_by.typed)
    return "" if estimate is None else str(estimate.count)


def full_test_text(ranking: Ranking, row: RankingRow) -> str:
    """Robust accuracy under the cheap attacks on the whole test set, with its own count."""
    share = row.full_test
    return f"{share} of {share.count}" if share else ""


def best_known_text(ranking: Ranking, row: RankingRow) -> str:
    """What survives every record of the row's network, and how many records there are."""
    best = row.best_known
    return f"{best.share} in {len(best.first)} records" if best else ""


def seeds_text(ranking: Ranking, row: RankingRow) -> str:
    """The seed that stands for the row and the values of the others; or all, where all count."""
    first, *others = row.group.records
    typed, metric = ranking.rank_by.typed, ranking.rank_by.metric
    if row.group.pooled:
        return f"{len(row.group.records)} trials"
    if not others:
        return str(first.seed)
    if row.value_of_seed(typed, first) != row.value(typed):
        return ", ".join(map(str, row.group.seeds))
    values = ((r.seed, estimate_text(metric, row.value_of_seed(typed, r))) for r in others)
    return f"{first.seed} ({', '.join(f'{seed}: {text}' for seed, text in values)})"


def note(ranking: Ranking) -> str:
    """What the numbers are, in one line."""
    attack = " within each attack" if len({row.attack for row in ranking.rows}) > 1 else ""
    return (
        f"{ranking.leaderboard.title}: values with 95 % intervals, ranked by "
        f"{ranking.rank_by.metric.heading}{attack}. Ranks that paired tests cannot tell apart are "
        f"intervals; rows with warnings stand below the others.{caveats(ranking)} "
        + " ".join(legend(ranking.columns()))
    )


def caveats(ranking: Ranking) -> str:
    """What else must be said: which records were selected, and what best known means."""
    words = f" Only {ranking.only}; ranks are among these." if ranking.only else ""
    if any(row.best_known for row in ranking.rows):
        words += (
            " Best known: survives every record of the same network, so robust are at most so many."
        )
    return words
