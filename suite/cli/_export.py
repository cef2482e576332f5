"""A ranking handed over: text for papers, bytes for tools, documents in the formats of others."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from robustbench_kd.core.errors import BadSetting, NothingEvaluated, UnknownName

if TYPE_CHECKING:
    from robustbench_kd.reports.leaderboard import Ranking, RankingRow

CARDS = ("model-index", "every-eval-ever")  # documents about rows
FORMATS = ("parquet", *CARDS)


def expect_possible(form: str, defense: str | None) -> None:
    """Refuses what cannot be handed over, before anything is read.

    Raises:
        BadSetting: for a library that is missing, a terminal, or a row of a whole table.
    """
    if defense is not None and form not in CARDS:
        raise BadSetting(f"--defense goes with --format {' or '.join(CARDS)}, not with {form}")
    if form == "parquet":
        from robustbench_kd.reports.formats.parquet import expect_pyarrow

        expect_pyarrow()
        if sys.stdout.isatty():
            raise BadSetting("parquet is not for the eye; send it to a file: > board.parquet")


def export(ranking: Ranking, form: str, columns: str, defense: str | None, as_json: bool) -> None:
    """A ranking on stdout.

    Args:
        columns: names of columns with commas between them; all where it is empty.

    Raises:
        UnknownName: for a row or a column that the ranking has not.
        NothingEvaluated: where a document is about a row, and there is none.
    """
    from robustbench_kd.reports.formats import dataframe, markdown_latex

    if form in ("markdown", "latex"):
        from robustbench_kd.reports.cells import split_names

        write = {"markdown": markdown_latex.as_markdown, "latex": markdown_latex.as_latex}[form]
        click.echo(write(ranking, split_names(ranking, columns)), nl=False)
    elif form == "csv":
        click.echo(dataframe.as_csv(ranking), nl=False)
    elif form == "parquet":
        from robustbench_kd.reports.formats.parquet import as_parquet

        click.echo(as_parquet(dataframe.lines(ranking)), nl=False)
    else:
        rows = [row for row in ranking.rows if defense in (None, row.label)]
        if not ranking.rows:
            raise NothingEvaluated(f"no record of {ranking.leaderboard.name} is ranked")
        if not rows:
            raise UnknownName("row", str(defense), {row.label for row in ranking.rows})
        _cards(rows, form, as_json)


def _cards(rows: Sequence[RankingRow], form: str, as_json: bool) -> None:
    if form == "model-index":
        from robustbench_kd.reports.formats.model_card import as_yaml, model_index

        index = model_index(rows)
        click.echo(json.dumps(index, indent=1) + "\n" if as_json else as_yaml(index), nl=False)
        return
    from robustbench_kd.reports.formats.every_eval_ever import evaluation

    # As reproducible builds do: whoever needs the same bytes twice says what time it is.
    now = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    for row in rows:
        click.echo(json.dumps(evaluation(row, now), sort_keys=True, allow_nan=False))
