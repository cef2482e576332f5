"""``leaderboard``: a whole ranking, in any format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.commands.probed import probed
from robustbench_kd.commands.reporting import building
from robustbench_kd.commands.speaking import document, json_option, show, width
from robustbench_kd.errors import MissingData, NothingEvaluated

if TYPE_CHECKING:
    from robustbench_kd.inheritance import Planted
    from robustbench_kd.types import Leaderboard

FORMATS = ("table", "csv", "markdown", "latex", "json")


def planted(
    contest: Leaderboard, form: str, records: Path | None, only: Sequence[str] = ()
) -> None:
    """A board of attacks on training data: what each student inherited."""
    from robustbench_kd.shelf import kept, load_planted

    found = load_planted(records, contest.name)
    mine = load_planted(kept(), contest.name) if records is None else []
    known = {(record.attack, record.label, record.seed) for record in found}
    found += [r for r in mine if (r.attack, r.label, r.seed) not in known]
    if not found:
        raise NothingEvaluated(
            f"there is no record of {contest.name}; make one: robustbench-kd evaluate --train "
            f"--board {contest.name} --defense {contest.defenses[0]}"
        )
    show_planted(contest, found, form, only)


def show_planted(
    contest: Leaderboard,
    records: Sequence[Planted],
    form: str,
    only: Sequence[str] = (),
    command: str = "leaderboard",
) -> None:
    """Planted records in any format."""
    from robustbench_kd.report.planted import cases, cells, entry, line, note
    from robustbench_kd.report.tables import csv_of
    from robustbench_kd.report.terminal import inheritance_table
    from robustbench_kd.report.texts import pipes, tabular

    found = cases(contest, records)
    if form == "json":
        rows = [entry(case) for case in found]
        document(command, board=contest.name, title=contest.title, rows=rows)
    elif form == "csv":
        click.echo(csv_of([line(case) for case in found]), nl=False)
    elif form == "table":
        show(inheritance_table(contest.title, found, width()), note(contest, found))
    else:
        text = {"markdown": pipes, "latex": tabular}[form](
            *cells(found, only), note(contest, found)
        )
        click.echo(text, nl=False)


class Ranking(click.Command):
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
    cls=Ranking,
    short_help="A whole ranking, in any format.",
    epilog="All boards as a static site: robustbench-kd leaderboard build --out site",
)
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
    only = [name.strip() for name in columns.split(",") if name.strip()]
    if contest.probed:
        probed(contest, "json" if as_json else form, records, only)
        return
    if contest.door != "input":
        planted(contest, "json" if as_json else form, records, only)
        return
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
        text = {"markdown": as_markdown, "latex": as_latex}[form](folded, only)
        click.echo(text, nl=False)
