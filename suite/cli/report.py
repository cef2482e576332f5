"""``report`` and ``leaderboard build``: what records show, as one page or as a whole site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_kd.cli._output import document, json_option
from robustbench_kd.cli._records import name_refused
from robustbench_kd.core.errors import NothingEvaluated
from robustbench_kd.core.registry import MAIN

if TYPE_CHECKING:
    from robustbench_kd.reports.loading import BoardInventory

PATH = click.Path(path_type=Path, dir_okay=False)


@click.command("report", short_help="What records show, as one page that needs no network.")
@click.argument("records", nargs=-1, type=click.Path(path_type=Path))
@click.option("--html", type=PATH, metavar="FILE", help="The page.")
@click.option("--markdown", type=PATH, metavar="FILE", help="Its tables as Markdown.")
@click.option("--latex", type=PATH, metavar="FILE", help="Its tables as LaTeX.")
@click.option(
    "--board", metavar="NAME", help=f"Only this leaderboard.  [default: {MAIN}; all of RECORDS]"
)
@click.option("--pair", nargs=2, metavar="A B", help="Two defenses to compare sample by sample.")
@click.option("--title", default="Security of distilled models", show_default=True)
@json_option
def reporting(
    records: tuple[Path, ...],
    html: Path | None,
    markdown: Path | None,
    latex: Path | None,
    board: str | None,
    pair: tuple[str, str] | None,
    title: str,
    as_json: bool,
) -> int:
    """Write tables and figures of RECORDS (files and folders), or of the committed ones.

    \b
    report --html out.html                     the committed records of fashion-linf
    report my/records --html out.html          your own
    report --pair ard rslad --html out.html    two defenses, attack by attack

    One file that needs no network, with the same bytes for the same records. A file that is no
    record is named on stderr and left out; the rest is shown, and the exit code is 2.
    """
    from robustbench_kd.core.io import expect_writable, write_whole
    from robustbench_kd.reports.html_page import as_html, as_latex, as_markdown, board_report
    from robustbench_kd.reports.loading import record_count
    from robustbench_kd.reports.sections.pairwise import with_pair

    paths = [path for path in (html, markdown, latex) if path is not None]
    if not paths:
        raise click.UsageError("name a file to write: --html, --markdown or --latex FILE.")
    for path in paths:
        expect_writable(path.parent)
    stock = _load(records, board or (None if records else MAIN))
    reports = [board_report(board) for board in with_pair(stock.boards, pair)]
    if html is not None:
        write_whole(html, as_html(reports, title, record_count(stock.boards)).encode())
    if markdown is not None:
        write_whole(markdown, as_markdown(reports).encode())
    if latex is not None:
        write_whole(latex, as_latex(reports).encode())
    return _finish("report", paths, stock, as_json)


@click.command("build", short_help="All leaderboards as a static site.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR"
)
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="DIR",
    help="In place of the committed records; repeatable.",
)
@click.option("--board", metavar="NAME", help="Only this leaderboard.")
@json_option
def building(out: Path, records: tuple[Path, ...], board: str | None, as_json: bool) -> int:
    """Write a page for every leaderboard and every row, for any web server or to open from disk.

    A file that is no record is named on stderr and left out; the exit code is then 2.
    """
    from robustbench_kd.core.io import expect_writable
    from robustbench_kd.reports.static_site import build

    expect_writable(out)
    stock = _load(records, board)
    build(stock.boards, out)
    return _finish("leaderboard build", [out / "index.html"], stock, as_json)


def _load(places: Sequence[Path], board: str | None) -> BoardInventory:
    """The records, with what is refused named on stderr.

    Raises:
        NothingEvaluated: where none is left.
    """
    from robustbench_kd.reports.loading import load_boards

    stock = load_boards(places, board)
    name_refused(stock.refused)
    if not stock.boards:
        where = ", ".join(map(str, places)) or "the package"
        about = f" of {board}" if board else ""
        raise NothingEvaluated(f"there is no record{about} in {where}")
    return stock


def _finish(command: str, paths: Sequence[Path], stock: BoardInventory, as_json: bool) -> int:
    """Prints what was written; the exit code is 2 where a file was refused."""
    from robustbench_kd.reports.loading import record_count

    count = record_count(stock.boards)
    if as_json:
        names = [str(path) for path in paths]
        document(command, paths=names, records=count, refused=list(stock.refused))
    else:
        for path in paths:
            click.echo(f"{path}: {count} records")
    return 2 if stock.refused else 0
