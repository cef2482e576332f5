"""``leaderboard``: a whole ranking, in any format."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_kd.commands.speaking import document, json_option, show, width
from robustbench_kd.errors import MissingData, NothingEvaluated

FORMATS = ("table", "csv", "markdown", "latex", "json")


@click.command("leaderboard", short_help="A whole ranking, in any format.")
@click.argument("board")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
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
    help="Only these columns, in this order (markdown and latex).",
)
@json_option
def leaderboard(board: str, form: str, records: Path | None, columns: str, as_json: bool) -> None:
    """The ranking of a leaderboard, folded from its records."""
    from robustbench_kd.report.board import fold
    from robustbench_kd.report.tables import as_csv
    from robustbench_kd.report.tables import as_json as numbers
    from robustbench_kd.report.terminal import board_table, remarks
    from robustbench_kd.report.texts import as_latex, as_markdown
    from robustbench_kd.shelf import kept, load_records
    from robustbench_kd.trials import board_of

    contest = board_of(board)
    if records is not None and not records.is_dir():
        raise MissingData(f"there is no folder {records}; records lie in DIR/{board}/*.json")
    mine = load_records(kept(), board) if records is None else []
    folded = fold(contest, load_records(records, board), mine)
    if not folded.rows and not folded.outside:
        where = records or "the package or the cache"
        raise NothingEvaluated(
            f"there is no record of {board} in {where}; make one: "
            f"robustbench-kd evaluate --board {board} --defense NAME"
        )
    if as_json or form == "json":
        document("leaderboard", **numbers(folded))
    elif form == "table":
        tables = [board_table(folded, width())] if folded.rows else []
        show(*tables, *remarks(folded, width()))
    elif form == "csv":
        click.echo(as_csv(folded), nl=False)
    else:
        only = [name.strip() for name in columns.split(",") if name.strip()]
        text = {"markdown": as_markdown, "latex": as_latex}[form](folded, only)
        click.echo(text, nl=False)
