"""``leaderboard``: a whole ranking, in any format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_kd.cli import _export
from robustbench_kd.cli._output import document, json_option, show, width
from robustbench_kd.cli._probed import show_probed
from robustbench_kd.cli._records import choices, ranked, stocked, unlisted
from robustbench_kd.cli.report import building
from robustbench_kd.core.errors import BadSetting, MissingData

if TYPE_CHECKING:
    from robustbench_kd.core.config import Leaderboard
    from robustbench_kd.reports.filters import Wanted
    from robustbench_kd.results.planted import Planted

FORMATS = ("table", "csv", "markdown", "latex", "json")


def show_planted(
    contest: Leaderboard,
    records: Sequence[Planted],
    form: str,
    only: Sequence[str] = (),
    command: str = "leaderboard",
    **more: Any,
) -> None:
    """Planted records in any format; ``more`` is what else the JSON document says."""
    from robustbench_kd.metrics.backdoor_transfer import cases, cells, entry, line, note
    from robustbench_kd.reports.formats.dataframe import csv_of
    from robustbench_kd.reports.formats.markdown_latex import pipes, tabular
    from robustbench_kd.reports.formats.terminal import inheritance_table

    found = cases(contest, records)
    if form == "json":
        rows = [entry(case) for case in found]
        document(command, board=contest.name, title=contest.title, rows=rows, **more)
    elif form == "csv":
        click.echo(csv_of([line(case) for case in found]), nl=False)
    elif form == "table":
        show(inheritance_table(contest.title, *cells(found), width()), note(contest, found))
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
    help="Only these columns, in this order (markdown and latex).",
)
@click.option("--defense", metavar="NAME", help="Only this row (model-index, every-eval-ever).")
@choices
@json_option
def leaderboard(
    board: str,
    form: str,
    records: Path | None,
    columns: str,
    defense: str | None,
    as_json: bool,
    wanted: Callable[[], Wanted],
) -> int:
    """The ranking of a leaderboard, folded from its records.

    A file that is no record is named on stderr and left out; the board is shown all the same, and
    the exit code is 2.
    """
    from robustbench_kd.core.registry import board_of

    contest = board_of(board)
    if records is not None and not records.is_dir():
        raise MissingData(f"there is no folder {records}; records lie in DIR or in DIR/{board}")
    form = "json" if as_json and form not in _export.CARDS else form
    _export.expect_possible(form, defense)
    only = [name.strip() for name in columns.split(",") if name.strip()]
    if contest.probed or contest.door != "input":
        return _trained(contest, form, records, only, wanted())
    folded, levels, refused = ranked(contest, records, wanted(), levels=form == "json")
    if form == "json":
        from robustbench_kd.reports.formats.dataframe import as_json as numbers

        document("leaderboard", **numbers(folded, levels), refused=list(refused))
    elif form == "table":
        from robustbench_kd.reports.formats.markdown_latex import caveats, known
        from robustbench_kd.reports.formats.terminal import board_table, remarks

        tables = [board_table(folded, width())] if folded.rows else []
        best = [f"best known of {r.label}: {known(r)}" for r in folded.rows if r.known]
        more = [words] if (words := caveats(folded).strip()) else []
        show(*tables, *best, *remarks(folded, width()), *more)
    else:
        unlisted(folded)
        _export.export(folded, form, only, defense, as_json)
    return 2 if refused else 0


def _trained(
    contest: Leaderboard, form: str, records: Path | None, only: Sequence[str], wanted: Wanted
) -> int:
    """A board of attacks on training data: what each student inherited, or knows."""
    if form in _export.FORMATS:
        raise BadSetting(
            f"{form} has no place for what {contest.name} measures; take --format csv or json"
        )
    found, refused = stocked(contest, records, wanted)
    if contest.probed:
        show_probed(contest, found, form, only, refused=list(refused))
    else:
        show_planted(contest, found, form, only, refused=list(refused))
    if form == "table" and wanted.json():
        show(f"Only {wanted}.")
    return 2 if refused else 0
