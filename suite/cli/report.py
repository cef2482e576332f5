"""``report`` and ``leaderboard build``: what records show, as one page or as a whole site."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from robustbench_kd.cli._output import document, json_option
from robustbench_kd.cli._records import name_refused
from robustbench_kd.core.errors import NothingEvaluated

if TYPE_CHECKING:
    from robustbench_kd.reports.loading import Gathered

PATH = click.Path(path_type=Path, dir_okay=False)


@click.command("report", short_help="What records show, as one page that needs no network.")
@click.argument("records", nargs=-1, type=click.Path(path_type=Path))
@click.option("--html", type=PATH, metavar="FILE", help="The page.")
@click.option("--markdown", type=PATH, metavar="FILE", help="Its tables as Markdown.")
@click.option("--latex", type=PATH, metavar="FILE", help="Its tables as LaTeX.")
@click.option("--board", metavar="NAME", help="Only this board.  [default: fashion-linf or all]")
@click.option("--pair", nargs=2, metavar="A B", help="The two students to set side by side.")
@click.option("--title", default="What distillation did to security", show_default=True)
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
    """Tables and figures of RECORDS (files and folders), or of the committed ones of a board.

    \b
    report --html out.html                     the committed records of fashion-linf
    report mine/records --html out.html        your own
    report --pair ard rslad --html out.html    two students, attack by attack

    One file: no network, the same bytes for the same records. A file that is no record is named on
    stderr and left out; the rest is shown all the same, and the exit code is 2.
    """
    from dataclasses import replace

    from robustbench_kd.cli._options import HOME
    from robustbench_kd.core.io import expect_writable, write_whole
    from robustbench_kd.reports.html_page import as_html, as_latex, as_markdown, counted, part

    wanted = [path for path in (html, markdown, latex) if path is not None]
    if not wanted:
        raise click.UsageError("name a file to write: --html, --markdown or --latex FILE.")
    for path in wanted:
        expect_writable(path.parent)
    found = _gathered(records, board or (None if records else HOME))
    parts = [part(replace(facts, pair=pair)) for facts in found.boards]
    if html is not None:
        write_whole(html, as_html(parts, title, counted(found.boards)).encode())
    if markdown is not None:
        write_whole(markdown, as_markdown(parts).encode())
    if latex is not None:
        write_whole(latex, as_latex(parts).encode())
    return _told("report", wanted, found, as_json)


@click.command("build", short_help="All boards as a static site.")
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
@click.option("--board", metavar="NAME", help="Only this board.")
@json_option
def building(out: Path, records: tuple[Path, ...], board: str | None, as_json: bool) -> int:
    """A page for every board and every row, to be put on any web server or opened from disk.

    A file that is no record is named on stderr and left out; the exit code is then 2.
    """
    from robustbench_kd.core.io import expect_writable
    from robustbench_kd.reports.static_site import build

    expect_writable(out)
    found = _gathered(records, board)
    build(found.boards, out)
    return _told("leaderboard build", [out / "index.html"], found, as_json)


def _gathered(places: Sequence[Path], board: str | None) -> Gathered:
    """The records, with what is refused named on stderr.

    Raises:
        NothingEvaluated: where none is left.
    """
    from robustbench_kd.reports.loading import gather

    found = gather(places, board)
    name_refused(found.refused)
    if not found.boards:
        where = ", ".join(map(str, places)) or "the package"
        about = f" of {board}" if board else ""
        raise NothingEvaluated(f"there is no record{about} in {where}")
    return found


def _told(command: str, paths: Sequence[Path], found: Gathered, as_json: bool) -> int:
    """Says what was written; the code is that of ``leaderboard``."""
    from robustbench_kd.reports.html_page import counted

    count = counted(found.boards)
    if as_json:
        names = [str(path) for path in paths]
        document(command, paths=names, records=count, refused=list(found.refused))
    else:
        for path in paths:
            click.echo(f"{path}: {count} records")
    return 2 if found.refused else 0
