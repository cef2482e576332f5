"""``leaderboard``: a whole ranking, in any format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli import _export
from robustbench_kd.cli._output import document, json_option, show, width
from robustbench_kd.cli._records import name_outside, ranked, selecting
from robustbench_kd.cli.report import building
from robustbench_kd.core.errors import MissingData

if TYPE_CHECKING:
    from robustbench_kd.reports.filters import Selection

FORMATS = ("table", "csv", "markdown", "latex", "json")


class LeaderboardCommand(click.Command):
    """The ranking of a board; the word ``build`` in a board's place makes a site of all of them."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args[:1] == [building.name]:
            return building.make_context(f"{info_name} {building.name}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(
    "leaderboard",
    cls=LeaderboardCommand,
    short_help="A whole ranking, in any format.",
    epilog="All boards as a static site: robustbench-kd leaderboard build --out site",
)
@click.argument("board")
@click.option(
    "--format",
    "form",
    type=click.Choice((*FORMATS, *_export.FORMATS)),
    default="table",
    show_default=True,
    help="The last three are for other tools: Parquet, model cards of the Hub, Every Eval Ever.",
)
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="In place of the committed records and of those made on this machine.",
)
@click.option(
    "--columns",
    default="",
    metavar="NAME,NAME",
    help="Only these columns, in this order: by head or metric (markdown and latex).",
)
@click.option("--defense", metavar="NAME", help="Only this row (model-index, every-eval-ever).")
@selecting
@json_option
def leaderboard(
    board: str,
    form: str,
    records: Path | None,
    columns: str,
    defense: str | None,
    as_json: bool,
    selection: Callable[[], Selection],
) -> int:
    """The ranking of a leaderboard, computed from its records.

    A file that is no record is named on stderr and left out; the ranking is shown all the same, and
    the exit code is 2.
    """
    from robustbench_kd.core.registry import board_of

    definition = board_of(board)
    if records is not None and not records.is_dir():
        raise MissingData(f"there is no folder {records}; records lie in DIR or in DIR/{board}")
    form = "json" if as_json and form not in _export.CARDS else form
    _export.expect_possible(form, defense)
    ranking, levels, refused = ranked(definition, records, selection(), levels=form == "json")
    if form == "json":
        from robustbench_kd.reports.formats.dataframe import as_json as plain

        document("leaderboard", **plain(ranking, levels), refused=list(refused))
    elif form == "table":
        from robustbench_kd.reports.formats.terminal import ranking_table, remarks

        tables = [ranking_table(ranking, width())] if ranking.rows else []
        show(*tables, *remarks(ranking, width()))
    else:
        name_outside(ranking)
        _export.export(ranking, form, columns, defense, as_json)
    return 2 if refused else 0
